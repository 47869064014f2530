"""Adaptation while chains warm up: step sizes by dual averaging, masses in windows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

Mass: TypeAlias = Literal["diagonal", "dense", "fixed"]


class DualAveraging(NamedTuple):
    r"""Dual averaging of $\log \epsilon$ towards a wanted acceptance.

    Attributes:
        centre: The value $\mu$ that is drawn towards.
        error: The averaged difference $\bar H$ of wanted and measured acceptance.
        average: The averaged $\log \epsilon$.
        updates: Number of updates.

    References:
        M. D. Hoffman, A. Gelman: The No-U-Turn sampler. JMLR 15, 2014, section 3.2.
    """

    centre: float
    error: float = 0.0
    average: float = 0.0
    updates: int = 0

    @staticmethod
    def around(step_size: float) -> DualAveraging:
        """A start that tries larger steps first."""
        return DualAveraging(math.log(10.0 * step_size))

    def update(self, acceptance: float, target: float) -> tuple[DualAveraging, float]:
        """The next state, and the step size to try next."""
        # gamma = 0.05, t0 = 10 and kappa = 0.75 of the paper.
        count = self.updates + 1
        weight = 1.0 / (count + 10.0)
        error = (1.0 - weight) * self.error + weight * (target - acceptance)
        step = self.centre - error * math.sqrt(count) / 0.05
        share = count**-0.75
        average = share * step + (1.0 - share) * self.average
        return DualAveraging(self.centre, error, average, count), math.exp(step)


def window(step: int, steps: int) -> tuple[bool, bool]:
    """Whether a step of the warm-up counts for the mass, and whether it ends a window.

    The first 75 and the last 50 steps do not count; windows between double from 25 on,
    and the last one takes what is left. Short warm-ups have one window, from 15 % to 90
    % of the steps, and those below 20 steps none.

    Example:
        >>> [step for step in range(1000) if window(step, 1000)[1]]
        [99, 149, 249, 449, 949]
        >>> [step for step in range(100) if window(step, 100)[1]]
        [89]
    """
    if steps < 20:
        return False, False
    first, size, last = (75, 25, 50) if steps >= 150 else (int(0.15 * steps), 0, int(0.1 * steps))
    end = steps - last
    if not first <= step < end:
        return False, False
    if not size:
        return True, step == end - 1
    start = first
    while True:
        stop = start + size
        # The next window would have twice the size: without room for it, this is the
        # last one.
        if stop + 2 * size > end:
            stop = end
        if step < stop:
            return True, step == stop - 1
        start, size = stop, 2 * size


def no_moments(position: Tensor, mass: Mass) -> dict[str, Any]:
    """Count, mean and summed squares of no positions."""
    numel = position.shape[-1]
    shape = (numel, numel) if mass == "dense" else (numel,)
    return {"count": 0, "mean": position.new_zeros(numel), "squares": position.new_zeros(shape)}


def with_positions(moments: Mapping[str, Any], position: Tensor) -> dict[str, Any]:
    """Moments with the positions of all chains `[chains, numel]` added.

    The method of Chan, Golub and LeVeque, which does not lose digits.
    """
    before, more = moments["count"], len(position)
    count = before + more
    mean, squares = moments["mean"], moments["squares"]
    own = position.mean(dim=0)
    away, shift = position - own, own - mean
    # Between the chains, and between them and the earlier positions.
    weight = before * more / count
    if squares.ndim == 1:
        squares = squares + away.square().sum(dim=0) + weight * shift.square()
    else:
        squares = squares + away.T @ away + weight * torch.outer(shift, shift)
    return {"count": count, "mean": mean + shift * (more / count), "squares": squares}


def inverse_mass_of(moments: Mapping[str, Any]) -> Tensor:
    """The regularised covariance of the positions in a window, as in Stan."""
    count = moments["count"]
    covariance: Tensor = moments["squares"] / max(count - 1, 1)
    shrunk: Tensor = covariance * (count / (count + 5.0))
    floor: float = 1e-3 * 5.0 / (count + 5.0)
    if covariance.ndim == 1:
        return shrunk + floor
    return shrunk + floor * torch.eye(len(covariance), dtype=shrunk.dtype, device=shrunk.device)
