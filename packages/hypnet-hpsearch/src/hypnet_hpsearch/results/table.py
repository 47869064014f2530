"""The table of results, best first, and the CSV file that holds it."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from hypnet_core.errors import RunError
from hypnet_core.runs import write_atomic
from hypnet_hpsearch.results.record import ResultModel
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.spec.values import argument_text
from hypnet_hpsearch.state.configurations import Configuration, Configurations
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState, counts_by_name
from hypnet_hpsearch.state.pareto import is_feasible
from hypnet_hpsearch.state.store import Store

__all__ = [
    "ResultsFile",
    "SearchStatus",
    "TrialResult",
    "best_of",
    "csv_of",
    "results_of",
    "status_of",
    "trials_of",
    "trials_of_best",
]


_WITHOUT_ERRORS = {TrialState.RUNNING, TrialState.DONE, TrialState.PRUNED}


class TrialResult(ResultModel):
    """One trial, or one configuration over several seeds, in tables and `--json`.

    Attributes:
        trial: The trial's id.
        state: `running`, `done`, `pruned`, `failed`, `lost` or `cancelled`.
        metric: Its result; `None` if there is none. With several seeds, the value of
            the configuration: see `SearchSpec.over_seeds`.
        error: With several seeds, the standard error of the mean of their results.
        seeds: With several seeds, the result of each trial; `trial`, `attempt` and
            `directory` are those of the first one, `seconds` the sum over all.
        numbers: The same quantity on the other data, where the summary has it: the test
            score that belongs to a validation score.
        reported: The last intermediate result of a trial that was given up early.
        front: With several objectives, whether no other one is at least as good in all
            of them, and better in one.
        feasible: Whether it fulfils the constraints; `None` if there are none, or if it
            has no result.
        options: All options.
        seconds: How long its latest attempt ran.
        attempt: Number of the latest attempt.
        reason: Why it failed, or a remark about its result.
        directory: The directory that the latest attempt wrote to.
        errors: The file with the error output of the latest attempt, if that is not
            done.
    """

    trial: str
    state: TrialState
    metric: float | None
    error: float | None = None
    seeds: dict[int, float | None] | None = None
    numbers: dict[str, float | None] = Field(default_factory=dict)
    reported: float | None = None
    front: bool = False
    feasible: bool | None = None
    options: dict[str, Any]
    seconds: float | None
    attempt: int
    reason: str | None
    directory: str
    errors: str | None = None


class SearchStatus(ResultModel):
    """The status of a search: how many trials are in each state, and the best one.

    Attributes:
        name: Name of the search.
        directory: Its directory.
        metric: The metric that rates a trial.
        direction: `maximize` or `minimize`.
        objectives: The name and direction of each objective, the metric first.
        total: Number of trials.
        done: Trials that have a result.
        without_number: Those among them whose metric is NaN or infinite.
        pruned: Trials that a pruner has ended early.
        queued: Trials that were submitted, but have not begun.
        running: Trials that run.
        failed: Trials whose latest attempt failed.
        lost: Trials whose latest attempt vanished.
        cancelled: Trials whose latest attempt was ended on request.
        missing: Trials that were never begun.
        best: The best trial that is done.
    """

    name: str
    directory: str
    metric: str
    direction: str
    objectives: dict[str, str] = Field(default_factory=dict)
    total: int
    done: int
    without_number: int
    pruned: int
    queued: int
    running: int
    failed: int
    lost: int
    cancelled: int
    missing: int
    best: TrialResult | None

    def counts(self) -> dict[str, int]:
        """How many trials are in which state, by the names that every display uses."""
        counts = {state: getattr(self, state.value) for state in TrialState}
        counts[TrialState.RUNNING] += self.queued
        return counts_by_name(self.total, counts, self.queued)


def trials_of(store: Store, spec: SearchSpec) -> list[TrialResult]:
    """All trials that were ever begun.

    Those with a score come first, best on top, then the others by state.
    """
    states = list(TrialState)

    def rank(record: TrialRecord) -> tuple[int, float, str]:
        if record.score is not None:
            # Only finite metrics are ranked: NaN compares with nothing.
            return 0, *record.rank(spec.direction)
        return (
            1 + (states.index(record.state) if record.state is not TrialState.DONE else 0),
            0.0,
            record.id,
        )

    return [_result(store, record) for record in sorted(store.ledger.trials.values(), key=rank)]


def results_of(store: Store, spec: SearchSpec) -> list[TrialResult]:
    """All configurations that were ever begun, best first.

    Without several seeds, they are the trials. With several objectives, those that no
    other one dominates come first. What violates a constraint comes after all that
    fulfils them, what lacks a seed after all that is complete, and what has no value
    last, by state.
    """
    if not spec.repeats and not spec.has_fronts:
        return trials_of(store, spec)
    states = list(TrialState)
    configurations = Configurations.of(store.ledger, spec)
    ranked = configurations.ranked()
    front = {found.id for found in configurations.front()} if len(spec.objectives) > 1 else set()
    known = {found.id for found in ranked}
    others = sorted(
        (found for found in configurations if found.id not in known),
        key=lambda found: (states.index(found.record(spec).state), found.id),
    )
    return [_row(store, spec, found, front) for found in [*ranked, *others]]


def _result(store: Store, record: TrialRecord) -> TrialResult:
    attempt = store.latest(record)
    # Without validation, which would take seconds for a million trials.
    return TrialResult.model_construct(
        trial=record.id,
        state=record.state,
        metric=record.metric,
        numbers=cast("dict[str, float | None]", record.numbers),
        reported=record.reported,
        options=record.options,
        seconds=record.seconds,
        attempt=record.attempt,
        reason=record.reason,
        directory=str(attempt.run),
        errors=None if record.state in _WITHOUT_ERRORS else str(attempt.errors),
    )


def _row(
    store: Store, spec: SearchSpec, found: Configuration, front: Collection[str]
) -> TrialResult:
    record = found.record(spec)
    row = _repeated(store, spec, found) if spec.repeats else _result(store, record)
    if not spec.has_fronts:
        return row
    known = bool(spec.constraints) and found.rank(spec) is not None
    feasible = is_feasible(record, spec) if known else None
    return row.model_copy(update={"front": found.id in front, "feasible": feasible})


def _repeated(store: Store, spec: SearchSpec, found: Configuration) -> TrialResult:
    """A configuration as one row: the trial of its first seed stands for it."""
    record = found.record(spec)
    of_state = next(one for one in found.ordered if one.state is record.state)
    return _result(store, record).model_copy(
        update={
            "error": found.error(),
            "seeds": {seed: found.trials[seed].metric for seed in sorted(found.trials)},
            "errors": _result(store, of_state).errors,
        }
    )


def trials_of_best(store: Store, spec: SearchSpec, best: TrialResult) -> list[TrialResult]:
    """The trials that a row of `results_of` stands for, in the order of their seeds."""
    found = Configurations.of(store.ledger, spec).of_trial(best.trial)
    return [] if found is None else [_result(store, record) for record in found.ordered]


def best_of(results: Sequence[TrialResult], directory: Path) -> TrialResult:
    """The best of some results that are in order.

    Raises:
        RunError: None of them has a finite metric.
    """
    best = next(iter(results), None)
    if best is not None and best.feasible is False:
        raise RunError(f"{directory}: no trial fulfils the constraints yet")
    if best is None or best.metric is None or not math.isfinite(best.metric):
        raise RunError(f"{directory}: no trial has a number for a result yet")
    return best


def status_of(store: Store, spec: SearchSpec) -> SearchStatus:
    """The status of a search, as of the store's latest refresh."""
    records = store.ledger.trials.values()
    counts, queued = store.ledger.counts(), store.queued()
    best = Configurations.of(store.ledger, spec).best
    front = {best.id} if best is not None and len(spec.objectives) > 1 else ()
    return SearchStatus(
        name=spec.name,
        directory=str(store.directory),
        metric=spec.metric,
        direction=spec.direction,
        objectives=dict(spec.objectives),
        total=store.header["trials"],
        without_number=counts[TrialState.DONE]
        - sum(record.score is not None for record in records),
        missing=max(0, store.header["trials"] - len(records)),
        best=None if best is None else _row(store, spec, best, front),
        queued=queued,
        **{
            state.value: count - queued * (state is TrialState.RUNNING)
            for state, count in counts.items()
        },
    )


