"""Convergence of chains: rank-normalised split R-hat, effective sample sizes, errors.

All take draws `[chains, draws, *shape]` and give one number per parameter, `[*shape]`,
in double precision. Draws that are NaN or infinite give NaN.

References:
    A. Vehtari, A. Gelman, D. Simpson, B. Carpenter, P.-C. Bürkner: Rank-normalization,
    folding, and localization: an improved R-hat for assessing convergence of MCMC.
    Bayesian Analysis 16, 2021, arXiv:1903.08008.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError

__all__ = [
    "ess_bulk",
    "ess_mean",
    "ess_tail",
    "mcse_mean",
    "mcse_sd",
    "rhat",
]

_AT_ONCE = 1 << 23
"""Numbers that are looked at together, which bounds memory."""


def rhat(draws: Tensor) -> Tensor:
    r"""Rank-normalised split $\hat R$: near 1 if chains agree, suspicious above 1.01.

    The larger of two: of the draws themselves, and of their distances from the median.
    Chains are halved first, so that one chain is enough to see a drift. Constant draws
    give NaN.

    Raises:
        ConfigError: There are less than 4 draws of a chain.
    """

    def both(x: Tensor) -> Tensor:
        halves = _halves(x)
        # The mean of the two middle ones, where torch's median takes the lower.
        folded = (halves - _quantile(halves, 0.5)).abs()
        return torch.maximum(_plain_rhat(_normalized(halves)), _plain_rhat(_normalized(folded)))

    return _over_parameters(both, draws)


def ess_bulk(draws: Tensor) -> Tensor:
    """Effective sample size of the bulk: of rank-normalised draws.

    Raises:
        ConfigError: There are less than 4 draws of a chain.
    """
    return _over_parameters(lambda x: _ess(_normalized(_halves(x))), draws)


def ess_tail(draws: Tensor) -> Tensor:
    """Effective sample size of the tails: the smaller one of the 5 and 95 % quantiles.

    Raises:
        ConfigError: There are less than 4 draws of a chain.
    """

    def tails(x: Tensor) -> Tensor:
        low, high = (_ess(_halves((x <= _quantile(x, p)).double())) for p in (0.05, 0.95))
        return torch.minimum(low, high)

    return _over_parameters(tails, draws)


def ess_mean(draws: Tensor) -> Tensor:
    """Effective sample size of the mean.

    Raises:
        ConfigError: There are less than 4 draws of a chain.
    """
    return _over_parameters(lambda x: _ess(_halves(x)), draws)


def mcse_mean(draws: Tensor) -> Tensor:
    """Monte Carlo standard error of the mean.

    Raises:
        ConfigError: There are less than 4 draws of a chain.
    """
    return _over_parameters(lambda x: x.flatten(0, 1).std(dim=0) / _ess(_halves(x)).sqrt(), draws)


def mcse_sd(draws: Tensor) -> Tensor:
    """Monte Carlo standard error of the standard deviation.

    Raises:
        ConfigError: There are less than 4 draws of a chain.
    """

    def error(x: Tensor) -> Tensor:
        squares = (x - x.mean(dim=(0, 1))).square()
        variance = squares.mean(dim=(0, 1))
        spread = squares.square().mean(dim=(0, 1)) - variance.square()
        return (spread / _ess(_halves(squares)) / variance / 4.0).sqrt()

    return _over_parameters(error, draws)


def quantiles(draws: Tensor, probabilities: tuple[float, ...]) -> Tensor:
    """Quantiles `[probabilities, *shape]` of the draws of all chains."""
    return torch.stack(
        [_over_parameters(partial(_quantile, probability=p), draws) for p in probabilities]
    )


def _over_parameters(measure: Callable[[Tensor], Tensor], draws: Tensor) -> Tensor:
    """Apply a measure of `[chains, draws, n]` to draws of any shape."""
    if draws.ndim < 2 or draws.shape[1] < 4:
        raise ConfigError(
            "diagnostics need draws [chains, draws, *shape] with at least 4 draws of each chain,"
            f" got {list(draws.shape)}"
        )
    shape = draws.shape[2:]
    flat = draws.detach().flatten(2) if shape else draws.detach()[..., None]
    if not flat.shape[-1]:
        return flat.new_zeros(shape, dtype=torch.float64)
    size = max(1, _AT_ONCE // (flat.shape[0] * flat.shape[1]))
    found = []
    for part in flat.split(size, dim=-1):
        values = measure(part.double())
        bad = ~torch.isfinite(part).all(dim=0).all(dim=0)
        found.append(values.masked_fill(bad, torch.nan))
    return torch.cat(found).reshape(shape)


def _halves(x: Tensor) -> Tensor:
    """Each chain cut in two; a middle draw is left out."""
    half = x.shape[1] // 2
    return torch.cat([x[:, :half], x[:, -half:]])


def _quantile(x: Tensor, probability: float) -> Tensor:
    """The quantile of R's type 7, linear between draws, `[n]`."""
    values = x.flatten(0, 1).sort(dim=0).values
    # In this order of operations, as elsewhere: a quantile that is itself a draw counts
    # among the tail or not by its last digit.
    place = len(values) * probability + (1.0 - probability)
    after = min(max(int(place), 1), len(values) - 1)
    share = place - after
    return (1.0 - share) * values[after - 1] + share * values[after]


