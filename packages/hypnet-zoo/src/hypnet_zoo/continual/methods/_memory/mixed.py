"""The loss of samples of several tasks in one batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hypnet_core.tasks import Batch, Problem
from hypnet_zoo.continual.methods._memory.exemplars import Drawn
from hypnet_zoo.continual.methods._networks import SharedNetwork, competing_outputs


def mixed_loss(problem: Problem, network: SharedNetwork, drawn: Drawn, now: int) -> Tensor:
    """Mean loss of samples of several tasks, each with the outputs of its own task.

    Args:
        problem: The problem.
        network: The network.
        drawn: The samples.
        now: Number of the task that is being learned.
    """
    batch, tasks = drawn
    labelled = not batch.y.is_floating_point() and batch.y.ndim == 1
    if network.bank is None and labelled and batch.lengths is None:
        # One pass for all, in which each sample sees the outputs of its task alone.
        return _labelled(problem, _outputs(network, batch.x), batch.y, tasks, now)
    parts = []
    for task in tasks.unique().tolist():
        rows = tasks == task
        lengths = None if batch.lengths is None else batch.lengths[rows]
        y = batch.y[rows]
        if problem.specs[task].kind == "classification" and y.is_floating_point():
            y = y[..., : problem.heads.sizes[task]]  # rows of fewer classes were padded
        own = Batch(batch.x[rows], y, batch.ids[rows], lengths)
        outputs = _outputs(network, own.x, task)
        parts.append(len(own) * problem.loss(outputs, own, task, now=now))
    return torch.stack(parts).sum() / len(tasks)


def _outputs(network: SharedNetwork, x: Tensor, task: int | None = None) -> Tensor:
    # Batch norm cannot tell the statistics of one sample.
    found: Tensor = network.recall(x, task) if len(x) == 1 else network(x, task)
    return found


def _labelled(problem: Problem, outputs: Tensor, labels: Tensor, tasks: Tensor, now: int) -> Tensor:
    allowed = competing_outputs(problem, now)[tasks]
    starts = [problem.heads.units(task).start for task in range(len(problem.tasks))]
    first = torch.tensor(starts).to(labels)
    return F.cross_entropy(outputs.masked_fill(~allowed, -torch.inf), labels + first[tasks])
