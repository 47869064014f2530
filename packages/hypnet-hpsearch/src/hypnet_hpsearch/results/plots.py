"""Pictures of a search: the metric against each option, parallel coordinates, and the best result so far.

Needs the extra `plot`.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypnet_core.errors import RunError
from hypnet_core.runs import make_directory, write_atomic
from hypnet_hpsearch.spec.command import argument_text
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState
from hypnet_hpsearch.state.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["save_plots"]

_MOST_PANELS = 24
_MOST_TICKS = 12
_FEW_TICKS = 5
_LONGEST_LABEL = 18
_DPI = 150
_MANY = 2000  # from here on a picture in an SVG is smaller than the marks it shows


@dataclass(frozen=True)
class _Axis:
    """An option as an axis.

    Attributes:
        name: The option.
        places: Where each trial lies.
        labels: For categories, what each place from 0 on means; empty for numbers.
        log: Whether the axis is logarithmic.
    """

    name: str
    places: list[float]
    labels: tuple[str, ...] = ()
    log: bool = False


def save_plots(
    store: Store, spec: SearchSpec, directory: Path, formats: Sequence[str] = ("png", "svg")
) -> list[Path]:
    """Draw a search.

    Args:
        store: The search's directory.
        spec: The search.
        directory: Where the files go: `options`, `parallel` and `best_so_far` with each
            format's ending.
        formats: `png` and `svg`.

    Returns:
        The files.

    Raises:
        RunError: There is nothing to draw, matplotlib is not installed, or a file
            cannot be written.
    """
    records = [
        record for record in store.ledger.trials.values() if record.state.final and record.options
    ]
    with_number = [
        record for record in records if record.metric is not None and math.isfinite(record.metric)
    ]
    if not any(record.score is not None for record in with_number):
        raise RunError(f"{store.directory}: no trial has a number for a result yet")
    axes = [
        axis
        for axis in (_axis(spec, name, with_number) for name in spec.searched)
        if len(set(axis.places)) > 1
    ]
    left_out = len(records) - len(with_number)
    figures: dict[str, Callable[[], Figure]] = {
        "best_so_far": lambda: _best_so_far(spec, with_number, left_out)
    }
    if axes:
        figures["options"] = lambda: _options(spec, axes, with_number, left_out)
        figures["parallel"] = lambda: _parallel(spec, axes, with_number, left_out)
    _check_installed()
    make_directory(directory)
    with warnings.catch_warnings(
        action="ignore"
    ):  # of letters that no font has, of numbers at the edge of what floats hold
        return [
            path
            for name, draw in figures.items()
            for path in _save(draw(), directory / name, formats)
        ]


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure as Canvas

    return Canvas(figsize=(width, height), layout="constrained")


def _check_installed() -> None:
    try:
        importlib.import_module("matplotlib")
    except ImportError:
        raise RunError("matplotlib is not installed: pip install 'hypnet-hpsearch[plot]'") from None


def _save(figure: Figure, path: Path, formats: Sequence[str]) -> list[Path]:
    import io

    saved = []
    for kind in formats:
        content = io.BytesIO()
        figure.savefig(
            content, format=kind, dpi=_DPI, metadata={"Date": None} if kind == "svg" else None
        )
        saved.append(path.with_suffix(f".{kind}"))
        write_atomic(saved[-1], content.getvalue())
    return saved


def _axis(spec: SearchSpec, name: str, records: Sequence[TrialRecord]) -> _Axis:
    values = [record.options.get(name) for record in records]
    numbers = [
        value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    if len(numbers) == len(values) and all(map(math.isfinite, numbers)):
        return _Axis(name, [float(number) for number in numbers], log=_is_log(spec, name, numbers))
    # Categories, in the order of the search file; what conditions have added comes
    # after.
    texts = [
        "(none)" if value is None and name not in record.options else argument_text(value)
        for value, record in zip(values, records, strict=True)
    ]
    known = [text for text in map(argument_text, spec.grid.get(name, [])) if text in texts]
    labels = tuple(dict.fromkeys([*known, *sorted(texts)]))
    return _Axis(name, [float(labels.index(text)) for text in texts], labels)


def _is_log(spec: SearchSpec, name: str, numbers: Sequence[float]) -> bool:
    """As the range says; a list of positive numbers that are better told apart by their logarithms."""
    if name in spec.ranges:
        return spec.ranges[name].log and min(numbers) > 0
    return min(numbers) > 0 and max(numbers) / min(numbers) >= 50


def _short(text: str) -> str:
    text = text if text.isprintable() else repr(text)[1:-1]
    text = text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"
    return text.replace("$", r"\$")  # no formula


def _option_scale(axes: Axes, axis: _Axis) -> None:
    """Ticks and scale of an option."""
    if axis.labels:
        step = -(-len(axis.labels) // _MOST_TICKS)
        places = list(range(0, len(axis.labels), step))
        axes.set_xticks(places, [_short(axis.labels[place]) for place in places])
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


def _metric_scale(axes: Axes, records: Sequence[TrialRecord]) -> None:
    """A logarithmic metric where a few bad results would hide all others."""
    if _is_wide([record.metric or 0.0 for record in records]):
        axes.set_yscale("log")


def _is_wide(metrics: Sequence[float]) -> bool:
    return min(metrics) > 0 and max(metrics) / min(metrics) >= 1000


def _title(spec: SearchSpec, count: int, left_out: int) -> str:
    text = f"{_short(spec.name)}: {count} trial{'s' * (count != 1)}"
    return f"{text}, and {left_out} without a number" if left_out else text


def _points(
    axes: Axes, places: Sequence[float], records: Sequence[TrialRecord], best: TrialRecord
) -> None:
    for state, marker, label in (
        (TrialState.DONE, "o", "done"),
        (TrialState.PRUNED, "x", "pruned"),
    ):
        chosen = [number for number, record in enumerate(records) if record.state is state]
        if chosen:
            x, y = (
                [places[number] for number in chosen],
                [records[number].metric or 0.0 for number in chosen],
            )
            colour = "tab:blue" if state is TrialState.DONE else "tab:gray"
            axes.scatter(
                x,
                y,
                s=18,
                alpha=0.7,
                marker=marker,
                color=colour,
                linewidths=1,
                label=label,
                rasterized=len(records) > _MANY,
            )
    place = places[records.index(best)]
    axes.scatter(
        [place],
        [best.metric or 0.0],
        s=90,
        facecolors="none",
        edgecolors="tab:red",
        linewidths=1.8,
        label="best",
    )


def _best(spec: SearchSpec, records: Sequence[TrialRecord]) -> TrialRecord:
    return min(
        (record for record in records if record.score is not None),
        key=lambda record: record.rank(spec.direction),
    )


def _options(
    spec: SearchSpec, axes: Sequence[_Axis], records: Sequence[TrialRecord], left_out: int
) -> Figure:
    """One panel for each option: the metric against its values."""
    shown = axes[:_MOST_PANELS]
    columns = min(4, len(shown)) if len(shown) != 4 else 2
    rows = -(-len(shown) // columns)
    figure = _figure(max(5.0, 3.6 * columns), max(3.6, 3.0 * rows))
    best = _best(spec, records)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
    for axis, panel in zip(shown, panels, strict=False):
        _points(panel, axis.places, records, best)
        _metric_scale(panel, records)
        _option_scale(panel, axis)
        panel.set_xlabel(_short(axis.name))
        panel.grid(alpha=0.25)
    for number, panel in enumerate(figure.axes):
        if number >= len(shown):
            panel.set_visible(False)
        elif number % columns == 0:
            panel.set_ylabel(_short(spec.metric))
    figure.axes[0].legend(fontsize="small")
    left = f" (the first {len(shown)} of {len(axes)} options)" if len(shown) < len(axes) else ""
    figure.suptitle(_title(spec, len(records), left_out) + left)
    return figure


def _parallel(
    spec: SearchSpec, axes: Sequence[_Axis], records: Sequence[TrialRecord], left_out: int
) -> Figure:
    """One line for each trial through all its options to its metric; the best are drawn last, in the brightest colour."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LogNorm, Normalize

    shown = list(axes[:_MOST_PANELS])
    metrics = [record.metric or 0.0 for record in records]
    sign = 1 if spec.direction == "maximize" else -1
    wide = _is_wide(metrics)
    everything = [*shown, _Axis(spec.metric, metrics, log=wide)]
    figure = _figure(max(6.0, 1.5 * len(everything) + 1), 4.5)
    panel = figure.subplots()
    norm = (LogNorm if wide else Normalize)(
        min(metrics), max(metrics) if max(metrics) > min(metrics) else min(metrics) + 1
    )
    colours = colormaps["viridis" if sign == 1 else "viridis_r"]
    heights = [_heights(axis) for axis in everything]
    width = 1.6 if len(records) < 100 else 0.8
    order = sorted(range(len(records)), key=lambda number: sign * metrics[number])
    lines = LineCollection(
        [list(enumerate(height[number] for height in heights)) for number in order],
        colors=[colours(norm(metrics[number])) for number in order],
        linestyles=["-" if records[number].state is TrialState.DONE else ":" for number in order],
        linewidths=width,
        alpha=0.75,
        rasterized=len(records) > _MANY,
    )
    panel.add_collection(lines)
    panel.set_ylim(-0.05, 1.05)
    for place, axis in enumerate(everything):
        panel.axvline(place, color="black", linewidth=0.8)
        for height, text in _marks(axis):
            where: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "va": "center"}
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}
            panel.annotate(text, (place, height), (-4, 0), fontsize=7, bbox=box, **where)
    panel.set_xticks(range(len(everything)), [_short(axis.name) for axis in everything])
    panel.set_xlim(-0.35, len(everything) - 0.9)
    panel.set_yticks([])
    for side in panel.spines.values():
        side.set_visible(False)
    figure.colorbar(ScalarMappable(norm, colours), ax=panel, label=_short(spec.metric))
    panel.set_title(_title(spec, len(records), left_out))
    return figure