def _normalized(x: Tensor) -> Tensor:
    """Draws replaced by the normal scores of their ranks among all; ties share one."""
    values, order = x.flatten(0, 1).sort(dim=0)
    count = len(values)
    place = torch.arange(count, device=x.device)[:, None].expand_as(values)
    new = torch.ones_like(values, dtype=torch.bool)
    new[1:] = values[1:] != values[:-1]
    first = torch.where(new, place, 0).cummax(dim=0).values
    # Where the run of equal draws ends: just before the next one begins.
    ends = torch.ones_like(new)
    ends[:-1] = new[1:]
    last = torch.where(ends, place, count).flip(0).cummin(dim=0).values.flip(0)
    ranks = 0.5 * (first + last).double() + 1.0
    scores = torch.special.ndtri((ranks - 0.375) / (count + 0.25))
    return torch.empty_like(values).scatter_(0, order, scores).reshape(x.shape)


def _plain_rhat(x: Tensor) -> Tensor:
    draws = x.shape[1]
    between = draws * x.mean(dim=1).var(dim=0)
    within = x.var(dim=1).mean(dim=0)
    return ((between / within + draws - 1) / draws).sqrt()


def _ess(x: Tensor) -> Tensor:
    """Effective sample size by Geyer's initial monotone sequence, `[n]`."""
    chains, draws, _ = x.shape
    covariances = _autocovariances(x).mean(dim=0)
    within = covariances[0] * draws / (draws - 1.0)
    total = covariances[0] + x.mean(dim=1).var(dim=0)
    correlations = 1.0 - (within - covariances) / total
    correlations[0] = 1.0
    # Sums of neighbours (even and odd lags) are positive and fall, for a reversible
    # chain; from the first one that is not, all is noise.
    last = max(0, (draws - 3) // 2)
    even, odd = correlations[0 : 2 * last + 1 : 2], correlations[1 : 2 * last + 2 : 2]
    pairs = even + odd
    positive = (pairs > 0.0).long().cumprod(dim=0)
    ends = positive.sum(dim=0).clamp(max=last)[None]
    end_even, end_pair = even.gather(0, ends)[0], pairs.gather(0, ends)[0]
    counted = torch.arange(last + 1, device=x.device)[:, None] < ends
    falling = torch.where(counted, pairs, torch.inf).cummin(dim=0).values
    body = torch.where(counted, falling, 0.0).sum(dim=0)
    tail = torch.where((end_pair >= 0.0) | (end_even > 0.0), end_even, 0.0)
    size = chains * draws
    time = (2.0 * body - 1.0 + tail).clamp(min=1.0 / math.log10(size))
    spread = x.amax(dim=(0, 1)) - x.amin(dim=(0, 1))
    # Of draws that are all equal each one is as good as the mean.
    return torch.where(spread < 1e-15, float(size), size / time)


def _autocovariances(x: Tensor) -> Tensor:
    """Autocovariances `[chains, draws, n]` at all lags, by Fourier transform."""
    draws = x.shape[1]
    length = 1 << (2 * draws - 1).bit_length()
    transformed = torch.fft.rfft(x - x.mean(dim=1, keepdim=True), n=length, dim=1)
    power = transformed.real.square() + transformed.imag.square()
    # The power spectrum is real and symmetric.
    found: Tensor = torch.fft.irfft(power.to(transformed.dtype), n=length, dim=1)
    return found[:, :draws] / draws
