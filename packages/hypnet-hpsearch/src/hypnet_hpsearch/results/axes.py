"""Axes of plots: scales, ticks and labels of options and metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.spec.values import argument_text
from hypnet_hpsearch.state.ledger import TrialRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Axis",
    "axis_of",
    "heights",
    "is_wide",
    "marks",
    "metric_scale",
    "option_scale",
    "short",
]

_MOST_TICKS = 12
_FEW_TICKS = 5
_LONGEST_LABEL = 18


@dataclass(frozen=True)
class Axis:
    """An option, or the metric, as an axis.

    Attributes:
        name: The option.
        places: Position of each trial.
        labels: For categories, the label of each position from 0 on; empty for numbers.
        log: Whether the axis is logarithmic.
    """

    name: str
    places: list[float]
    labels: tuple[str, ...] = ()
    log: bool = False


def axis_of(spec: SearchSpec, name: str, records: Sequence[TrialRecord]) -> Axis:
    """The axis of an option."""
    values = [record.options.get(name) for record in records]
    numbers = [
        value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    if len(numbers) == len(values) and all(map(math.isfinite, numbers)):
        return Axis(name, [float(number) for number in numbers], log=_is_log(spec, name, numbers))
    # Categories, in the order of the search file, then those that conditions added.
    texts = [
        "(none)" if value is None and name not in record.options else argument_text(value)
        for value, record in zip(values, records, strict=True)
    ]
    known = [text for text in map(argument_text, spec.grid.get(name, [])) if text in texts]
    labels = tuple(dict.fromkeys([*known, *sorted(texts)]))
    return Axis(name, [float(labels.index(text)) for text in texts], labels)


def _is_log(spec: SearchSpec, name: str, numbers: Sequence[float]) -> bool:
    """Whether an axis is logarithmic.

    A range says so itself; a list of positive numbers is if it spans a factor of 50.
    """
    if name in spec.ranges:
        return spec.ranges[name].log and min(numbers) > 0
    return min(numbers) > 0 and max(numbers) / min(numbers) >= 50


def short(text: str) -> str:
    """A text as a label."""
    text = text if text.isprintable() else repr(text)[1:-1]
    text = text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"
    return text.replace("$", r"\$")  # matplotlib would set it as a formula


def option_scale(axes: Axes, axis: Axis) -> None:
    """Set the ticks and the scale of an option."""
    if axis.labels:
        step = -(-len(axis.labels) // _MOST_TICKS)
        places = list(range(0, len(axis.labels), step))
        axes.set_xticks(places, [short(axis.labels[place]) for place in places])
        axes.set_xlim(-0.5, len(axis.labels) - 0.5)
        if max(map(len, axis.labels)) > 6:
            axes.tick_params(axis="x", labelrotation=30)
            for label in axes.get_xticklabels():
                label.set_horizontalalignment("right")
    elif axis.log:
        axes.set_xscale("log")
    elif len(set(axis.places)) <= _FEW_TICKS:
        axes.set_xticks(
            sorted(set(axis.places)), [f"{place:.4g}" for place in sorted(set(axis.places))]
        )


def metric_scale(axes: Axes, records: Sequence[TrialRecord]) -> None:
    """Make the metric's axis logarithmic if a few bad results would hide the rest."""
    if is_wide([record.metric or 0.0 for record in records]):
        axes.set_yscale("log")


def is_wide(metrics: Sequence[float]) -> bool:
    """Whether positive numbers span a factor of 1000."""
    return min(metrics) > 0 and max(metrics) / min(metrics) >= 1000


def heights(axis: Axis) -> list[float]:
    """Positions on an axis, scaled from 0 to 1."""
    places = [math.log(place) for place in axis.places] if axis.log else axis.places
    low, high = min(places), max(places)
    return [(place - low) / (high - low) if high > low else 0.5 for place in places]


def marks(axis: Axis) -> list[tuple[float, str]]:
    """Positions and labels of an axis: all categories, or five numbers."""
    if axis.labels:
        step, last = -(-len(axis.labels) // _MOST_TICKS), max(1, len(axis.labels) - 1)
        return [
            (place / last, short(axis.labels[place])) for place in range(0, len(axis.labels), step)
        ]
    low, high = min(axis.places), max(axis.places)
    distinct = dict(zip(axis.places, heights(axis), strict=True))
    if len(distinct) <= _MOST_TICKS:
        return [(height, f"{place:.4g}") for place, height in distinct.items()]
    if axis.log:
        return [
            (quarter / 4, f"{low ** (1 - quarter / 4) * high ** (quarter / 4):.2g}")
            for quarter in range(5)
        ]
    return [(quarter / 4, f"{low + (high - low) * quarter / 4:.3g}") for quarter in range(5)]