def _heights(axis: _Axis) -> list[float]:
    places = [math.log(place) for place in axis.places] if axis.log else axis.places
    low, high = min(places), max(places)
    return [(place - low) / (high - low) if high > low else 0.5 for place in places]


def _marks(axis: _Axis) -> list[tuple[float, str]]:
    """What is written beside an axis: all categories, or five numbers."""
    if axis.labels:
        step, last = -(-len(axis.labels) // _MOST_TICKS), max(1, len(axis.labels) - 1)
        return [
            (place / last, _short(axis.labels[place])) for place in range(0, len(axis.labels), step)
        ]
    low, high = min(axis.places), max(axis.places)
    distinct = dict(zip(axis.places, _heights(axis), strict=True))
    if len(distinct) <= _MOST_TICKS:
        return [(height, f"{place:.4g}") for place, height in distinct.items()]
    if axis.log:
        return [
            (quarter / 4, f"{low ** (1 - quarter / 4) * high ** (quarter / 4):.2g}")
            for quarter in range(5)
        ]
    return [(quarter / 4, f"{low + (high - low) * quarter / 4:.3g}") for quarter in range(5)]


def _best_so_far(spec: SearchSpec, records: Sequence[TrialRecord], left_out: int) -> Figure:
    """All results in the order in which they came, and the best of them so far."""
    from matplotlib.ticker import MaxNLocator

    ordered = sorted(records, key=lambda record: record.ended or 0.0)
    choose = max if spec.direction == "maximize" else min
    figure = _figure(7.0, 4.2)
    panel = figure.subplots()
    _points(
        panel,
        [float(number) for number in range(1, len(ordered) + 1)],
        ordered,
        _best(spec, records),
    )
    best: list[float] = []
    for record in ordered:
        best.append(
            choose(
                [*best[-1:], *([] if record.score is None else [record.score])], default=math.nan
            )
        )
    panel.step(
        range(1, len(best) + 1),
        best,
        where="post",
        color="tab:red",
        linewidth=1.4,
        label="best so far",
    )
    _metric_scale(panel, ordered)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlim(0.5, len(ordered) + 0.5)
    panel.set_xlabel("finished trials")
    panel.set_ylabel(_short(spec.metric))
    panel.set_title(_title(spec, len(records), left_out))
    panel.grid(alpha=0.25)
    panel.legend(fontsize="small")
    return figure
