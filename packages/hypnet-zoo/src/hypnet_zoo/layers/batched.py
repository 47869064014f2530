"""Layers with many sets of weights at once."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor


def batched_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear layer `x W^T + b` with `B` sets of weights.

    Args:
        x: `[N, in]` for all sets, or `[B, N, in]`.
        weight: `[B, out, in]`.
        bias: `[B, out]`.

    Returns:
        `[B, N, out]`.
    """
    x = x.expand(len(weight), -1, -1)  # a view
    if torch.is_grad_enabled() and weight.requires_grad:
        # With W x^T the gradient of W has the layout of W and needs no transposed copy.
        y = torch.bmm(weight, x.transpose(1, 2)).transpose(1, 2)
        return y if bias is None else y + bias.unsqueeze(1)
    if bias is None:
        return torch.bmm(x, weight.transpose(1, 2))
    return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))


def batched_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, *, padding: int = 0) -> Tensor:
    """A convolution with `B` sets of filters: one grouped convolution.

    Args:
        x: `[N, in, H, W]` for all sets, or `[N, B, in, H, W]`.
        weight: `[B, out, in, K, K]`.
        bias: `[B, out]`.
        padding: Zeros on each side.

    Returns:
        `[N, B, out, H', W']`.
    """
    # Groups keep the sets apart; shared images need no groups, since every filter reads
    # them all.
    sets = len(weight)
    shared = x.ndim == 4
    flat = None if bias is None else bias.flatten()
    y: Tensor = F.conv2d(
        x if shared else x.flatten(1, 2),
        weight.flatten(0, 1),
        flat,
        padding=padding,
        groups=1 if shared else sets,
    )
    return cast("Tensor", y.unflatten(1, (sets, -1)))
