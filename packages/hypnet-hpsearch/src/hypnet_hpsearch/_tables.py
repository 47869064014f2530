"""Tables of searches: trials and configurations as rows of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypnet_hpsearch.execution.display import metric_text, short_path, shown
from hypnet_hpsearch.results.table import SearchStatus, TrialResult
from hypnet_hpsearch.spec.spec import SEED, SearchSpec

__all__ = ["best_rows", "numbers_in", "status_rows", "table_of"]

_REPORTED = "last report"


def status_rows(found: SearchStatus) -> list[tuple[str, str]]:
    """The status of a search as names and values."""
    counts = found.counts()
    rows = [
        ("name", found.name),
        ("metric", ", ".join(f"{name} ({way})" for name, way in found.objectives.items())),
        ("trials", str(found.total)),
        *((name, str(count)) for name, count in counts.items()),
    ]
    if found.without_number:
        rows.append(("without a number", str(found.without_number)))
    if found.best is not None:
        rows += [("best", value_text(found.best, exact=True)), ("best trial", found.best.directory)]
    return rows


def table_of(
    spec: SearchSpec, results: Sequence[TrialResult]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The header and the rows of the table of trials, or of configurations.

    Columns that would be empty are left out.
    """
    repeats = any(result.seeds is not None for result in results)
    options = [key for key in spec.searched if not (repeats and key == SEED)]
    numbers = numbers_in(spec, results)
    optional = {
        _REPORTED: [metric_text(result.reported) for result in results],
        "errors": [_errors(result) for result in results],
        "front": ["*" * result.front for result in results],
        "feasible": ["no" * (result.feasible is False) for result in results],
    }
    extra = {name: cells for name, cells in optional.items() if any(cells)}
    columns = (
        *("trial", "state", *(["seeds"] if repeats else [])),
        *(name for name in ("front", "feasible") if name in extra),
        *(spec.metric, *numbers),
        *([_REPORTED] if _REPORTED in extra else []),
        *(*options, "seconds", "reason"),
        *(["errors"] if "errors" in extra else []),
    )
    rows = [
        (
            result.trial,
            result.state.value,
            *([_seeds(spec, result)] if repeats else []),
            *(extra[name][place] for name in ("front", "feasible") if name in extra),
            value_text(result),
            *(metric_text(result.numbers.get(name)) for name in numbers),
            *([extra[_REPORTED][place]] if _REPORTED in extra else []),
            *(shown(result.options[key]) if key in result.options else "" for key in options),
            "" if result.seconds is None else f"{result.seconds:.1f}",
            shown(result.reason or ""),
            *([extra["errors"][place]] if "errors" in extra else []),
        )
        for place, result in enumerate(results)
    ]
    return columns, rows


def best_rows(spec: SearchSpec, best: TrialResult) -> list[tuple[str, str]]:
    """The best trial, or configuration, as names and values."""
    return [
        (spec.metric, value_text(best, exact=True)),
        *((name, repr(value)) for name, value in best.numbers.items() if value is not None),
        *([("seeds", _seeds(spec, best))] if best.seeds is not None else []),
        *((key, shown(value)) for key, value in best.options.items()),
    ]


def numbers_in(spec: SearchSpec, results: Sequence[TrialResult]) -> list[str]:
    """The numbers beside the metric that any of some results have."""
    return [name for name in spec.kept if any(name in result.numbers for result in results)]


def value_text(result: TrialResult, *, exact: bool = False) -> str:
    """A metric, with its standard error if there is one."""
    if result.metric is None:
        return ""
    text = repr(result.metric) if exact else metric_text(result.metric)
    return text if result.error is None else f"{text} ± {result.error:.2g}"


def _seeds(spec: SearchSpec, result: TrialResult) -> str:
    done = [metric for metric in (result.seeds or {}).values() if metric is not None]
    return f"{len(done)}/{len(spec.seeds)}"


def _errors(result: TrialResult) -> str:
    return "" if result.errors is None else short_path(Path(result.errors))
