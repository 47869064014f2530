"""Figures that explain results: importances, two options together, learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypnet_hpsearch.results.axes import Axis, is_wide, option_scale, short
from hypnet_hpsearch.results.figures import figure_of, title_of
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.spec.values import argument_text
from hypnet_hpsearch.state.attempts import reports_of
from hypnet_hpsearch.state.configurations import Configuration
from hypnet_hpsearch.state.ledger import TrialRecord
from hypnet_hpsearch.state.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Curve", "contour_figure", "curves_figure", "curves_of", "importances_figure"]

_MOST_CURVES = 60
_MOST_LABELS = 10
_LONGEST_LABEL = 40


@dataclass(frozen=True)
class Curve:
    """The intermediate results of a configuration.

    Attributes:
        label: Its options.
        steps: The steps at which its first trials have reported.
        means: The mean over its seeds at each step.
        lows: The smallest value at each step.
        highs: The largest.
    """

    label: str
    steps: list[int]
    means: list[float]
    lows: list[float]
    highs: list[float]


def importances_figure(spec: SearchSpec, importances: Mapping[str, float], method: str) -> Figure:
    """One bar for each option: its share of the variation of the metric."""
    names = list(importances)[::-1]
    figure = figure_of(6.5, 1.2 + 0.38 * len(names))
    panel = figure.subplots()
    bars = panel.barh([short(name) for name in names], [importances[name] for name in names])
    panel.bar_label(bars, fmt="%.2f", padding=3, fontsize="small")
    panel.set_xlim(0, 1.1)
    panel.set_xlabel(f"importance for {short(spec.metric)} ({method})")
    panel.set_title(short(spec.name))
    return figure


def contour_figure(
    spec: SearchSpec, one: Axis, other: Axis, records: Sequence[TrialRecord]
) -> Figure:
    """The metric over two options: every trial, and contours between numbers."""
    from matplotlib.colors import LogNorm, Normalize

    metrics = [record.metric or 0.0 for record in records]
    norm = (LogNorm if is_wide(metrics) else Normalize)(min(metrics), max(metrics))
    colours = "viridis" if spec.direction == "maximize" else "viridis_r"
    figure = figure_of(6.4, 4.8)
    panel = figure.subplots()
    x, y = one.places, other.places
    if not one.labels and not other.labels and _spans_an_area(one, other):
        panel.tricontourf(x, y, metrics, levels=14, cmap=colours, norm=norm, alpha=0.8)
    points = panel.scatter(x, y, c=metrics, cmap=colours, norm=norm, s=24, edgecolors="black")
    points.set_linewidth(0.6)
    option_scale(panel, one)
    panel.set_xlabel(short(one.name))
    panel.set_ylabel(short(other.name))
    if other.labels:
        panel.set_yticks(range(len(other.labels)), [short(label) for label in other.labels])
    elif other.log:
        panel.set_yscale("log")
    figure.colorbar(points, ax=panel, label=short(spec.metric))
    panel.set_title(title_of(spec, len(records)))
    return figure


def _spans_an_area(one: Axis, other: Axis) -> bool:
    """Whether points do not all lie on a line, so that they can be triangulated."""
    points = sorted(set(zip(one.places, other.places, strict=True)))
    if len(points) < 3:
        return False
    (x, y), (u, v) = points[0], points[-1]
    scale = (max(one.places) - min(one.places)) * (max(other.places) - min(other.places))
    return any(abs((u - x) * (b - y) - (v - y) * (a - x)) > 1e-9 * scale for a, b in points)


def curves_of(store: Store, spec: SearchSpec, ranked: Sequence[Configuration]) -> list[Curve]:
    """The learning curves of some configurations, as far as they report."""
    curves = []
    for found in ranked[:_MOST_CURVES]:
        values: dict[int, list[float]] = {}
        for record in found.ordered:
            # Of a step that was reported twice, the last value counts.
            for step, value in dict(reports_of(store.latest(record), spec).news()).items():
                if math.isfinite(value):
                    values.setdefault(step, []).append(value)
        if values:
            steps = sorted(values)
            label = ", ".join(
                f"{key}={_text(found.options[key])}"
                for key in spec.searched
                if key in found.options
            )
            curves.append(
                Curve(
                    label,
                    steps,
                    [math.fsum(values[step]) / len(values[step]) for step in steps],
                    [min(values[step]) for step in steps],
                    [max(values[step]) for step in steps],
                )
            )
    return curves


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else argument_text(value)


def curves_figure(spec: SearchSpec, curves: Sequence[Curve]) -> Figure:
    """Learning curves side by side, the best first; a band spans the seeds of each."""
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    figure = figure_of(7.2, 4.6)
    panel = figure.subplots()
    colours = colormaps["viridis"]
    for place, curve in reversed(list(enumerate(curves))):
        colour = colours(place / max(1, len(curves) - 1))
        label = curve.label[:_LONGEST_LABEL].replace("$", r"\$") if place < _MOST_LABELS else None
        panel.plot(curve.steps, curve.means, color=colour, linewidth=1.3, label=label)
        if curve.lows != curve.highs:
            panel.fill_between(curve.steps, curve.lows, curve.highs, color=colour, alpha=0.18)
    if is_wide([value for curve in curves for value in curve.lows]):
        panel.set_yscale("log")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("step")
    panel.set_ylabel(short(spec.report or spec.metric))
    panel.grid(alpha=0.25)
    handles, labels = panel.get_legend_handles_labels()
    panel.legend(handles[::-1], labels[::-1], fontsize="x-small")
    panel.set_title(f"{short(spec.name)}: intermediate results")
    return figure