class ResultsFile:
    """Keeps `results.csv` up to date: best trial first, one column for each option.

    It is written at most once a second, and less often if writing takes long.

    Args:
        store: The search's directory.
        spec: The search.

    Attributes:
        path: The file.
        outdated: Whether anything has changed since it was written.
    """

    def __init__(self, store: Store, spec: SearchSpec) -> None:
        self.path: Path = store.directory / "results.csv"
        self.outdated = False
        self._store, self._spec = store, spec
        self._next = 0.0

    def update(self) -> None:
        """Write the file if it is outdated, unless it was written just now."""
        if self.outdated and time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Write the file.

        Raises:
            RunError: It cannot be written.
        """
        started = time.monotonic()
        write_atomic(self.path, csv_of(self._store, self._spec))
        self.outdated = False
        # A million rows take long to write, so spend at most 5 % of the time on it.
        now = time.monotonic()
        self._next = now + max(1.0, 20 * (now - started))


def csv_of(store: Store, spec: SearchSpec) -> str:
    """All trials that are not running, best first, as CSV with a header."""
    options, results = spec.searched, trials_of(store, spec)
    numbers = [name for name in spec.kept if any(name in result.numbers for result in results)]
    reported = any(result.reported is not None for result in results)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            *("trial", "state", "metric", *numbers, *(["last report"] if reported else [])),
            *(*options, "seconds", "attempt", "reason", "directory"),
        ]
    )
    for result in results:
        if result.state is TrialState.RUNNING:
            continue
        chosen = [
            argument_text(result.options[key]) if key in result.options else "" for key in options
        ]
        seconds = "" if result.seconds is None else f"{result.seconds:.3f}"
        writer.writerow(
            [
                result.trial,
                result.state.value,
                _number(result.metric),
                *(_number(result.numbers.get(name)) for name in numbers),
                *([_number(result.reported)] if reported else []),
                *chosen,
                seconds,
                result.attempt,
                result.reason or "",
                result.directory,
            ]
        )
    return text.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)
