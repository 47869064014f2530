"""Measures of continual learning, from the matrix of scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Scores: TypeAlias = Sequence[Sequence[float]]
"""Row `t`: the scores of tasks `0` to `t` (or more) after task `t` was learned."""


def mean(values: Sequence[float]) -> float:
    """The mean."""
    return sum(values) / len(values)


def forgetting(scores: Scores, *, higher_is_better: bool = True) -> float:
    r"""Mean loss of score on earlier tasks between their learning and the end.

    $$ \frac{1}{T-1} \sum_{j<T} R_{jj} - R_{Tj} $$

    Positive is worse, for errors too; 0 with one task. It is the opposite of
    `backward_transfer`. Chaudhry et al. take the best score that a task ever had in
    place of $R_{jj}$, so that tasks which improve later count differently.

    References:
        A. Chaudhry et al.: Riemannian walk for incremental learning. ECCV 2018,
        arXiv:1801.10112, section 3.

    Example:
        >>> forgetting([[90.0], [80.0, 95.0]])
        10.0
    """
    transferred = backward_transfer(scores, higher_is_better=higher_is_better)
    return 0.0 if transferred is None else 0.0 - transferred  # no minus zero


def backward_transfer(scores: Scores, *, higher_is_better: bool = True) -> float | None:
    r"""Mean change of the scores of earlier tasks.

    $$ \frac{1}{T-1} \sum_{j<T} R_{Tj} - R_{jj} $$

    Positive is better, for errors too; `None` with one task.

    References:
        D. Lopez-Paz, M. Ranzato: Gradient episodic memory for continual learning. NIPS
        2017, arXiv:1706.08840, section 2.

    Example:
        >>> backward_transfer([[90.0], [80.0, 95.0]])
        -10.0
    """
    if len(scores) < 2:
        return None
    sign = 1.0 if higher_is_better else -1.0
    final = scores[-1]
    return mean([sign * (final[t] - row[t]) for t, row in enumerate(scores[:-1])])


def forward_transfer(
    next_scores: Sequence[float], first_scores: Sequence[float], *, higher_is_better: bool = True
) -> float | None:
    r"""Mean gain on tasks before they are learned.

    $$ \frac{1}{T-1} \sum_{j>1} R_{j-1,j} - b_j $$

    Positive is better, for errors too; `None` with one task.

    Args:
        next_scores: For each task but the first, its score just before it is learned.
        first_scores: The same by the network as it starts.
        higher_is_better: Whether a larger score is better.

    References:
        Lopez-Paz and Ranzato, see `backward_transfer`.
    """
    if not next_scores:
        return None
    sign = 1.0 if higher_is_better else -1.0
    return mean([sign * (r - b) for r, b in zip(next_scores, first_scores, strict=True)])


def anytime(scores: Scores) -> float:
    """Area under the anytime curve: the mean over time of the mean score so far.

    Example:
        >>> anytime([[90.0], [80.0, 90.0]])
        87.5
    """
    return mean([mean(row[: t + 1]) for t, row in enumerate(scores)])
