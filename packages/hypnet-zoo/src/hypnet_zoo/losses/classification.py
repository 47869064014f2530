"""Accuracy, cross-entropy and knowledge distillation of classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from hypnet_core.errors import SpecError

Reduction = Literal["mean", "sum", "none"]


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of samples whose largest output is at their label.

    Args:
        outputs: Logits or probabilities `[N, classes]`.
        targets: Labels `[N]`, or one-hot or soft targets `[N, classes]`, of which the
            largest is the label.

    Returns:
        A scalar between 0 and 1.

    Raises:
        SpecError: Shapes do not fit.

    Example:
        >>> import torch
        >>> accuracy(torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([1, 1]))
        tensor(0.5000)
    """
    _check(outputs, targets)
    labels = targets if targets.ndim == 1 else targets.argmax(1)
    return (outputs.argmax(1) == labels).float().mean()


def cross_entropy(
    logits: Tensor, targets: Tensor, *, reduction: Reduction = "mean", hard: bool = False
) -> Tensor:
    r"""Cross-entropy $-\sum_c t_c \log \mathrm{softmax}(z)_c$ from logits.

    Args:
        logits: $z$, `[N, classes]`.
        targets: Labels `[N]`, or one-hot or soft targets $t$ `[N, classes]`.
        reduction: Mean over samples, sum over samples, or one value per sample.
        hard: Whether to take the largest of soft targets as the label.

    Raises:
        SpecError: Shapes do not fit.
    """
    _check(logits, targets)
    if hard and targets.ndim == 2:
        targets = targets.argmax(1)
    if targets.ndim == 1 and targets.is_floating_point():
        raise SpecError(f"labels must be whole numbers, got {targets.dtype}")
    # Torch accepts labels as int64 only.
    targets = targets.long() if targets.ndim == 1 else targets.to(logits.dtype)
    return F.cross_entropy(logits, targets, reduction=reduction)


def distillation(
    logits: Tensor,
    target_logits: Tensor,
    *,
    temperature: float = 2.0,
    mapping: Sequence[int] | None = None,
) -> Tensor:
    r"""Knowledge distillation from the logits of a teacher.

    It is $T^2$ times the cross-entropy of $\mathrm{softmax}(z / T)$ under
    $\mathrm{softmax}(z^* / T)$.

    A teacher may know fewer classes: `mapping` assigns each of its outputs to one of
    the student, whose other classes have a target probability of zero. The factor $T^2$
    keeps gradients as large as without a temperature.

    Args:
        logits: $z$ of the student, `[N, classes]`.
        target_logits: $z^*$ of the teacher, `[N, known]`. They are not detached here.
        temperature: $T$.
        mapping: For each output of the teacher, the index of the student's; the same
            index by default.

    Returns:
        The mean over samples.

    Raises:
        SpecError: `temperature` is not positive, or sizes and `mapping` do not fit.

    References:
        Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015,
        arXiv:1503.02531.
    """
    if logits.ndim < 1 or logits.shape[:-1] != target_logits.shape[:-1]:
        raise SpecError(
            f"expected logits of as many samples as the teacher's, got {list(logits.shape)} and"
            f" {list(target_logits.shape)}"
        )
    if not temperature > 0:
        raise SpecError(f"temperature must be positive, got {temperature}")
    known, classes = target_logits.shape[-1], logits.shape[-1]
    if mapping is None and known != classes:
        raise SpecError(
            f"the teacher has {known} outputs and the student {classes}: give a mapping"
        )
    if mapping is not None and (len(mapping) != known or len(set(mapping)) != known):
        raise SpecError(f"mapping must name {known} different outputs, got {list(mapping)}")
    if mapping is not None and not all(0 <= i < classes for i in mapping):
        raise SpecError(
            f"mapping must name outputs between 0 and {classes - 1}, got {list(mapping)}"
        )
    log_probabilities = F.log_softmax(logits / temperature, dim=-1)
    if mapping is not None:
        # Other classes have no target probability and add nothing.
        log_probabilities = log_probabilities[..., list(mapping)]
    targets = F.softmax(target_logits / temperature, dim=-1)
    # The gradients of soft targets shrink with the square of the temperature.
    return -(targets * log_probabilities).sum(-1).mean() * temperature**2


def _check(outputs: Tensor, targets: Tensor) -> None:
    if outputs.ndim != 2 or targets.shape not in {outputs.shape[:1], outputs.shape}:
        raise SpecError(
            "expected outputs [N, classes] and targets [N] or [N, classes], got"
            f" {list(outputs.shape)} and {list(targets.shape)}"
        )
