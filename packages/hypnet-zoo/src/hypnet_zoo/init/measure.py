"""Measured mean squares of generated chunks."""

from __future__ import annotations

import torch
from torch import Tensor

from hypnet_core.networks import HyperNetwork
from hypnet_zoo.init.products import WritesProducts, generate_product

# Outputs per measurement, fewer where one of them is expensive.
_SAMPLES = 64
_EFFORT = 200_000_000  # samples times parameters
_AT_ONCE = 4_000_000  # weights that are generated in one block


def rows_to_measure(inner: HyperNetwork, num_chunks: int) -> int:
    """Number of conditions with which all chunks are measured in reasonable time."""
    if isinstance(inner, WritesProducts):  # only features are computed
        return max(8, min(128, 2_000_000 // (num_chunks * inner.linear_heads()[0].in_features)))
    return max(2, min(2 * num_samples(inner), 1024 // num_chunks))


def num_samples(inner: HyperNetwork) -> int:
    """Number of outputs to generate for one measurement: fewer of a large network."""
    return max(8, min(_SAMPLES, _EFFORT // sum(p.numel() for p in inner.parameters())))


@torch.no_grad()
def mean_squares(inner: HyperNetwork, rows: Tensor, chunks: Tensor, *, kept: int) -> Tensor:
    """Mean square of each chunk's scalars, averaged over rows: `[K]`.

    Linear heads enter by the second moments of their rows, so that nothing as large as
    the target is generated.

    Args:
        inner: The network that writes the chunks.
        rows: Inputs that all chunks share: `[B, r]`.
        chunks: Embeddings: `[K, c]`, or `[B, K, c]`.
        kept: Number of scalars of the last chunk that belong to the target.
    """
    if not isinstance(inner, WritesProducts):
        squares = measured_squares(inner, rows, chunks)
        # The last chunk counts only its kept scalars.
        squares[-1] = measured_squares(inner, rows, chunks[..., -1:, :], kept=kept)[-1]
        return squares
    # Dropout would add noise to the measurement.
    training = inner.training
    inner.eval()
    features = inner.features_product(rows, chunks)
    inner.train(training)
    weight = torch.cat([head.weight for head in inner.linear_heads()])  # [n, d]
    squares = _quadratic(features, weight)
    squares[-1] = _quadratic(features[:, -1:], weight[:kept])[-1]
    return squares


def _quadratic(features: Tensor, weight: Tensor) -> Tensor:
    moments = weight.t() @ weight / len(weight)  # second moments of the rows: [d, d]
    return ((features @ moments) * features).sum(dim=2).mean(dim=0)


@torch.no_grad()
def measured_squares(
    inner: HyperNetwork, rows: Tensor, chunks: Tensor, *, kept: int | None = None
) -> Tensor:
    """Mean square of each chunk, from generated weights."""
    training = inner.training
    inner.eval()
    # Chunks of one block: bounds the memory of generated weights.
    step = max(1, _AT_ONCE // (len(rows) * inner.target.numel))
    parts = [
        generate_product(inner, rows, some)[..., :kept].square().mean(dim=(0, 2))
        for some in chunks.split(step, dim=-2)
    ]
    inner.train(training)
    return torch.cat(parts)


def mean_square_over_pairs(inner: HyperNetwork, rows: Tensor, embeddings: Tensor) -> Tensor:
    """Mean square over pairs of rows and chunk embeddings, a scalar."""
    if isinstance(inner, WritesProducts):
        return mean_squares(inner, rows, embeddings, kept=inner.target.numel).mean()
    # Generating for all pairs would take long: each embedding meets one row.
    some = embeddings[: num_samples(inner)]
    shared = rows[torch.arange(len(some), device=rows.device) % len(rows)]
    return measured_squares(inner, shared, some.unsqueeze(1)).mean()
