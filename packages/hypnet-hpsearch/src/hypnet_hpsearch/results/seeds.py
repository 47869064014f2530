"""One configuration with several seeds, and finished runs that can be reused."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from hypnet_core.errors import ConfigError, RunError, did_you_mean
from hypnet_core.runs import parse_value, read_json
from hypnet_hpsearch.propose.grid import GridProposer
from hypnet_hpsearch.results.table import TrialResult, best_of, results_of, trials_of
from hypnet_hpsearch.spec.load import load_spec
from hypnet_hpsearch.spec.spec import SEED, SearchSpec
from hypnet_hpsearch.spec.values import flattened, text_of
from hypnet_hpsearch.state.attempts import attempt_record
from hypnet_hpsearch.state.ledger import TrialState
from hypnet_hpsearch.state.store import Store
from hypnet_hpsearch.trial.files import RESULT, RUN_SUMMARY, write_once
from hypnet_hpsearch.trial.outcomes import measured
from hypnet_hpsearch.trial.records import AttemptRecord, ResultRecord
from hypnet_hpsearch.trial.summaries import NoMetricError, numbers_in

__all__ = ["SeedRun", "Source", "adopt", "seeds_spec", "source_of"]


@dataclass(frozen=True)
class SeedRun:
    """A finished run with one seed.

    Attributes:
        seed: The seed.
        options: The other options.
        directory: The directory that it wrote to.
    """

    seed: int
    options: Mapping[str, Any]
    directory: Path


@dataclass(frozen=True)
class Source:
    """The configuration to run with several seeds.

    Attributes:
        fields: The fields of its search other than the options; see `SearchSpec`.
        options: Its options, without the seed.
        runs: Finished runs of it.
    """

    fields: Mapping[str, Any]
    options: Mapping[str, Any]
    runs: Sequence[SeedRun] = field(default=())


def source_of(path: Path, *, metric: str | None = None) -> Source:
    """Read the configuration from a path.

    Args:
        path: The directory of a search, whose best trial is taken; the directory of a
            run; or a search file with one configuration.
        metric: The metric. It must be given for the directory of a run, which names
            none.

    Raises:
        ConfigError: The file is invalid, or has several configurations; or there is no
            metric.
        RunError: The path leads to none of these, or the search has no result yet.
    """
    if (path / "search.json").exists():
        return _of_search(path, metric)
    if (path / "config.json").exists():
        return _of_run(path, metric)
    if path.is_dir():
        raise RunError(
            f"{path} holds neither a search nor a run: there is no search.json and no config.json"
        )
    return _of_file(path, metric)


def _of_file(path: Path, metric: str | None) -> Source:
    spec = load_spec(path, seeds=[0], **({} if metric is None else {"metric": metric}))
    several = next((key for key, values in spec.grid.items() if len(values) > 1), None) or next(
        iter(spec.ranges), None
    )
    if several is not None:
        raise ConfigError(
            f"{path}: {several!r} has several values, but only one configuration can be run with"
            " several seeds: run the search first, and give its directory to take the best trial"
        )
    return Source(
        _fields(spec), {**spec.base, **{key: values[0] for key, values in spec.grid.items()}}
    )


def _of_search(path: Path, metric: str | None) -> Source:
    store = Store.glimpsed(path)
    spec = store.spec
    best = best_of(results_of(store, spec), path)
    options = _without_seed(best.options)
    runs = [
        SeedRun(seed, _without_seed(result.options), Path(result.directory))
        for result in trials_of(store, spec)
        if result.state is TrialState.DONE and (seed := _seed_of(spec, result)) is not None
    ]
    fields = _fields(spec) | ({} if metric is None else {"metric": metric})
    return Source(fields, options, [run for run in runs if run.options == options])


def _seed_of(spec: SearchSpec, result: TrialResult) -> int | None:
    """The seed of a trial: the one that it was given, or its experiment's default."""
    seed = result.options.get(SEED)
    if seed is None and spec.experiment:
        with suppress(RunError, KeyError, TypeError):
            seed = read_json(Path(result.directory) / "config.json")["config"][SEED]
    return seed if isinstance(seed, int) else None


