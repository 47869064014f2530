"""Figures of a search, drawn with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from hypnet_hpsearch.results.axes import (
    Axis,
    heights,
    is_wide,
    marks,
    metric_scale,
    option_scale,
    short,
)
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState
from hypnet_hpsearch.state.pareto import is_feasible, number_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

__all__ = [
    "best_of_records",
    "best_so_far_figure",
    "figure_of",
    "front_figure",
    "options_figure",
    "parallel_figure",
    "title_of",
]

_MOST_PANELS = 24
_MANY = 2000  # from here on a bitmap in an SVG is smaller than the marks it replaces


def figure_of(width: float, height: float) -> Figure:
    """An empty figure of a size in inches."""
    from matplotlib.figure import Figure as Canvas

    return Canvas(figsize=(width, height), layout="constrained")


def title_of(spec: SearchSpec, count: int, left_out: int = 0) -> str:
    """The title of a figure of so many trials or configurations.

    Args:
        spec: The search.
        count: How many are shown.
        left_out: How many have no number for a result.
    """
    what = "configuration" if spec.repeats else "trial"
    text = f"{short(spec.name)}: {count} {what}{'s' * (count != 1)}"
    return f"{text}, and {left_out} without a number" if left_out else text


def _points(
    axes: Axes, places: Sequence[float], records: Sequence[TrialRecord], best: TrialRecord
) -> None:
    """Mark each trial, and the best one."""
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


def best_of_records(spec: SearchSpec, records: Sequence[TrialRecord]) -> TrialRecord:
    """The best of some trials, at least one of which has a score."""
    return min(
        (record for record in records if record.score is not None),
        key=lambda record: record.rank(spec.direction),
    )


def options_figure(
    spec: SearchSpec, axes: Sequence[Axis], records: Sequence[TrialRecord], left_out: int
) -> Figure:
    """One panel for each option, with the metric against its values."""
    shown = axes[:_MOST_PANELS]
    columns = min(4, len(shown)) if len(shown) != 4 else 2
    rows = -(-len(shown) // columns)
    figure = figure_of(max(5.0, 3.6 * columns), max(3.6, 3.0 * rows))
    best = best_of_records(spec, records)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
    for axis, panel in zip(shown, panels, strict=False):
        _points(panel, axis.places, records, best)
        metric_scale(panel, records)
        option_scale(panel, axis)
        panel.set_xlabel(short(axis.name))
        panel.grid(alpha=0.25)
    for number, panel in enumerate(figure.axes):
        if number >= len(shown):
            panel.set_visible(False)
        elif number % columns == 0:
            panel.set_ylabel(short(spec.metric))
    figure.axes[0].legend(fontsize="small")
    left = f" (the first {len(shown)} of {len(axes)} options)" if len(shown) < len(axes) else ""
    figure.suptitle(title_of(spec, len(records), left_out) + left)
    return figure


def parallel_figure(
    spec: SearchSpec, axes: Sequence[Axis], records: Sequence[TrialRecord], left_out: int
) -> Figure:
    """Parallel coordinates: one line for each trial through its options to its metric.

    The best trials are drawn last, in the brightest colours.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm, Normalize

    metrics = [record.metric or 0.0 for record in records]
    wide = is_wide(metrics)
    everything = [*axes[:_MOST_PANELS], Axis(spec.metric, metrics, log=wide)]
    figure = figure_of(max(6.0, 1.5 * len(everything) + 1), 4.5)
    panel = figure.subplots()
    low, high = min(metrics), max(metrics)
    norm = (LogNorm if wide else Normalize)(low, high if high > low else low + 1)
    colours = colormaps["viridis" if spec.direction == "maximize" else "viridis_r"]
    panel.add_collection(
        _lines(spec, everything, records, [colours(norm(metric)) for metric in metrics])
    )
    _parallel_axes(panel, everything)
    figure.colorbar(ScalarMappable(norm, colours), ax=panel, label=short(spec.metric))
    panel.set_title(title_of(spec, len(records), left_out))
    return figure


def _lines(
    spec: SearchSpec, axes: Sequence[Axis], records: Sequence[TrialRecord], colours: Sequence[Any]
) -> LineCollection:
    """One line for each trial, the best last."""
    from matplotlib.collections import LineCollection as Lines

    sign = 1 if spec.direction == "maximize" else -1
    order = sorted(range(len(records)), key=lambda number: sign * (records[number].metric or 0.0))
    places = [heights(axis) for axis in axes]
    return Lines(
        [list(enumerate(place[number] for place in places)) for number in order],
        colors=[colours[number] for number in order],
        linestyles=["-" if records[number].state is TrialState.DONE else ":" for number in order],
        linewidths=1.6 if len(records) < 100 else 0.8,
        alpha=0.75,
        rasterized=len(records) > _MANY,
    )


