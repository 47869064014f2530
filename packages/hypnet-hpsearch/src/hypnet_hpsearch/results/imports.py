"""Results from elsewhere: of another search, a study of Optuna, or a CSV file."""

from __future__ import annotations

import csv
import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypnet_core.errors import RunError, did_you_mean
from hypnet_core.runs import parse_value
from hypnet_hpsearch._text import error_in_one_line
from hypnet_hpsearch.propose.optuna.components import optuna
from hypnet_hpsearch.spec.members import Members
from hypnet_hpsearch.spec.spec import SEED, SearchSpec
from hypnet_hpsearch.spec.trials import TrialMaker
from hypnet_hpsearch.spec.values import argument_text
from hypnet_hpsearch.state.attempts import attempt_record
from hypnet_hpsearch.state.ledger import TrialState
from hypnet_hpsearch.state.store import Store
from hypnet_hpsearch.trial.files import RESULT, write_once
from hypnet_hpsearch.trial.records import JsonNumber, ResultRecord, json_number

__all__ = ["Found", "Imported", "found_in", "take_in"]


_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Found:
    """A result from elsewhere.

    Attributes:
        options: The options; those of the search's base may be left out.
        metric: The metric.
        numbers: Other numbers.
        directory: The directory of the run, if there is one.
    """

    options: Mapping[str, Any]
    metric: float
    numbers: Mapping[str, JsonNumber]
    directory: Path | None = None


@dataclass(frozen=True)
class Imported:
    """The outcome of an import.

    Attributes:
        trials: The ids of the trials that were taken in.
        known: The number of results of trials that were known before.
        outside: The number of results whose options do not belong to the search.
    """

    trials: list[str]
    known: int
    outside: int


def found_in(source: str, spec: SearchSpec) -> Iterator[Found]:
    """The finished trials of another search, a study of Optuna or a CSV file.

    Args:
        source: The directory of a search; a file that ends with `.csv`; a journal file
            of Optuna (`.log`); or a storage of Optuna, such as `sqlite:///study.db`,
            perhaps followed by `#NAME` of the study.
        spec: The search that takes them in.

    Raises:
        RunError: There is no such source, or it cannot be read.
    """
    path = Path(source)
    if (path / "search.json").exists():
        return _of_search(path, spec)
    if path.suffix == ".csv" and path.is_file():
        return _of_csv(path, spec)
    if "://" in source or (path.suffix == ".log" and path.is_file()):
        return _of_study(source, spec)
    raise RunError(
        f"{source} holds no results: expected the directory of a search, a CSV file, a journal of"
        " Optuna (.log) or a storage of Optuna (sqlite:///FILE)"
    )


def take_in(store: Store, spec: SearchSpec, results: Iterable[Found], source: str) -> Imported:
    """Take results in as trials of a search that are done.

    Args:
        store: The search's directory.
        spec: The search.
        results: The results.
        source: Where they come from.
    """
    members, needed = Members(spec), frozenset(spec.needs)
    keys = [*spec.grid, *spec.ranges, *([SEED] if spec.seeds else [])]
    maker = TrialMaker(spec, keys)
    taken: list[str] = []
    count: Counter[str] = Counter()
    with store.locked():
        store.write(list(store.recovered()))
        for found in results:
            options = {**spec.base, **found.options}
            if not members.contain(options) or not needed.issubset(found.numbers):
                count["outside"] += 1
                continue
            trial = maker.of(options)
            attempt = store.attempt(trial.id, 1)
            record = attempt_record(spec, trial.options, attempt)
            if trial.id in store.ledger.trials or not attempt.create(record):
                count["known"] += 1
                continue
            if found.directory is not None:
                with suppress(OSError):  # the link is a convenience
                    attempt.run.symlink_to(found.directory)
            result = _result(found, trial.id, spec, source)
            write_once(attempt.path / RESULT, json.dumps(result))
            store.write(list(store.recovered_attempts(trial.id)))
            taken.append(trial.id)
    return Imported(taken, count["known"], count["outside"])


def _result(found: Found, trial: str, spec: SearchSpec, source: str) -> ResultRecord:
    return {
        "trial": trial,
        "attempt": 1,
        "state": "done",
        "metric": json_number(found.metric),
        "numbers": found.numbers,
        "kept": {name: found.numbers[name] for name in spec.kept if name in found.numbers},
        "reason": f"imported from {source}",
        "ended": time.time(),
        "reused": str(found.directory or source),
    }


def _of_search(path: Path, spec: SearchSpec) -> Iterator[Found]:
    store = Store.glimpsed(path)
    for record in store.ledger.trials.values():
        if record.state is not TrialState.DONE:
            continue
        attempt = store.latest(record)
        result = attempt.result()
        numbers = (None if result is None else result.get("numbers")) or {}
        metric = record.metric
        if store.spec.metric != spec.metric:
            value = numbers.get(spec.metric)
            metric = None if value is None else float(value)
        if metric is not None:
            yield Found(record.options, metric, numbers, attempt.run)


def _of_csv(path: Path, spec: SearchSpec) -> Iterator[Found]:
    """The rows of a CSV file, whose columns are options and numbers.

    That of `hypnet search export` calls the metric `metric`, and has a `state`.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or ())
        name = next((one for one in (spec.metric, "metric") if one in columns), None)
        if name is None:
            raise RunError(
                f"{path} has no column {spec.metric!r}{did_you_mean(spec.metric, columns)}"
            )
        keys = [key for key in (*spec.base, *spec.grid, *spec.ranges, SEED) if key in columns]
        for row in reader:
            metric = _number(row.get(name))
            if metric is None or row.get("state", "done") != "done":
                continue
            numbers = {key: _number(row.get(key)) for key in columns if key in spec.kept}
            yield Found(
                {key: _value(spec, key, row[key] or "") for key in keys},
                metric,
                {key: json_number(value) for key, value in numbers.items() if value is not None},
            )


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _value(spec: SearchSpec, key: str, text: str) -> Any:
    """The value of an option: the search's own one that is written like this."""
    own = [*spec.grid.get(key, []), *([spec.base[key]] if key in spec.base else [])]
    return next((value for value in own if argument_text(value) == text), parse_value(text))


def _of_study(source: str, spec: SearchSpec) -> Iterator[Found]:
    storage, _, name = source.partition("#")
    package = optuna()
    # Optuna would make the file.
    file = Path(storage.removeprefix(_SQLITE))
    if storage.startswith(_SQLITE) and not file.is_file():
        raise RunError(f"there is no {file}")
    try:
        if "://" in storage:
            study = package.load_study(study_name=name or None, storage=storage)
        else:
            journal = package.storages.journal
            backend = journal.JournalFileBackend(storage)
            study = package.load_study(
                study_name=name or None, storage=package.storages.JournalStorage(backend)
            )
        trials = study.get_trials(deepcopy=False, states=[package.trial.TrialState.COMPLETE])
    except Exception as error:  # a storage may raise anything
        raise RunError(f"{source}: {error_in_one_line(error)}") from error
    if len(study.directions) > 1:
        raise RunError(f"{source}: a study of several objectives cannot be imported")
    for trial in trials:
        values = trial.values or []
        if len(values) == 1 and not math.isnan(values[0]):
            options = {key: _own(spec, key, value) for key, value in trial.params.items()}
            yield Found(options, float(values[0]), {})


def _own(spec: SearchSpec, key: str, value: Any) -> Any:
    """The value of an option; a study may hold the text of a value of a list."""
    in_range = spec.ranges.get(key)
    if in_range is not None and isinstance(value, int | float):
        return in_range.nearest(value)
    return _value(spec, key, value) if isinstance(value, str) else value