def _of_run(path: Path, metric: str | None) -> Source:
    header = read_json(path / "config.json")
    if (
        not isinstance(header, dict)
        or not isinstance(header.get("config"), dict)
        or "experiment" not in header
    ):
        raise RunError(f"{path / 'config.json'} is damaged: it names no experiment")
    options = flattened(header["config"], str(path / "config.json"))
    finished = (path / RUN_SUMMARY).exists()
    if metric is None:
        has = (
            f"; its summary has: {', '.join(dict(numbers_in(read_json(path / RUN_SUMMARY))))}"
            if finished
            else ""
        )
        raise ConfigError(f"which metric? --metric NAME{has}")
    fields = {
        "name": path.absolute().name,
        "experiment": header["experiment"],
        "metric": metric,
        "direction": "maximize",
    }
    if SEED not in options:
        raise RunError(f"{path}: the experiment {header['experiment']!r} has no option 'seed'")
    runs = [SeedRun(options[SEED], _without_seed(options), path.absolute())] if finished else []
    return Source(fields, _without_seed(options), runs)


def _fields(spec: SearchSpec) -> dict[str, Any]:
    kept = {
        "name",
        "experiment",
        "command",
        "style",
        "summary",
        "parser",
        "metric",
        "direction",
        "attempts",
        "cwd",
    }
    return {
        **spec.model_dump(include=kept),
        "resources": spec.resources,
        "scheduler": spec.scheduler,
    }


def _without_seed(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != SEED}


def seeds_spec(
    source: Source,
    number: int,
    *,
    ignore: Sequence[str] = (),
    force: Sequence[str] = (),
    before: Sequence[int] = (),
) -> tuple[SearchSpec, list[SeedRun]]:
    """The search over several seeds.

    Args:
        source: The configuration.
        number: The number of seeds.
        ignore: Options, or groups of them, to leave at the program's defaults.
        force: Options to change, as `key=value`.
        before: Seeds of an earlier call.

    Returns:
        The search, and the runs of the source that can be reused. Their ignored options
        may differ.

    Raises:
        ConfigError: An option to ignore does not exist, or one to change is not given
            as `key=value`.
    """
    options = dict(source.options)
    ignored: set[str] = set()
    for name in ignore:
        gone = {key for key in options if key == name or key.startswith(f"{name}.")}
        if not gone:
            raise ConfigError(
                f"--ignore {name}: there is no such option{did_you_mean(name, options)}"
            )
        ignored |= gone
    options = {key: value for key, value in options.items() if key not in ignored}
    for text in force:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise ConfigError(f"{text!r} is not an option: write key=value")
        if key == SEED:
            raise ConfigError("the seed cannot be changed: all seeds must differ")
        options[key] = parse_value(value)
    wanted = {key: text_of(value, key) for key, value in options.items()}
    runs = [
        run
        for run in source.runs
        if {key: text_of(value, key) for key, value in run.options.items() if key not in ignored}
        == wanted
    ]
    seeds = islice(
        # Reused runs first, then earlier seeds, then new ones: nothing is run twice.
        dict.fromkeys(chain(sorted(run.seed for run in runs), before, range(number))),
        number,
    )
    fields = {**source.fields, "name": f"{str(source.fields['name'])[:90]}-seeds"}
    return SearchSpec(**fields, base=options, seeds=tuple(seeds)), runs


def adopt(store: Store, spec: SearchSpec, runs: Iterable[SeedRun]) -> int:
    """Take over finished runs as trials of a search.

    Runs without the metric are left out, so that their seeds are run again.

    Returns:
        The number of runs taken over.
    """
    proposer = GridProposer(spec)
    by_seed = {trial.options[SEED]: trial for trial in map(proposer.trial, proposer.order())}
    adopted = 0
    with store.locked():
        store.write(list(store.recovered()))
        for run in runs:
            trial = by_seed.get(run.seed)
            if trial is None or trial.id in store.ledger.trials:
                continue
            attempt = store.attempt(trial.id, 1)
            record = attempt_record(spec, trial.options, attempt)
            summary = run.directory / Path(record["summary"]).relative_to(attempt.run)
            result = _result(run, {**record, "summary": str(summary)})
            if result is None or not attempt.create(record):
                continue
            with suppress(OSError):  # the link is a convenience
                attempt.run.symlink_to(run.directory)
            write_once(attempt.path / RESULT, json.dumps(result))
            store.write(list(store.recovered_attempts(trial.id)))
            adopted += 1
    return adopted


def _result(run: SeedRun, record: AttemptRecord) -> ResultRecord | None:
    """The result record of a finished run; `None` if it has no usable metric."""
    try:
        found = measured(record)
    except NoMetricError:
        return None
    return {
        "trial": record["trial"],
        "attempt": 1,
        "state": "done",
        "metric": found["metric"],
        "numbers": found["numbers"],
        "kept": found["kept"],
        "reason": None,
        "reused": str(run.directory),
        "ended": time.time(),
    }
