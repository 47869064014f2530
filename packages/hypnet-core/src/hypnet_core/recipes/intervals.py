"""Confidence intervals of means, by Student's t distribution."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    r"""The confidence interval of the mean of independent normal values.

    $$ \bar x \pm t_{n-1} \, s / \sqrt n $$

    Args:
        values: The values.
        confidence: Probability that such an interval covers the mean.

    Returns:
        Its ends; `None` for fewer than two values, or if one of them is not finite.

    Example:
        >>> low, high = interval([99.0, 99.5, 100.0])
        >>> round(low, 3), round(high, 3)
        (98.258, 100.742)
    """
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    half = student_quantile(0.5 + confidence / 2, len(values) - 1) * error
    return mean - half, mean + half


def student_quantile(probability: float, freedom: int) -> float:
    """The quantile of Student's t distribution, to about 12 digits.

    Args:
        probability: At least one half and below one.
        freedom: Degrees of freedom, at least one.

    Example:
        >>> round(student_quantile(0.975, 4), 4)
        2.7764
    """
    # t = sqrt(freedom) tan(angle): bisection over angles needs no upper end.
    low, high = 0.0, math.pi / 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in {low, high}:
            break
        if _cumulative(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan(low)


def _cumulative(angle: float, freedom: int) -> float:
    """P(T <= t) for `t = sqrt(freedom) tan(angle)`.

    References:
        Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    sine, cosine = math.sin(angle), math.cos(angle)
    # Both series go up by two powers of the cosine per term.
    term, total = (cosine, 0.0) if freedom % 2 else (1.0, 0.0)
    for k in range(1 + freedom % 2, freedom, 2):
        total += term
        term *= cosine * cosine * k / (k + 1)
    inside = 2 / math.pi * (angle + sine * total) if freedom % 2 else sine * total
    return (1 + inside) / 2
