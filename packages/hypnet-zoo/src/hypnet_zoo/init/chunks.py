r"""Initialisation of hypernetworks that write their target chunk by chunk.

One head writes all chunks, so chunk $k$ can be told from the others only by its embedding $c_k$. For a linear generator the mean
square of its output is

$$ E[v_k^2] = A \lVert e \rVert^2 + B \lVert c_k \rVert^2, $$

hence the wanted one is reached by the length of $c_k$, provided that $A \lVert e \rVert^2$ leaves room: so the first layer reads $e$ with
weights that are small enough for the chunk that wants the least. Behind hidden layers the sum is no longer exact, but still grows
with the length of $c_k$, which is found by bisection on what the network really gives.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from hypnet_core.specs import TargetSpec
from hypnet_zoo.init.trunk import TrunkStart, init_trunk
from hypnet_zoo.init.wanted import Start, scalars_of

if TYPE_CHECKING:
    from hypnet_zoo.hypernets.hmlp import HMLP

_logger = logging.getLogger(__name__)
_LONGEST = 64.0
_HALVINGS = 30


def wanted_per_chunk(target: TargetSpec, starts: tuple[Start, ...], chunk_size: int) -> Tensor:
    """The mean square that the scalars of each chunk want on average: `[K]`."""
    means, variances = scalars_of(target, starts)
    squares = means.square() + variances
    count = -(-target.numel // chunk_size)
    padded = torch.zeros(count * chunk_size)
    padded[: target.numel] = squares
    filled = torch.full((count,), float(chunk_size))
    filled[-1] = target.numel - (count - 1) * chunk_size
    return padded.view(count, chunk_size).sum(dim=1) / filled


@torch.no_grad()
def init_inner(inner: HMLP, rows: Tensor, wanted: Tensor, *, trunk: TrunkStart, condition_share: float) -> None:
    """The network that writes the chunks: for an embedding of variance 1, as large as the largest chunk wants.

    Args:
        inner: The network.
        rows: Inputs that all chunks share, at the start: `[B, r]`.
        wanted: Mean square of each chunk.
        trunk: How its hidden layers start.
        condition_share: How much of the smallest chunk's mean square the shared inputs may bring.
    """
    init_trunk(inner.trunk, inner.activation, start=trunk)
    for head in inner.linear_heads():
        if not is_parametrized(head):
            nn.init.normal_(head.weight, std=1 / math.sqrt(head.in_features))
            if head.bias is not None:
                nn.init.zeros_(head.bias)
    first = next(layer for layer in [*inner.trunk, *inner.heads] if isinstance(layer, nn.Linear))
    if is_parametrized(first):
        return
    size = rows.shape[1]
    chunk_size = first.in_features - size
    low = condition_share * float(wanted[wanted > 0].min() if (wanted > 0).any() else 0.0)
    share = low / max(float(wanted.max()), 1e-30)  # of the largest chunk's
    power = float(rows.square().sum(dim=1).mean()) if size else 0.0
    gain = math.sqrt(first.in_features)
    first.weight[:, size:] *= gain * math.sqrt((1.0 - share) / chunk_size)
    if power > 0:
        first.weight[:, :size] *= gain * math.sqrt(share / power)
    embeddings = torch.randn(256, chunk_size, device=rows.device, dtype=rows.dtype)
    reached = mean_squares(inner, rows, embeddings, kept=inner.target.numel).mean()
    factor = (wanted.max() / reached).sqrt()
    for head in inner.linear_heads():
        if not is_parametrized(head):
            head.weight *= factor
    if low > 0 and power > 0:
        _scale_to(first.weight[:, :size], low, lambda: mean_squares(inner, rows, 0 * embeddings, kept=inner.target.numel)[0])


def _scale_to(columns: Tensor, wanted: float, measure: Callable[[], Tensor]) -> None:
    """Scale some weights in place so that what they bring alone is as wanted; behind hidden layers only a search can tell."""
    start = columns.clone()
    low, high = 0.0, 8.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        columns.copy_(middle * start)
        low, high = (middle, high) if measure() < wanted else (low, middle)


@torch.no_grad()
def start_embeddings(embeddings: Tensor, *, uniform: bool) -> None:
    """Draws of mean 0 and variance 1, each row brought to that variance exactly."""
    if uniform:
        embeddings.uniform_(-math.sqrt(3.0), math.sqrt(3.0))
    else:
        embeddings.normal_()
    embeddings /= embeddings.square().mean(dim=-1, keepdim=True).sqrt().clamp_min(1e-6)


@torch.no_grad()
def mean_squares(inner: HMLP, rows: Tensor, chunks: Tensor, *, kept: int) -> Tensor:
    """What each chunk's scalars have on average, over rows: `[K]`.

    The head enters by the second moments of its rows, so that nothing as large as the target is made.

    Args:
        inner: The network that writes the chunks.
        rows: Inputs that all chunks share: `[B, r]`.
        chunks: Embeddings: `[K, c]`, or `[B, K, c]`.
        kept: How many scalars of the last chunk belong to the target.
    """
    training = inner.training
    inner.eval()
    features = inner.features_product(rows, chunks)
    inner.train(training)
    weight = torch.cat([head.weight for head in inner.linear_heads()])
    squares = _quadratic(features, weight)
    squares[-1] = _quadratic(features[:, -1:], weight[:kept])[-1]
    return squares


def _quadratic(features: Tensor, weight: Tensor) -> Tensor:
    moments = weight.t() @ weight / len(weight)
    return ((features @ moments) * features).sum(dim=2).mean(dim=0)


@torch.no_grad()
def chunk_scales(inner: HMLP, rows: Tensor, chunks: Tensor, wanted: Tensor, *, kept: int, min_variance: float) -> Tensor:
    """How long each chunk's embedding must be for the chunk to have the wanted mean square: factors `[K]`.

    Args:
        inner: The network that writes the chunks.
        rows: Inputs that all chunks share: `[B, r]`.
        chunks: Embeddings of variance 1: `[K, c]`, or `[B, K, c]`.
        wanted: Mean squares `[K]`.
        kept: How many scalars of the last chunk belong to the target.
        min_variance: The smallest factor squared.
    """
    wanted = wanted.to(rows)
    low = torch.full_like(wanted, math.sqrt(min_variance))
    high = torch.full_like(wanted, _LONGEST)
    unreachable = mean_squares(inner, rows, low.unsqueeze(1) * chunks, kept=kept) > 1.1 * wanted
    if bool(unreachable.any()):
        _logger.warning(
            "%d of %d chunks start with larger weights than wanted: the other inputs alone bring more",
            int(unreachable.sum()),
            len(wanted),
        )
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = mean_squares(inner, rows, middle.unsqueeze(1) * chunks, kept=kept) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2
