"""Figures in summaries, compared with those that a recipe expects."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from hypnet_core.errors import RunError, did_you_mean
from hypnet_core.plugins.recipe import Expected
from hypnet_core.plugins.validation import shown
from hypnet_core.recipes.intervals import interval

_REDUCERS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "max": max,
    "min": min,
    "mean": statistics.fmean,
    "sum": math.fsum,
}


class Verdict(StrEnum):
    """Whether a measured figure is as expected."""

    MET = "met"
    MISSED = "missed"
    UNKNOWN = "unknown"


class Figure(BaseModel):
    """An expected figure and what was measured.

    Attributes:
        figure: The figure, in words.
        expected: The bounds, in words.
        values: The number of each seed.
        mean: Their mean; `None` if there is none.
        interval: Confidence interval of the mean, 95 % by Student's t; `None` for fewer
            than two seeds.
        verdict: `met`, `missed`, or `unknown` if it could not be measured.
        note: Why it is unknown, or why it might turn with more seeds.
        source: Where the expected number stands.
    """

    model_config = ConfigDict(frozen=True)

    figure: str
    expected: str
    values: dict[int, float] = {}
    mean: float | None = None
    interval: tuple[float, float] | None = None
    verdict: Verdict
    note: str = ""
    source: str = ""


def figure_in(summary: Mapping[str, Any], expected: Expected) -> float:
    """The number of a figure in a summary; nothing is subtracted.

    Raises:
        RunError: The summary has no such figure, or it is no number.

    Example:
        >>> summary = {"during": [99.0, 98.0], "final": [98.0, 98.0]}
        >>> figure_in(summary, Expected(figure="final", reduce="mean", at_least=0))
        98.0
    """
    found = _at(summary, expected.figure)
    if expected.over is not None:
        found = _divided(found, _at(summary, expected.over), expected)
    if expected.reduce is None:
        if isinstance(found, list):
            raise RunError(
                f"the figure {expected.label!r} is a list of {len(found)}: say which one"
                f" ({expected.figure}.0), or reduce it (mean, max, min or sum)"
            )
        return float(found)
    numbers = list(_flat(found))
    if not numbers:
        raise RunError(f"the figure {expected.figure!r} is an empty list")
    return float(_REDUCERS[expected.reduce](numbers))


def judge(
    expected: Expected, values: Mapping[int, float], *, source: str = "", note: str = ""
) -> Figure:
    """Compare the numbers of several seeds with the bounds.

    The mean must lie within them, or as many seeds as the recipe says. An interval of
    the mean that holds a bound is noted: more seeds could turn the verdict.

    Args:
        expected: The figure and its bounds.
        values: The number of each seed.
        source: Where the figure stands, unless it says so itself.
        note: A remark, for instance why there are no values.
    """
    empty = Figure(
        figure=expected.label,
        expected=expected.range,
        verdict=Verdict.UNKNOWN,
        note=note,
        source=expected.source or source,
    )
    if not values:
        return empty
    low, high = expected.bounds
    numbers = list(values.values())
    inside = sum(low <= number <= high for number in numbers)
    mean, ends = statistics.fmean(numbers), interval(numbers)
    if expected.of == "every" or expected.share is not None:
        share = 1.0 if expected.share is None else expected.share
        # Rounding must not turn 9 of 10 into less than 0.9.
        met = inside >= share * len(numbers) - 1e-9
        note = note or f"{inside} of {len(numbers)} seeds"
    else:
        met = low <= mean <= high
        if ends is not None and not _settled(ends, low, high, met=met):
            note = note or "the interval holds a bound: more seeds could turn the verdict"
    measurement = {
        "values": dict(values),
        "mean": mean,
        "interval": ends,
        "verdict": Verdict.MET if met else Verdict.MISSED,
        "note": note,
    }
    return empty.model_copy(update=measurement)


def _settled(ends: tuple[float, float], low: float, high: float, *, met: bool) -> bool:
    """Whether the whole interval lies where the mean lies."""
    if met:
        return low <= ends[0] and ends[1] <= high
    return ends[1] < low or ends[0] > high


def measured(
    expected: Iterable[Expected],
    summaries: Mapping[int, Mapping[str, Any]],
    others: Mapping[str, Mapping[int, Mapping[str, Any]]],
    *,
    source: str = "",
) -> list[Figure]:
    """Judge all figures of a recipe.

    Args:
        expected: The figures.
        summaries: The summary of each seed.
        others: By name, the same of the recipes that figures are compared with; those
            that are missing leave a figure unknown.
        source: Where the figures stand, unless they say so themselves.

    Raises:
        RunError: A summary lacks a figure.
    """
    found = []
    for one in expected:
        if one.minus is not None and one.minus not in others:
            note = f"it needs runs of {one.minus} too: hypnet check"
            found.append(judge(one, {}, source=source, note=note))
            continue
        base = {} if one.minus is None else others[one.minus]
        values = {
            seed: figure_in(summary, one) - (figure_in(base[seed], one) if base else 0.0)
            for seed, summary in summaries.items()
        }
        found.append(judge(one, values, source=source))
    return found


def measured_text(figure: Figure) -> str:
    """A mean with half the width of its interval.

    Example:
        >>> measured_text(Figure(figure="f", expected="", verdict="unknown"))
        '-'
    """
    if figure.mean is None:
        return "-"
    if figure.interval is None:
        return f"{figure.mean:.4g}"
    half = (figure.interval[1] - figure.interval[0]) / 2
    return f"{figure.mean:.4g} ± {half:.2g}"


def _at(summary: Any, key: str) -> Any:
    """The number, or list of numbers, at a dotted key."""
    value = summary
    passed: list[str] = []
    # A key that contains dots wins over a path.
    for part in [key] if key in summary else key.split("."):
        where = ".".join(passed) or "the summary"
        if isinstance(value, list):
            if not part.isdecimal() or int(part) >= len(value):
                raise RunError(f"the figure {key!r} is not there: {where} has {len(value)} items")
            value = value[int(part)]
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
        else:
            known = list(map(str, value)) if isinstance(value, Mapping) else []
            raise RunError(
                f"there is no figure {key!r}: {where} has no {part!r}{did_you_mean(part, known)}"
            )
        passed.append(part)
    if not _is_numeric(value):
        raise RunError(f"the figure {key!r} is no number but {shown(value)}")
    return value


def _is_numeric(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_numeric, value))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _divided(upper: Any, lower: Any, expected: Expected) -> Any:
    if isinstance(upper, list) and isinstance(lower, list) and len(upper) == len(lower):
        return [_divided(u, v, expected) for u, v in zip(upper, lower, strict=True)]
    if isinstance(upper, list) and not isinstance(lower, list):
        return [_divided(u, lower, expected) for u in upper]
    if isinstance(lower, list):
        raise RunError(f"{expected.figure!r} cannot be divided by {expected.over!r}: other lengths")
    # IEEE division, whose infinity misses every bound.
    return upper / lower if lower else math.copysign(math.inf, upper) if upper else math.nan


def _flat(value: Any) -> Iterator[float]:
    if isinstance(value, list):
        for part in value:
            yield from _flat(part)
    else:
        yield value
