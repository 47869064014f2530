r"""Initialisation of hypernetworks that write their target chunk by chunk.

One head writes all chunks, so chunk $k$ can be told from the others only by its
embedding $c_k$. For a linear generator the mean square of its output is

$$ E[v_k^2] = A \lVert e \rVert^2 + B \lVert c_k \rVert^2, $$

hence the wanted one is reached by the length of $c_k$, provided that $A \lVert e
\rVert^2$ leaves room: so the first layer reads $e$ with weights that are small enough
for the chunk that wants the least. Behind hidden layers the sum is no longer exact, but
still grows with the length of $c_k$, which is found by bisection on what the network
really gives. Where the inner network ends in linear heads, its mean squares follow from
second moments; otherwise they are read off a curve over lengths, sampled once for all
chunks.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from hypnet_core.errors import SpecError
from hypnet_core.networks import HyperNetwork
from hypnet_core.specs import TargetSpec
from hypnet_zoo._chunking.products import WritesProducts, generate_product
from hypnet_zoo.init.moments import Start, scalars_of
from hypnet_zoo.init.trunk import TrunkStart

_logger = logging.getLogger(__name__)
_LONGEST = 64.0
_HALVINGS = 14  # of a range of lengths in logarithms: to 0.1 %
_SAMPLES = 64
_EFFORT = 200_000_000  # samples times parameters
_AT_ONCE = 4_000_000
_POINTS = 12
_CORRECTIONS = 3


@runtime_checkable
class Startable(Protocol):
    """An inner network whose outputs can be brought to a size."""

    def initialize(
        self, *, trunk: TrunkStart, overrides: Mapping[str, Start | tuple[float, float]]
    ) -> None:
        """Start anew; an override by name gives mean and variance of what is written."""
        ...

    def scale_outputs(self, factor: Tensor) -> None:
        """Multiply all that is generated."""
        ...


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


def rows_to_measure(inner: HyperNetwork, num_chunks: int) -> int:
    """For how many conditions the chunks can be measured at once in a reasonable time and space."""
    if isinstance(inner, WritesProducts):  # only features are made
        return max(8, min(128, 2_000_000 // (num_chunks * inner.linear_heads()[0].in_features)))
    return max(2, min(2 * _samples(inner), 1024 // num_chunks))


def _samples(inner: HyperNetwork) -> int:
    """How many outputs of a network without linear heads are made to see its size: fewer of a large one."""
    return max(
        8, min(_SAMPLES, _EFFORT // sum(parameter.numel() for parameter in inner.parameters()))
    )


@torch.no_grad()
def init_inner(
    inner: HyperNetwork, rows: Tensor, wanted: Tensor, *, trunk: TrunkStart, condition_share: float
) -> None:
    """The network that writes the chunks: for an embedding of variance 1, as large as the largest chunk wants.

    A network that cannot be started so is left as it is; lengths of embeddings then do
    what they can.

    Args:
        inner: The network.
        rows: Inputs that all chunks share, at the start: `[B, r]`.
        wanted: Mean square of each chunk.
        trunk: How its hidden layers start.
        condition_share: How much of the smallest chunk's mean square the shared inputs
            may bring.

    Raises:
        SpecError: `condition_share` is not in [0, 1).
    """
    if not 0.0 <= condition_share < 1.0:
        raise SpecError(f"condition_share must lie in [0, 1), got {condition_share}")
    if not isinstance(inner, Startable):
        return
    inner.initialize(trunk=trunk, overrides={"chunk": (0.0, 1.0)})
    size, total = rows.shape[1], inner.conditions.size
    first = next(
        (
            layer
            for layer in inner.modules()
            if isinstance(layer, nn.Linear) and layer.in_features >= total
        ),
        None,
    )
    low = condition_share * float(wanted[wanted > 0].min() if (wanted > 0).any() else 0.0)
    power = float(rows.square().sum(dim=1).mean()) if size else 0.0
    adaptable = first is not None and not is_parametrized(first)
    others: list[int] = []
    if first is not None and adaptable:
        # What the network adds to its inputs, such as embeddings of variance 1, belongs
        # to all chunks like the condition.
        others = [*range(size), *range(total, first.in_features)]
        power += first.in_features - total
        share = low / max(float(wanted.max()), 1e-30)  # of the largest chunk's
        first.weight[:, size:total] *= math.sqrt(first.in_features * (1.0 - share) / (total - size))
        if power > 0:
            first.weight[:, others] *= math.sqrt(first.in_features * share / power)
    embeddings = torch.randn(256, total - size, device=rows.device, dtype=rows.dtype)
    inner.scale_outputs(
        (wanted.max() / _paired_squares(inner, rows, embeddings).clamp_min(1e-30)).sqrt()
    )
    if first is not None and adaptable and low > 0 and power > 0:
        none = 0 * (embeddings[:1] if isinstance(inner, WritesProducts) else embeddings)
        _scale_to(first.weight, others, low, lambda: _paired_squares(inner, rows, none))


def _paired_squares(inner: HyperNetwork, rows: Tensor, embeddings: Tensor) -> Tensor:
    """The mean square over pairs of rows and embeddings; over all of them if only features must be made."""
    if isinstance(inner, WritesProducts):
        return mean_squares(inner, rows, embeddings, kept=inner.target.numel).mean()
    some = embeddings[: _samples(inner)]
    shared = rows[torch.arange(len(some), device=rows.device) % len(rows)]
    return _measured(inner, shared, some.unsqueeze(1)).mean()


def _scale_to(
    weight: Tensor, columns: list[int], wanted: float, measure: Callable[[], Tensor]
) -> None:
    """Scale some columns in place so that what they bring alone is as wanted; behind hidden layers only a search can tell."""
    start = weight[:, columns]
    low, high = 1e-3, 8.0
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        weight[:, columns] = middle * start
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
def mean_squares(inner: HyperNetwork, rows: Tensor, chunks: Tensor, *, kept: int) -> Tensor:
    """What each chunk's scalars have on average, over rows: `[K]`.

    Linear heads enter by the second moments of their rows, so that nothing as large as
    the target is made.

    Args:
        inner: The network that writes the chunks.
        rows: Inputs that all chunks share: `[B, r]`.
        chunks: Embeddings: `[K, c]`, or `[B, K, c]`.
        kept: How many scalars of the last chunk belong to the target.
    """
    if not isinstance(inner, WritesProducts):
        squares = _measured(inner, rows, chunks)
        squares[-1] = _measured(inner, rows, chunks[..., -1:, :], kept=kept)[-1]
        return squares
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
def _measured(
    inner: HyperNetwork, rows: Tensor, chunks: Tensor, *, kept: int | None = None
) -> Tensor:
    """The mean square of each chunk, from the weights themselves."""
    training = inner.training
    inner.eval()
    step = max(1, _AT_ONCE // (len(rows) * inner.target.numel))
    parts = [
        generate_product(inner, rows, some)[..., :kept].square().mean(dim=(0, 2))
        for some in chunks.split(step, dim=-2)
    ]
    inner.train(training)
    return torch.cat(parts)


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
    """How long each chunk's embedding must be for the chunk to have the wanted mean square: factors `[K]`.

    Args:
        inner: The network that writes the chunks.
        rows: Inputs that all chunks share: `[B, r]`.
        chunks: Embeddings of variance 1: `[K, c]`, or `[B, K, c]`.
        wanted: Mean squares `[K]`.
        kept: How many scalars of the last chunk belong to the target.
        min_variance: The smallest factor squared.

    Raises:
        SpecError: `min_variance` is not positive.
    """
    if min_variance <= 0:
        raise SpecError(f"min_variance must be positive, got {min_variance}")
    wanted = wanted.to(rows)
    shortest = math.sqrt(min_variance)

    def squares(scales: Tensor) -> Tensor:
        return mean_squares(inner, rows, scales.unsqueeze(1) * chunks, kept=kept)

    if isinstance(inner, WritesProducts):
        scales = _bisect(squares, wanted, shortest)
    else:
        curve = _curve(inner, rows, chunks, shortest)
        own = torch.ones_like(wanted)  # how a chunk differs from the others
        for _ in range(_CORRECTIONS):
            scales = _bisect(lambda scales: own * curve(scales), wanted, shortest)  # noqa: B023  called at once
            own *= squares(scales) / (own * curve(scales)).clamp_min(1e-30)
        scales = _bisect(lambda scales: own * curve(scales), wanted, shortest)
    unreachable = squares(torch.full_like(scales, shortest)) > 1.1 * wanted
    if bool(unreachable.any()):
        _logger.warning(
            "%d of %d chunks start with larger weights than wanted: the other inputs alone bring"
            " more",
            int(unreachable.sum()),
            len(wanted),
        )
    return scales


def _bisect(squares: Callable[[Tensor], Tensor], wanted: Tensor, shortest: float) -> Tensor:
    """Lengths at which a growing function reaches what is wanted, chunk by chunk."""
    low, high = torch.full_like(wanted, shortest), torch.full_like(wanted, _LONGEST)
    for _ in range(_HALVINGS):
        middle = (low * high).sqrt()
        below = squares(middle) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low * high).sqrt()


def _curve(
    inner: HyperNetwork, rows: Tensor, chunks: Tensor, shortest: float
) -> Callable[[Tensor], Tensor]:
    """The mean square of a chunk as a function of its embedding's length, from some pairs of rows and chunks."""
    pick = torch.arange(_samples(inner), device=rows.device)
    shared = rows[pick % len(rows)]
    some = (
        chunks[pick % len(chunks)]
        if chunks.ndim == 2
        else chunks[pick % len(rows), pick % chunks.shape[1]]
    )
    lengths = torch.logspace(math.log10(shortest), math.log10(_LONGEST), _POINTS).to(rows)
    values = torch.stack(
        [_measured(inner, shared, length * some.unsqueeze(1)).mean() for length in lengths]
    )
    x, y = lengths.log(), values.clamp_min(1e-30).log()

    def at(scales: Tensor) -> Tensor:
        right = torch.searchsorted(x, scales.log()).clamp(1, _POINTS - 1)
        part = (scales.log() - x[right - 1]) / (x[right] - x[right - 1])
        return torch.lerp(y[right - 1], y[right], part).exp()

    return at
