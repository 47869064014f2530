"""Losses and scores of tasks: classification and regression, also of sequences."""

from __future__ import annotations

import math

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


def mean_prediction(draws: Tensor, spec: TaskSpec) -> Tensor:
    """The prediction of several draws: the mean of probabilities, or of numbers.

    Args:
        draws: Outputs `[draws, *outputs]`; logits for classes.
        spec: The specification of the task.

    Returns:
        `[*outputs]`: logarithms of mean probabilities, or mean numbers. One draw is its
        own mean, as it is.
    """
    if len(draws) == 1:
        return draws[0]
    if spec.kind == "classification":
        return draws.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(draws))
    return draws.mean(dim=0)


def answering_steps(outputs: Tensor, batch: BatchLike, spec: TaskSpec) -> Tensor:
    """The outputs that answer: of sequences with one target, those of the last step.

    Args:
        outputs: `[B, n]`, or `[B, T, n]` for sequences.
        batch: The samples.
        spec: The specification of the task.

    Returns:
        `[B, T, n]`, padding included, if each step has a target; `[B, n]` otherwise.

    Raises:
        SpecError: Steps have targets, but the network gives one output per sequence.
    """
    lengths, per_step = batch.lengths, has_targets_per_step(batch, spec)
    if lengths is None or (outputs.ndim >= 3 and per_step):
        return outputs
    if outputs.ndim < 3 or outputs.shape[1] != batch.x.shape[1]:
        if per_step:
            raise SpecError(
                f"the targets of {spec.name!r} are those of steps {list(batch.y.shape)}, but the"
                f" network gives one output per sequence: {list(outputs.shape)}"
            )
        return outputs
    return outputs[torch.arange(len(outputs), device=outputs.device), lengths - 1]


def has_targets_per_step(batch: BatchLike, spec: TaskSpec) -> bool:
    """Whether each step of the sequences of a batch has a target of its own."""
    if not spec.sequence or batch.lengths is None:
        return False
    labels = spec.kind == "classification" and not batch.y.is_floating_point()
    # By the number of dimensions: rows of classes may have been padded.
    return batch.y.ndim == 2 + (0 if labels else len(spec.out_shape))


def at_targets(outputs: Tensor, batch: BatchLike, spec: TaskSpec) -> Tensor:
    """The outputs that count, one row for each target.

    Args:
        outputs: `[B, n]`, or `[B, T, n]` for sequences.
        batch: The samples.
        spec: The specification of the task.

    Returns:
        `[N, n]`: the rows of `answering_steps`, without padding.

    Raises:
        SpecError: See `answering_steps`.
    """
    found, mask = answering_steps(outputs, batch, spec), _steps_that_count(batch, spec)
    return found if mask is None else found[mask]


def _steps_that_count(batch: BatchLike, spec: TaskSpec) -> Tensor | None:
    """A mask `[B, T]` of the steps with a target; `None` if samples have one target."""
    if batch.lengths is None or not has_targets_per_step(batch, spec):
        return None
    return torch.arange(batch.x.shape[1], device=batch.x.device) < batch.lengths[:, None]


def _matched(outputs: Tensor, batch: BatchLike, spec: TaskSpec) -> tuple[Tensor, Tensor]:
    """Outputs and targets that count, with one row for each target."""
    mask = _steps_that_count(batch, spec)
    return at_targets(outputs, batch, spec), batch.y if mask is None else batch.y[mask]
