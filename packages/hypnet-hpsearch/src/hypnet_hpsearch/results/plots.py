"""Plots of a search.

Needs the extra `plot`.
"""

from __future__ import annotations

import importlib
import io
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hypnet_core.errors import RunError
from hypnet_core.runs import make_directory, write_atomic
from hypnet_hpsearch.results.axes import axis_of
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

__all__ = ["save_plots"]

_DPI = 150


def save_plots(
    store: Store, spec: SearchSpec, directory: Path, formats: Sequence[str] = ("png", "svg")
) -> list[Path]:
    """Plot a search.

    Args:
        store: The search's directory.
        spec: The search.
        directory: Directory for the files `options`, `parallel`, `best_so_far` and,
            with several objectives, `front`, in each format.
        formats: `png` and `svg`.

    Returns:
        The files.

    Raises:
        RunError: There is nothing to plot, matplotlib is not installed, or a file
            cannot be written.
    """
    records = [
        _with_report(record, spec)
        for record in (found.record(spec) for found in Configurations.of(store.ledger, spec))
        if record.state.final and record.options
    ]
    with_number = [
        record for record in records if record.metric is not None and math.isfinite(record.metric)
    ]
    if not any(record.score is not None for record in with_number):
        raise RunError(f"{store.directory}: no trial has a number for a result yet")
    axes = [
        axis
        for axis in (axis_of(spec, name, with_number) for name in spec.searched)
        if len(set(axis.places)) > 1
    ]
    left_out = len(records) - len(with_number)
    figures: dict[str, Callable[[], Figure]] = {
        "best_so_far": lambda: best_so_far_figure(spec, with_number, left_out)
    }
    if axes:
        figures["options"] = lambda: options_figure(spec, axes, with_number, left_out)
        figures["parallel"] = lambda: parallel_figure(spec, axes, with_number, left_out)
    if len(spec.objectives) > 1:
        figures["front"] = lambda: _front_figure(store, spec)
    _check_installed()
    make_directory(directory)
    # Ignore warnings about missing glyphs, and about numbers close to overflow.
    with warnings.catch_warnings(action="ignore"):
        return [
            path
            for name, draw in figures.items()
            for path in _save(draw(), directory / name, formats)
        ]


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


def _check_installed() -> None:
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
