"""Products of conditions and chunks: all pairs through one hypernetwork."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from hypnet_core.networks import HyperNetwork


@runtime_checkable
class WritesProducts(Protocol):
    """A hypernetwork with linear heads that shares the computation between pairs."""

    def generate_product(self, rows: Tensor, chunks: Tensor) -> Tensor:
        """Generate for all pairs; see the function of this name."""
        ...

    def features_product(self, rows: Tensor, chunks: Tensor) -> Tensor:
        """Inputs of the heads for all pairs: `[B, K, d]`."""
        ...

    def linear_heads(self) -> list[nn.Linear]:
        """The output layers, in the order of the weights that they write."""
        ...


def generate_product(inner: HyperNetwork, rows: Tensor, chunks: Tensor) -> Tensor:
    """Generate for all pairs of a row and a chunk, in one batch.

    Args:
        inner: Reads `[row; chunk]`.
        rows: `[B, r]`, one per condition.
        chunks: `[K, c]`, or `[B, K, c]` if each condition has its own chunks.

    Returns:
        `[B, K, numel]`.
    """
    # Other hypernetworks see every pair as a row of one batch.
    if isinstance(inner, WritesProducts):
        return inner.generate_product(rows, chunks)
    return inner.generate(pairs(rows, chunks).flatten(0, 1)).view(
        len(rows), chunks.shape[-2], inner.target.numel
    )


def pairs(rows: Tensor, chunks: Tensor) -> Tensor:
    """Concatenate rows `[B, r]` with chunks `[(B,) K, c]`: `[B, K, r + c]`."""
    chunks = chunks.expand(len(rows), -1, -1)  # a view: [B, K, c]
    return torch.cat([rows.unsqueeze(1).expand(-1, chunks.shape[1], -1), chunks], dim=2)
