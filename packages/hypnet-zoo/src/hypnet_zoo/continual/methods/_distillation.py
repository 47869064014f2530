"""Distillation of predictions from an earlier copy of a network."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def frozen(network: Network) -> Network:
    """A copy that is not trained, in evaluation mode."""
    old = copy.deepcopy(network).eval()
    for parameter in old.parameters():
        parameter.requires_grad_(False)
    return old


def distillation(
    outputs: Tensor,
    targets: Tensor,
    temperature: float,
    *,
    competing: Tensor | None = None,
    taught: Tensor | None = None,
) -> Tensor:
    r"""Cross-entropy between softened predictions, $-T^2 \sum_k q_k \log p_k$.

    Args:
        outputs: Logits of the student, `[..., n]`.
        targets: Logits of the teacher, `[..., n]`, without gradient.
        temperature: $T$; the factor $T^2$ keeps the size of gradients.
        competing: Which classes the student chooses among, `[..., n]`; all by default.
        taught: Which of them the teacher chose among; others get no probability.

    References:
        G. Hinton, O. Vinyals, J. Dean: Distilling the knowledge in a neural network.
        2015, arXiv:1503.02531.
    """
    if competing is not None:
        outputs = outputs.masked_fill(~competing, -torch.inf)
    if taught is not None:
        targets = targets.masked_fill(~taught, -torch.inf)
    soft = (targets / temperature).softmax(dim=-1)
    logs = (outputs / temperature).log_softmax(dim=-1)
    if competing is not None:
        logs = logs.masked_fill(~competing, 0.0)  # no probability times minus infinity
    return -(temperature**2) * (soft * logs).sum(dim=-1).mean()
