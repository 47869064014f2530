"""Kept samples that teach posteriors which inputs are not theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from hypnet_core.tasks import Batch, Problem, Split
from hypnet_zoo.continual.methods._memory.exemplars import Exemplars

Outputs = Callable[[Tensor, int], Tensor]
"""From inputs and a task to outputs `[draws, B, classes]` by draws of its posterior."""


class Coreset:
    r"""A few samples of each task, and the loss of all posteriors on them.

    Each posterior predicts the labels of its own samples, and is undecided about those
    of other tasks:

    $$ \frac{1}{t} \sum_{u \le t} \Bigl( -\log p(y_u | x_u, u) - \frac{1}{C} \sum_c \log
    p(c \,|\, x_{v \ne u}, u) \Bigr) $$

    Args:
        problem: The problem.
        size: Samples of each task.

    References:
        C. Henning, M. R. Cervera et al.: Posterior meta-replay for continual learning.
        NeurIPS 2021, arXiv:2103.01133, section 3.3.
    """

    def __init__(self, problem: Problem, size: int) -> None:
        self.problem = problem
        self.size = size
        self.kept = Exemplars(problem, size * len(problem.tasks))

    def keep(self, task: int) -> None:
        """Keep random samples of a task."""
        train = self.problem.tasks[task].train
        split = train.unaugmented() if isinstance(train, Split) else train
        batches = split.batches(self.size, shuffle=True)
        self.kept.add(self.kept.fields_of(next(iter(batches)), task))

    def loss(self, outputs: Outputs, seen: int) -> Tensor:
        """The loss of the posteriors of the first tasks, a scalar."""
        batches = [self._of(task) for task in range(seen)]
        losses = []
        for task, own in enumerate(batches):
            losses += [self.problem.loss(draw, own, task) for draw in outputs(own.x, task)]
            foreign = torch.cat([one.x for other, one in enumerate(batches) if other != task])
            answers = self.problem.answer(outputs(foreign, task), task)
            losses.append(-len(answers) * answers.log_softmax(dim=-1).mean())
        return torch.stack(losses).sum() / (len(answers) * seen)

    def _of(self, task: int) -> Batch:
        rows = self.kept.fields["task"] == task
        device = self.problem.device
        fields = {name: field[rows].to(device) for name, field in self.kept.fields.items()}
        return Batch(fields["x"], fields["y"], fields["ids"], None)

    def state_dict(self) -> dict[str, Any]:
        """The samples."""
        return self.kept.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the samples of a state."""
        self.kept.load_state_dict(state)
