"""Plots of a search.

Needs the extra `plot`.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hypnet_core.errors import ConfigError, RunError, did_you_mean
from hypnet_core.runs import make_directory, write_atomic
from hypnet_hpsearch.results.axes import Axis, axis_of
from hypnet_hpsearch.results.explanations import (
    contour_figure,
    curves_figure,
    curves_of,
    importances_figure,
)
from hypnet_hpsearch.results.figures import (
    best_so_far_figure,
    front_figure,
    options_figure,
    parallel_figure,
)
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.configurations import Configurations
from hypnet_hpsearch.state.ledger import TrialRecord
from hypnet_hpsearch.state.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_installed", "figures_for", "save_plots"]

_DPI = 150


def save_plots(
    store: Store,
    spec: SearchSpec,
    directory: Path,
    formats: Sequence[str] = ("png", "svg"),
    contour: Sequence[str] = (),
) -> list[Path]:
    """Plot a search.

    Args:
        store: The search's directory.
        spec: The search.
        directory: Directory for the files; see `figures_for`.
        formats: `png` and `svg`.
        contour: The two options of the file `contour`.

    Returns:
        The files.

    Raises:
        ConfigError: There is no such option, or it has one value alone.
        RunError: There is nothing to plot, matplotlib is not installed, or a file
            cannot be written.
    """
    figures = figures_for(store, spec, contour)
    check_installed()
    make_directory(directory)
    # Ignore warnings about missing glyphs, and about numbers close to overflow.
    with warnings.catch_warnings(action="ignore"):
        return [
            path
            for name, draw in figures.items()
            for path in _save(draw(), directory / name, formats)
        ]


def figures_for(
    store: Store, spec: SearchSpec, contour: Sequence[str] = ()
) -> dict[str, Callable[[], Figure]]:
    """The figures of a search by name, each as a function that draws it.

    `best_so_far` is always there; `options` (slices), `parallel`, `contour` and, where
    Optuna is installed, `importances`, if options have several values; `front` with
    several objectives; and `curves` if there are intermediate results.

    Args:
        store: The search's directory.
        spec: The search.
        contour: The two options of the figure `contour`; by default the two most
            important ones.

    Raises:
        ConfigError: There is no such option, or it has one value alone.
        RunError: No trial has a number for a result yet.
    """
    configurations = Configurations.of(store.ledger, spec)
    records = [
        _with_report(record, spec)
        for record in (found.record(spec) for found in configurations)
        if record.state.final and record.options
    ]
    finite = [one for one in records if one.metric is not None and math.isfinite(one.metric)]
    if not any(record.score is not None for record in finite):
        raise RunError(f"{store.directory}: no trial has a number for a result yet")
    axes = {
        axis.name: axis
        for axis in (axis_of(spec, name, finite) for name in spec.searched)
        if len(set(axis.places)) > 1
    }
    left_out, every = len(records) - len(finite), list(axes.values())
    importances = _importances(store, spec) if axes else {}
    figures: dict[str, Callable[[], Figure]] = {
        "best_so_far": lambda: best_so_far_figure(spec, finite, left_out)
    }
    if axes:
        figures["options"] = lambda: options_figure(spec, every, finite, left_out)
        figures["parallel"] = lambda: parallel_figure(spec, every, finite, left_out)
    if importances:
        figures["importances"] = lambda: importances_figure(spec, importances, "PED-ANOVA")
    pair = _pair(axes, contour, importances)
    if pair is not None:
        figures["contour"] = lambda: contour_figure(spec, *pair, finite)
    if len(spec.objectives) > 1:
        figures["front"] = lambda: _front_figure(store, spec)
    curves = curves_of(store, spec, configurations.ranked())
    if curves:
        figures["curves"] = lambda: curves_figure(spec, curves)
    return figures


def _importances(store: Store, spec: SearchSpec) -> dict[str, float]:
    """The importances of the options; none without Optuna, or with too few results."""
    if importlib.util.find_spec("optuna") is None:
        return {}
    from hypnet_hpsearch.results.importances import importances_of

    try:
        return importances_of(store, spec)
    except RunError:
        return {}


def _pair(
    axes: Mapping[str, Axis], wanted: Sequence[str], importances: Mapping[str, float]
) -> tuple[Axis, Axis] | None:
    """The two options of the contours."""
    for name in wanted:
        if name not in axes:
            raise ConfigError(
                f"--contour: {name!r} is no option with several values{did_you_mean(name, axes)}"
            )
    ranked = [*wanted, *(name for name in importances if name in axes), *axes]
    names = list(dict.fromkeys(ranked))[:2]
    return (axes[names[0]], axes[names[1]]) if len(names) == 2 else None


def _front_figure(store: Store, spec: SearchSpec) -> Figure:
    configurations = Configurations.of(store.ledger, spec)
    records = [found.record(spec) for found in configurations.ranked()]
    front = {found.record(spec).id for found in configurations.front()}
    return front_figure(spec, records, front)


def _with_report(record: TrialRecord, spec: SearchSpec) -> TrialRecord:
    """The last intermediate result of a record stands in for a missing metric."""
    if record.metric is None and spec.reports_metric:
        return replace(record, metric=record.reported)
    return record


def check_installed() -> None:
    """Check that matplotlib is installed.

    Raises:
        RunError: It is not.
    """
    try:
        importlib.import_module("matplotlib")
    except ImportError:
        raise RunError("matplotlib is not installed: pip install 'hypnet-hpsearch[plot]'") from None


def _save(figure: Figure, path: Path, formats: Sequence[str]) -> list[Path]:
    saved = []
    for kind in formats:
        content = io.BytesIO()
        figure.savefig(
            content,
            format=kind,
            dpi=_DPI,
            # Without a date, equal searches give equal files.
            metadata={"Date": None} if kind == "svg" else None,
        )
        saved.append(path.with_suffix(f".{kind}"))
        write_atomic(saved[-1], content.getvalue())
    return saved
