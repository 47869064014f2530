"""Losses and scores of tasks: classification and regression, also of sequences."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hypnet_core.errors import SpecError
from hypnet_core.protocols import BatchLike
from hypnet_core.specs import TaskSpec


def task_loss(outputs: Tensor, batch: BatchLike, spec: TaskSpec, *, first: int = 0) -> Tensor:
    """Mean loss of a batch: cross-entropy, or the mean squared error.

    Padded steps of sequences do not count. A network that gives outputs at each step of
    a sequence with one target answers at its last step.

    Args:
        outputs: `[B, n]`, or `[B, T, n]` for sequences.
        batch: The samples; labels, rows of probabilities, or numbers as targets.
        spec: The specification of the task.
        first: The output that stands for class 0.
    """
    outputs, targets = _matched(outputs, batch, spec)
    if spec.kind == "classification":
        if targets.is_floating_point():
            rest = outputs.shape[-1] - first - targets.shape[-1]
            return F.cross_entropy(outputs, F.pad(targets, (first, rest)))
        return F.cross_entropy(outputs, targets + first if first else targets)
    return F.mse_loss(outputs.reshape(targets.shape), targets)


def sample_scores(outputs: Tensor, batch: BatchLike, spec: TaskSpec, *, first: int = 0) -> Tensor:
    """Score of each sample `[N]`, float64: 1 for a right class, or the squared error.

    Steps of sequences with targets of their own count as samples; padding does not.

    Args:
        outputs: `[B, n]`, or `[B, T, n]` for sequences.
        batch: The samples.
        spec: The specification of the task.
        first: The output that stands for class 0.
    """
    outputs, targets = _matched(outputs, batch, spec)
    if spec.kind == "classification":
        labels = targets.argmax(dim=-1) if targets.is_floating_point() else targets
        return (outputs.argmax(dim=-1) == labels + first).double()
    return (outputs.reshape(targets.shape) - targets).square().flatten(1).mean(dim=1).double()


def _matched(outputs: Tensor, batch: BatchLike, spec: TaskSpec) -> tuple[Tensor, Tensor]:
    """Outputs and targets that count, with one row for each target."""
    targets = batch.y
    if not spec.sequence or batch.lengths is None:
        return outputs, targets
    rows, frames = batch.x.shape[:2]
    per_step = targets.ndim > 1 and _is_per_step(targets, spec, frames)
    if outputs.ndim < 3 or outputs.shape[1] != frames:
        if per_step:
            raise SpecError(
                f"the targets of {spec.name!r} are those of steps {list(targets.shape)}, but the"
                f" network gives one output per sequence: {list(outputs.shape)}"
            )
        return outputs, targets
    if per_step:
        counts = torch.arange(frames, device=outputs.device) < batch.lengths[:, None]
        return outputs[counts], targets[counts]
    return outputs[torch.arange(rows, device=outputs.device), batch.lengths - 1], targets


def _is_per_step(targets: Tensor, spec: TaskSpec, frames: int) -> bool:
    labels = spec.kind == "classification" and not targets.is_floating_point()
    own = () if labels else spec.out_shape
    return tuple(targets.shape[1:]) == (frames, *own)
