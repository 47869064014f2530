"""All pairs of two partial inputs through one hypernetwork: conditions times chunks."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from hypnet_core.networks import HyperNetwork


@runtime_checkable
class WritesProducts(Protocol):
    """A hypernetwork that multiplies what pairs have in common only once, and ends in linear heads."""

    def generate_product(self, rows: Tensor, chunks: Tensor) -> Tensor:
        """The weights for all pairs; see the function of this name."""
        ...

    def features_product(self, rows: Tensor, chunks: Tensor) -> Tensor:
        """What reaches the heads for all pairs: `[B, K, d]`."""
        ...

    def linear_heads(self) -> list[nn.Linear]:
        """The output layers, in the order of what they write."""
        ...


def generate_product(inner: HyperNetwork, rows: Tensor, chunks: Tensor) -> Tensor:
    """The weights for all pairs of a row and a chunk, in one batch.

    Args:
        inner: Reads `[row; chunk]`.
        rows: `[B, r]`, one per condition.
        chunks: `[K, c]`, or `[B, K, c]` if each condition has chunks of its own.

    Returns:
        `[B, K, numel]`.
    """
    if isinstance(inner, WritesProducts):
        return inner.generate_product(rows, chunks)
    return inner.generate(pairs(rows, chunks).flatten(0, 1)).view(
        len(rows), chunks.shape[-2], inner.target.numel
    )


def pairs(rows: Tensor, chunks: Tensor) -> Tensor:
    """Rows `[B, r]` and chunks `[K, c]` or `[B, K, c]`, side by side: `[B, K, r + c]`."""
    chunks = chunks.expand(len(rows), -1, -1)
    return torch.cat([rows.unsqueeze(1).expand(-1, chunks.shape[1], -1), chunks], dim=2)
