r"""Initialisation of hypernetworks that write their target chunk by chunk.

One head writes all chunks, so only the embedding $c_k$ distinguishes chunk $k$ from the
others. For a linear writer the mean square of the chunk is

$$ E[v_k^2] = A \lVert e \rVert^2 + B \lVert c_k \rVert^2, $$

so the length of $c_k$ sets it, provided that $A \lVert e \rVert^2$ leaves room. The
first layer therefore reads $e$ with weights small enough for the smallest chunk. Behind
hidden layers the sum is no longer exact, but still grows with the length of $c_k$,
which bisection on the measured mean squares finds. Where the inner network ends in
linear heads, mean squares follow from second moments; otherwise they are interpolated
from a curve over lengths that is sampled once for all chunks.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from hypnet_core.networks import HyperNetwork
from hypnet_zoo.init.effects import concerning
from hypnet_zoo.init.measure import (
    mean_square_over_pairs,
    mean_squares,
    measured_squares,
    num_samples,
)
from hypnet_zoo.init.options import Init
from hypnet_zoo.init.products import WritesProducts
from hypnet_zoo.init.protocols import Scalable

_logger = logging.getLogger(__name__)
_LONGEST = 64.0  # times the length of a draw of variance 1
_HALVINGS = 14  # of a range of lengths in logarithms: to 0.1 %
_POINTS = 12  # of the interpolated curve
_CORRECTIONS = 3  # rounds of measuring and bisecting
_USUAL = 0.02**2  # of chunks if no weight should vary
_SMALLEST_PART = 0.1  # of the size of its chunk that any weight keeps
_TINY = 1e-30  # below any mean square that matters; avoids division by zero


def sizes_of_chunks(variances: Tensor, chunk_size: int) -> tuple[Tensor, Tensor]:
    """The mean square that each chunk should have, and the scale of each weight in it.

    A chunk is as large as its largest weights should be; the others are made smaller
    outside. Weights that should not vary at all, such as biases, keep a tenth of the
    chunk's size, since they could not learn otherwise.

    Args:
        variances: The variance of each weight at the start: `[numel]`.
        chunk_size: Number of weights in a chunk.

    Returns:
        Mean squares `[K]`, and scales `[numel]`.
    """
    count = -(-len(variances) // chunk_size)
    padded = variances.new_zeros(count * chunk_size)
    padded[: len(variances)] = variances
    largest = padded.view(count, chunk_size).amax(dim=1)
    positive = largest[largest > 0]
    usual = positive.min() if len(positive) else largest.new_tensor(_USUAL)
    largest = torch.where(largest > 0, largest, usual)
    parts = variances / largest.repeat_interleave(chunk_size)[: len(variances)]
    return largest, parts.sqrt().clamp_min(_SMALLEST_PART)


@torch.no_grad()
def draw_writer(inner: HyperNetwork, rows: Tensor, wanted: Tensor, init: Init) -> None:
    """Start the network that writes the chunks.

    For a chunk embedding of variance 1 its output is then as large as the largest chunk
    should be. A network that cannot be scaled stays as it is; the lengths of the
    embeddings are then all that can be adapted.

    Args:
        inner: The network.
        rows: Inputs that all chunks share, at the start: `[B, r]`.
        wanted: Mean square of each chunk.
        init: The rules for the whole; the trunk and `condition_share` count here.
    """
    if not isinstance(inner, Scalable):
        return
    rules = Init(trunk=init.trunk, trunk_gain=init.trunk_gain, overrides={"chunk": (0.0, 1.0)})
    inner.initialize(concerning(inner, rules))
    # May include features that the network adds, see `_power`.
    total = inner.conditions.size
    low = init.condition_share * float(wanted[wanted > 0].min() if (wanted > 0).any() else 0.0)
    first = _first_layer(inner, total)
    # Share of the largest chunk's mean square that the common inputs may bring.
    share = low / max(float(wanted.max()), _TINY)
    others = [] if first is None else _weigh_inputs(first, rows, total, share)
    # A sample: chunk embeddings differ only by their draw here.
    embeddings = torch.randn(256, total - rows.shape[1], device=rows.device, dtype=rows.dtype)
    found = mean_square_over_pairs(inner, rows, embeddings).clamp_min(_TINY)
    inner.scale_outputs((wanted.max() / found).sqrt())
    if first is not None and low > 0 and others and _power(rows, first, total) > 0:
        # Zero embeddings leave the contribution of the other inputs. Where pairs share
        # products, one embedding is enough.
        none = 0 * (embeddings[:1] if isinstance(inner, WritesProducts) else embeddings)
        _scale_to(first.weight, others, low, lambda: mean_square_over_pairs(inner, rows, none))


def _first_layer(inner: HyperNetwork, in_features: int) -> nn.Linear | None:
    """The layer that reads the inputs, if its columns can be scaled."""
    for layer in inner.modules():
        if isinstance(layer, nn.Linear) and layer.in_features >= in_features:
            return None if is_parametrized(layer) else layer
    return None


def _power(rows: Tensor, first: nn.Linear, total: int) -> float:
    """Mean square norm of the inputs that all chunks share.

    Embeddings of variance 1 that the network itself adds to its inputs belong to all
    chunks, like the condition.
    """
    own = float(rows.square().sum(dim=1).mean()) if rows.shape[1] else 0.0
    return own + first.in_features - total


def _weigh_inputs(first: nn.Linear, rows: Tensor, total: int, share: float) -> list[int]:
    """Divide the mean square between common inputs and chunk embedding.

    Returns:
        The columns of the weight that read the common inputs.
    """
    size, features = rows.shape[1], first.in_features
    others = [*range(size), *range(total, features)]
    power = _power(rows, first, total)
    # Both terms keep the mean square of the first layer's outputs as it was.
    first.weight[:, size:total] *= math.sqrt(features * (1.0 - share) / (total - size))
    if power > 0:
        first.weight[:, others] *= math.sqrt(features * share / power)
    return others


def _scale_to(
    weight: Tensor, columns: list[int], wanted: float, measure: Callable[[], Tensor]
) -> None:
    """Scale some columns in place until their contribution alone is as wanted.

    Behind hidden layers the contribution is not quadratic in the scale, hence the
    search.
    """
    start = weight[:, columns]
    low, high = 1e-3, 8.0
    # Bisects logarithms: the factor may span orders of magnitude.
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        weight[:, columns] = middle * start
        low, high = (middle, high) if measure() < wanted else (low, middle)


@torch.no_grad()
def chunk_scales(
    inner: HyperNetwork,
    rows: Tensor,
    chunks: Tensor,
    wanted: Tensor,
    *,
    kept: int,
    min_variance: float,
) -> Tensor:
    """Lengths of the chunk embeddings at which chunks have the wanted mean squares.

    Args:
        inner: The network that writes the chunks.
        rows: Inputs that all chunks share: `[B, r]`.
        chunks: Embeddings of variance 1: `[K, c]`, or `[B, K, c]`.
        wanted: Mean squares `[K]`.
        kept: Number of scalars of the last chunk that belong to the target.
        min_variance: The smallest factor squared.

    Returns:
        A factor for each embedding, `[K]`.
    """
    wanted = wanted.to(rows)
    shortest = math.sqrt(min_variance)

    def squares(scales: Tensor) -> Tensor:
        return mean_squares(inner, rows, scales.unsqueeze(1) * chunks, kept=kept)

    if isinstance(inner, WritesProducts):
        scales = _bisect(squares, wanted, shortest)
    else:
        scales = _bisect_on_curve(squares, _curve(inner, rows, chunks, shortest), wanted, shortest)
    # A tolerance of 10 %: measured mean squares fluctuate.
    unreachable = squares(torch.full_like(scales, shortest)) > 1.1 * wanted
    if bool(unreachable.any()):
        _logger.warning(
            "%d of %d chunks start with larger weights than wanted: the other inputs alone"
            " contribute more",
            int(unreachable.sum()),
            len(wanted),
        )
    return scales


def _bisect(squares: Callable[[Tensor], Tensor], wanted: Tensor, shortest: float) -> Tensor:
    """Lengths at which an increasing function reaches the wanted values."""
    low, high = torch.full_like(wanted, shortest), torch.full_like(wanted, _LONGEST)
    for _ in range(_HALVINGS):
        # The geometric mean, because lengths span orders of magnitude.
        middle = (low * high).sqrt()
        below = squares(middle) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low * high).sqrt()


def _bisect_on_curve(
    squares: Callable[[Tensor], Tensor],
    curve: Callable[[Tensor], Tensor],
    wanted: Tensor,
    shortest: float,
) -> Tensor:
    """Bisect on a curve, times a factor for each chunk that is measured repeatedly."""
    factor = torch.ones_like(wanted)

    def corrected(scales: Tensor) -> Tensor:
        return factor * curve(scales)

    for _ in range(_CORRECTIONS):
        scales = _bisect(corrected, wanted, shortest)
        factor *= squares(scales) / corrected(scales).clamp_min(_TINY)  # in place
    return _bisect(corrected, wanted, shortest)


def _curve(
    inner: HyperNetwork, rows: Tensor, chunks: Tensor, shortest: float
) -> Callable[[Tensor], Tensor]:
    """Mean square of a chunk as a function of its embedding's length, interpolated."""
    # Chunks and rows are paired at random places instead of all with all.
    pick = torch.arange(num_samples(inner), device=rows.device)
    shared = rows[pick % len(rows)]
    some = (
        chunks[pick % len(chunks)]
        if chunks.ndim == 2
        else chunks[pick % len(rows), pick % chunks.shape[1]]
    )
    # Logarithmic: mean squares are close to a power of the length.
    lengths = torch.logspace(math.log10(shortest), math.log10(_LONGEST), _POINTS).to(rows)
    values = torch.stack(
        [measured_squares(inner, shared, length * some.unsqueeze(1)).mean() for length in lengths]
    )
    x, y = lengths.log(), values.clamp_min(_TINY).log()

    def at(scales: Tensor) -> Tensor:
        # Beyond the ends the outermost segment is continued.
        right = torch.searchsorted(x, scales.log()).clamp(1, _POINTS - 1)
        part = (scales.log() - x[right - 1]) / (x[right] - x[right - 1])
        return torch.lerp(y[right - 1], y[right], part).exp()

    return at
