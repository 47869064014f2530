"""Predictive distributions: mixtures over draws, and how well they are calibrated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_BINS = 15


@dataclass(frozen=True, eq=False)
class Mixture:
    r"""Predictions of a regression: $p(y) = \frac1S \sum_s N(y; f_s, \sigma_s^2)$.

    Attributes:
        outputs: Outputs of each draw, $f_s$: `[S, N]`.
        noise: Standard deviations of each draw, $\sigma_s$: `[S, 1]`, or `[S, N]`.
    """

    outputs: Tensor
    noise: Tensor

    @property
    def mean(self) -> Tensor:
        """Means `[N]`."""
        return self.outputs.mean(dim=0)

    @property
    def std(self) -> Tensor:
        """Standard deviations `[N]`, the noise included."""
        variance: Tensor = self.outputs.var(dim=0, correction=0) + self.noise.square().mean(dim=0)
        return variance.sqrt()

    def log_prob(self, y: Tensor) -> Tensor:
        """Log densities `[N]` of targets."""
        scaled = (y - self.outputs) / self.noise
        each = -0.5 * scaled.square() - self.noise.log() - 0.5 * math.log(2.0 * math.pi)
        found: Tensor = each.logsumexp(dim=0) - math.log(len(each))
        return found

    def cdf(self, y: Tensor) -> Tensor:
        """Probabilities `[N]` of smaller targets."""
        each: Tensor = torch.special.ndtr((y - self.outputs) / self.noise)
        return each.mean(dim=0)

    def quantile(self, probability: float) -> Tensor:
        """Quantiles `[N]`, by bisection to the seventh digit of the range."""
        # Far enough to hold each component's own quantile.
        reach = 10.0 * self.noise.amax()
        low, high = self.outputs.amin(dim=0) - reach, self.outputs.amax(dim=0) + reach
        for _ in range(40):
            middle = 0.5 * (low + high)
            below = self.cdf(middle) < probability
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return 0.5 * (low + high)


def coverage(mixture: Mixture, y: Tensor, level: float = 0.9) -> Tensor:
    """Whether targets lie in the central intervals of a probability (bool `[N]`)."""
    return (mixture.cdf(y) - 0.5).abs() <= 0.5 * level


def calibration(mixture: Mixture, y: Tensor) -> tuple[Tensor, Tensor]:
    """Levels of central intervals (5 to 95 %), and the share of targets in each."""
    levels = torch.linspace(0.05, 0.95, 19, dtype=torch.float64, device=y.device)
    inside = 2.0 * (mixture.cdf(y) - 0.5).abs().double()
    return levels, (inside[:, None] <= levels).double().mean(dim=0)


def calibration_error(mixture: Mixture, y: Tensor) -> float:
    """Mean difference of the levels of intervals and the shares of targets in them."""
    levels, shares = calibration(mixture, y)
    return float((levels - shares).abs().mean())


def reliability(probabilities: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Confidences, accuracies and sizes of bins of equal width, those with samples.

    Args:
        probabilities: Probabilities of classes `[N, classes]`.
        y: Labels `[N]`.
    """
    confidence, answer = probabilities.max(dim=-1)
    bins = (confidence * _BINS).long().clamp(max=_BINS - 1)
    counts = torch.bincount(bins, minlength=_BINS)
    sums = torch.bincount(bins, confidence.double(), minlength=_BINS)
    right = torch.bincount(bins, (answer == y).double(), minlength=_BINS)
    used = counts > 0
    return sums[used] / counts[used], right[used] / counts[used], counts[used]


def expected_calibration_error(probabilities: Tensor, y: Tensor) -> float:
    """Mean difference of confidence and accuracy, over 15 bins.

    References:
        C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger: On calibration of modern neural
        networks. ICML 2017, equation 3.
    """
    confidences, accuracies, counts = reliability(probabilities, y)
    return float(((confidences - accuracies).abs() * counts).sum() / counts.sum())


def set_coverage(probabilities: Tensor, y: Tensor, level: float = 0.9) -> Tensor:
    """Whether labels are among the likeliest classes of a probability (bool `[N]`)."""
    ordered, classes = probabilities.sort(dim=-1, descending=True)
    # A class belongs to the set if those before it are not yet enough.
    needed = (ordered.cumsum(dim=-1) - ordered) < level
    return (needed & (classes == y[:, None])).any(dim=-1)
