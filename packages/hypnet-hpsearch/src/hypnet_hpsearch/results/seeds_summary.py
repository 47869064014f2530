"""Statistics over several seeds of one configuration, as data, text and files."""

from __future__ import annotations

import fnmatch
import math
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hypnet_core.errors import ConfigError, did_you_mean
from hypnet_core.runs import write_atomic
from hypnet_hpsearch.propose.grid import GridProposer
from hypnet_hpsearch.results.record import ResultModel
from hypnet_hpsearch.spec.spec import SEED, SearchSpec
from hypnet_hpsearch.spec.values import argument_text
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState
from hypnet_hpsearch.state.store import Store

__all__ = [
    "KeySummary",
    "SeedsSummary",
    "as_text",
    "name_and_decimals",
    "summarise",
    "write_summary",
]


class KeySummary(ResultModel):
    """Statistics of one number over several seeds.

    Attributes:
        key: Name of the number in the summaries.
        mean: The mean; `None` if no seed has a finite value.
        deviation: Sample standard deviation; `None` for fewer than two seeds.
        error: Standard error of the mean: the deviation divided by the square root of
            the count.
        values: The value of each seed.
        without_number: Seeds whose value is missing, NaN or infinite; the statistics
            leave them out.
        decimals: Number of decimals to show; four significant digits if `None`.
    """

    key: str
    mean: float | None
    deviation: float | None
    error: float | None
    values: dict[int, float]
    without_number: list[int]
    decimals: int | None = None


class SeedsSummary(ResultModel):
    """Statistics over several seeds of one configuration.

    Attributes:
        directory: The search over the seeds.
        options: The configuration.
        seeds: Seeds that are done.
        failed: Seeds that are not.
        keys: The statistics of each number.
    """

    directory: str
    options: dict[str, Any]
    seeds: list[int]
    failed: list[int]
    keys: list[KeySummary]


def summarise(store: Store, spec: SearchSpec, keys: Sequence[str] = ()) -> SeedsSummary:
    """Compute the statistics.

    Args:
        store: The search over the seeds.
        spec: The same search.
        keys: Names of numbers in the summaries, or patterns such as `acc*`, each
            optionally followed by `:DECIMALS`; the metric if there are none.

    Raises:
        ConfigError: No summary has such a number, or the decimals are invalid.
    """
    numbers: dict[int, dict[str, float]] = {}
    proposer = GridProposer(spec)
    for trial in map(proposer.trial, proposer.order()):
        record = store.ledger.trials.get(trial.id)
        if record is None or record.state is not TrialState.DONE or record.metric is None:
            continue
        numbers[trial.options[SEED]] = {**_numbers(store, record), spec.metric: record.metric}
    known = list(dict.fromkeys(key for found in numbers.values() for key in found))
    chosen: dict[str, int | None] = {}
    for text in keys or [spec.metric]:
        name, decimals = name_and_decimals(text)
        matching = [name] if name in known else fnmatch.filter(known, name)
        if not matching and numbers:
            raise ConfigError(f"no summary has a number {name!r}{did_you_mean(name, known)}")
        chosen |= dict.fromkeys(matching, decimals)
    return SeedsSummary(
        directory=str(store.directory),
        options=dict(spec.base),
        seeds=list(numbers),
        failed=[seed for seed in spec.seeds if seed not in numbers],
        keys=[_key_summary(key, numbers, decimals) for key, decimals in chosen.items()],
    )


def _numbers(store: Store, record: TrialRecord) -> dict[str, float]:
    """The numbers in a trial's result."""
    result = store.latest(record).result()
    numbers = (None if result is None else result.get("numbers")) or {}
    return {key: float(value) for key, value in numbers.items() if value is not None}


def name_and_decimals(text: str) -> tuple[str, int | None]:
    """Split a text at its last colon.

    Raises:
        ConfigError: The part after the colon is not a number of decimals.

    Example:
        >>> name_and_decimals("accuracy:2"), name_and_decimals("loss")
        (('accuracy', 2), ('loss', None))
    """
    name, sign, decimals = text.rpartition(":")
    if not sign:
        return text, None
    if not decimals.isdecimal() or int(decimals) > 20:
        raise ConfigError(f"{text!r}: decimals must be a number from 0 to 20, as in accuracy:2")
    return name, int(decimals)


def _key_summary(
    key: str, numbers: Mapping[int, Mapping[str, float]], decimals: int | None
) -> KeySummary:
    values = {seed: found[key] for seed, found in numbers.items() if key in found}
    finite = [value for value in values.values() if math.isfinite(value)]
    deviation = statistics.stdev(finite) if len(finite) > 1 else None
    return KeySummary(
        key=key,
        mean=statistics.fmean(finite) if finite else None,
        deviation=deviation,
        error=None if deviation is None else deviation / math.sqrt(len(finite)),
        values=values,
        without_number=[seed for seed in numbers if not math.isfinite(values.get(seed, math.nan))],
        decimals=decimals,
    )


def as_text(summary: SeedsSummary, *, error: bool = False) -> str:
    """A summary for people: each mean, with its standard deviation or error."""
    lines = [_line(one, error=error) for one in summary.keys]
    lines.append("")
    lines += [f"seeds: {' '.join(map(str, summary.seeds)) or 'none'}"]
    lines += [f"failed: {' '.join(map(str, summary.failed))}"] if summary.failed else []
    options = (
        f"{key}={shlex.quote(argument_text(value))}" for key, value in summary.options.items()
    )
    lines += [f"options: {' '.join(options)}"]
    return "\n".join(lines) + "\n"


def _line(one: KeySummary, *, error: bool) -> str:
    def shown(number: float | None) -> str:
        if number is None:
            return "?"
        return f"{number:.4g}" if one.decimals is None else f"{number:.{one.decimals}f}"

    spread, name = (one.error, "standard error") if error else (one.deviation, "standard deviation")
    seeds = len(one.values) - sum(seed in one.values for seed in one.without_number)
    without = f", {len(one.without_number)} without a number" if one.without_number else ""
    return (
        f"{one.key}: {shown(one.mean)} ± {shown(spread)} ({name}, {seeds}"
        f" seed{'s' * (seeds != 1)}{without})"
    )


def write_summary(summary: SeedsSummary, *, error: bool = False) -> None:
    """Write `seeds_summary.txt` and `seeds_summary.json` into the search's directory.

    Raises:
        RunError: They cannot be written.
    """
    directory = Path(summary.directory)
    write_atomic(directory / "seeds_summary.txt", as_text(summary, error=error))
    write_atomic(directory / "seeds_summary.json", summary.model_dump_json(indent=2) + "\n")