def _parallel_axes(panel: Axes, axes: Sequence[Axis]) -> None:
    """Draw parallel axes with their marks."""
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}
    where: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "va": "center"}
    for place, axis in enumerate(axes):
        panel.axvline(place, color="black", linewidth=0.8)
        for height, text in marks(axis):
            panel.annotate(text, (place, height), (-4, 0), fontsize=7, bbox=box, **where)
    panel.set_xticks(range(len(axes)), [short(axis.name) for axis in axes])
    panel.set_xlim(-0.35, len(axes) - 0.9)
    panel.set_ylim(-0.05, 1.05)
    panel.set_yticks([])
    for side in panel.spines.values():
        side.set_visible(False)


def front_figure(
    spec: SearchSpec, records: Sequence[TrialRecord], front: Collection[str]
) -> Figure:
    """Each pair of objectives: all trials, and those that no other one dominates.

    Args:
        spec: A search with several objectives.
        records: Trials with finite objectives.
        front: The ids of the trials on the Pareto front.
    """
    names = [name for name, _ in spec.objectives]
    pairs = list(combinations(names, 2))[:_MOST_PANELS]
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = figure_of(max(5.0, 4.2 * columns), max(4.0, 3.6 * rows))
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for (x, y), panel in zip(pairs, panels, strict=False):
        _front_panel(spec, panel, (x, y), records, front)
    for panel in panels[len(pairs) :]:
        panel.set_visible(False)
    figure.axes[0].legend(fontsize="small")
    figure.suptitle(title_of(spec, len(records), 0))
    return figure


def _front_panel(
    spec: SearchSpec,
    panel: Axes,
    names: tuple[str, str],
    records: Sequence[TrialRecord],
    front: Collection[str],
) -> None:
    kinds: dict[str, tuple[str, str, Callable[[TrialRecord], bool]]] = {
        "violates a constraint": ("x", "tab:gray", lambda one: not is_feasible(one, spec)),
        "dominated": ("o", "tab:blue", lambda one: is_feasible(one, spec) and one.id not in front),
        "Pareto front": ("D", "tab:red", lambda one: one.id in front),
    }
    for label, (marker, colour, belongs) in kinds.items():
        chosen = [one for one in records if belongs(one)]
        if chosen:
            x, y = ([number_in(one, spec, name) or 0.0 for one in chosen] for name in names)
            raster = len(records) > _MANY
            panel.scatter(x, y, s=22, marker=marker, color=colour, label=label, rasterized=raster)
    for name, scale, axis in zip(names, (panel.set_xscale, panel.set_yscale), "xy", strict=True):
        if is_wide([number_in(one, spec, name) or 0.0 for one in records]):
            scale("log")
        direction = dict(spec.objectives)[name]
        panel.set(**{f"{axis}label": f"{short(name)} ({direction})"})
    panel.grid(alpha=0.25)


def best_so_far_figure(spec: SearchSpec, records: Sequence[TrialRecord], left_out: int) -> Figure:
    """All results in the order in which they came, and the best of them so far."""
    from matplotlib.ticker import MaxNLocator

    ordered = sorted(records, key=lambda record: record.ended or 0.0)
    figure = figure_of(7.0, 4.2)
    panel = figure.subplots()
    _points(
        panel,
        [float(number) for number in range(1, len(ordered) + 1)],
        ordered,
        best_of_records(spec, records),
    )
    panel.step(
        range(1, len(ordered) + 1),
        _best_of_each_prefix(spec, ordered),
        where="post",
        color="tab:red",
        linewidth=1.4,
        label="best so far",
    )
    metric_scale(panel, ordered)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlim(0.5, len(ordered) + 0.5)
    panel.set_xlabel("finished trials")
    panel.set_ylabel(short(spec.metric))
    panel.set_title(title_of(spec, len(records), left_out))
    panel.grid(alpha=0.25)
    panel.legend(fontsize="small")
    return figure


def _best_of_each_prefix(spec: SearchSpec, records: Sequence[TrialRecord]) -> list[float]:
    """The best score among the first one, two, … records; NaN before the first."""
    choose = max if spec.direction == "maximize" else min
    best: list[float] = []
    for record in records:
        score = [] if record.score is None else [record.score]
        best.append(choose([*best[-1:], *score], default=math.nan))
    return best
