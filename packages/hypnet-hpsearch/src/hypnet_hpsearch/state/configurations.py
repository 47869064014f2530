"""Configurations: the trials of a search that differ in their seed alone."""

from __future__ import annotations

import json
import math
import operator
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Self

from hypnet_hpsearch.spec.spec import SEED, SearchSpec
from hypnet_hpsearch.state.ledger import Ledger, TrialRecord, TrialState

__all__ = ["Configuration", "Configurations", "configuration_id"]

_UNFINISHED = (TrialState.FAILED, TrialState.LOST, TrialState.CANCELLED)
_FEWEST = 2  # degrees of freedom that an estimate of the spread over seeds needs


@dataclass(slots=True)
class Configuration:
    """The options that some trials share, and these trials by seed.

    Attributes:
        id: A hash of the options.
        options: The options without the seed.
        trials: The record of each seed's trial.
    """

    id: str
    options: dict[str, Any]
    trials: dict[int, TrialRecord] = field(default_factory=dict)

    @property
    def ordered(self) -> list[TrialRecord]:
        """The trials in the order of their seeds."""
        return [self.trials[seed] for seed in sorted(self.trials)]

    def metrics(self) -> list[float]:
        """The results of the trials that are done, in the order of their seeds."""
        return [
            record.metric
            for record in self.ordered
            if record.state is TrialState.DONE and record.metric is not None
        ]

    def value(self, spec: SearchSpec) -> float | None:
        """The results in one number, as the search's `over_seeds` says."""
        metrics = self.metrics()
        if not metrics:
            return None
        # NaN compares with nothing: one seed without a number spoils them all.
        if any(map(math.isnan, metrics)):
            return math.nan
        if spec.over_seeds == "worst":
            return min(metrics) if spec.direction == "maximize" else max(metrics)
        if spec.over_seeds == "median":
            return statistics.median(metrics)
        return sum(metrics) / len(metrics)

    def error(self) -> float | None:
        """The standard error of the mean; `None` for fewer than two results."""
        metrics = self.metrics()
        if len(metrics) < 2 or not all(map(math.isfinite, metrics)):
            return None
        return statistics.stdev(metrics) / math.sqrt(len(metrics))

    def is_complete(self, seeds: Sequence[int]) -> bool:
        """Whether the trials of all these seeds are done."""
        return all(
            seed in self.trials and self.trials[seed].state is TrialState.DONE for seed in seeds
        )

    def record(self, spec: SearchSpec) -> TrialRecord:
        """All trials as one: its id, attempt and driver are those of the first seed."""
        records = self.ordered
        if self.options is records[0].options:
            return records[0]
        first, states = records[0], {record.state for record in records}
        order = (TrialState.RUNNING, TrialState.PRUNED, *_UNFINISHED, TrialState.DONE)
        state = next(one for one in order if one in states)
        seconds = [record.seconds for record in records if record.seconds is not None]
        ends = [record.ended for record in records if record.ended is not None]
        return replace(
            first,
            state=state,
            options=self.options,
            metric=self.value(spec),
            numbers=self._means_of_numbers(),
            reason=next((record.reason for record in records if record.state is state), None),
            seconds=sum(seconds) if seconds else None,
            ended=max(ends, default=None),
        )

    def _means_of_numbers(self) -> dict[str, float | None]:
        """The mean of each number over the trials that are done and have it."""
        done = [record.numbers for record in self.ordered if record.state is TrialState.DONE]
        names = dict.fromkeys(name for numbers in done for name in numbers)
        columns = {name: [numbers.get(name) for numbers in done] for name in names}
        return {
            name: None if None in column else math.fsum(filter(None, column)) / len(column)
            for name, column in columns.items()
        }

    def rank(self, spec: SearchSpec) -> tuple[bool, float, str] | None:
        """Sort key, best first, all incomplete ones last; `None` without a score."""
        value = self.value(spec)
        given_up = any(record.state is TrialState.PRUNED for record in self.trials.values())
        if value is None or given_up or not math.isfinite(value):
            return None
        sign = -1 if spec.direction == "maximize" else 1
        return not self.is_complete(spec.seeds), sign * value, self.id


class Configurations:
    """The configurations of a search, kept up to date.

    Without several seeds, every trial is a configuration of its own.

    Args:
        spec: The search.
    """

    def __init__(self, spec: SearchSpec) -> None:
        self._spec = spec
        self._all: dict[str, Configuration] = {}
        self._of: dict[str, str] = {}  # by trial
        self._several: dict[str, list[float]] = {}  # results of those with several
        self._best: tuple[tuple[bool, float, str], Configuration] | None = None

    @classmethod
    def of(cls, ledger: Ledger, spec: SearchSpec) -> Self:
        """The configurations of all trials in a ledger."""
        found = cls(spec)
        for record in ledger.trials.values():
            found.add(record)
        return found

    def __iter__(self) -> Iterator[Configuration]:
        return iter(self._all.values())

    def get(self, name: str) -> Configuration | None:
        """The configuration with an id."""
        return self._all.get(name)

    def of_trial(self, trial: str) -> Configuration | None:
        """The configuration of a trial."""
        return self._all.get(self._of.get(trial, ""))

    def add(self, record: TrialRecord) -> Configuration:
        """Take in a trial, or a change of its state."""
        name = self._of.get(record.id)
        # Until the options of a trial are found, it cannot be told from others.
        if name is None or (name == record.id and self._spec.repeats):
            self._all.pop(name or "", None)
            name = configuration_id(record.options, self._spec) or record.id
            self._of[record.id] = name
        found = self._all.get(name)
        if found is None:
            options = record.options
            if self._spec.repeats:
                options = {key: value for key, value in options.items() if key != SEED}
            found = self._all[name] = Configuration(name, options)
        seed = record.options.get(SEED) if self._spec.repeats else None
        found.trials[seed if isinstance(seed, int) else 0] = record
        self._note(found)
        return found

    def _note(self, changed: Configuration) -> None:
        metrics = self._finite(changed.id)
        if self._spec.margin is not None and len(metrics) > 1:
            self._several[changed.id] = metrics
        rank = changed.rank(self._spec)
        if self._best is not None and self._best[1] is changed and rank != self._best[0]:
            # It may be the best no longer.
            ranked = [(one.rank(self._spec), one) for one in self]
            self._best = min(
                ((key, one) for key, one in ranked if key is not None),
                key=operator.itemgetter(0),
                default=None,
            )
        elif rank is not None and (self._best is None or rank < self._best[0]):
            self._best = rank, changed

    @property
    def best(self) -> Configuration | None:
        """The best one, if any has a score."""
        return None if self._best is None else self._best[1]

    def hopeless(self, name: str) -> str | None:
        """Why a configuration cannot become the best one; `None` if it may.

        Its mean over the seeds so far must be worse than that of the best configuration
        with two seeds or more by more than `margin` standard errors of their
        difference. The standard deviation over seeds is estimated from all
        configurations together.

        Args:
            name: Its id.
        """
        margin, metrics = self._spec.margin, self._finite(name)
        freedom = sum(len(some) - 1 for some in self._several.values())
        if margin is None or not metrics or freedom < _FEWEST:
            return None
        sign = 1 if self._spec.direction == "maximize" else -1
        best = max(self._several, key=lambda one: sign * statistics.fmean(self._several[one]))
        theirs, mean = statistics.fmean(self._several[best]), statistics.fmean(metrics)
        squares = sum(
            (metric - statistics.fmean(some)) ** 2
            for some in self._several.values()
            for metric in some
        )
        error = math.sqrt(squares / freedom * (1 / len(metrics) + 1 / len(self._several[best])))
        if best == name or sign * (theirs - mean) <= margin * error:
            return None
        seeds = f"{len(metrics)} seed{'s' * (len(metrics) > 1)}"
        return f"hopeless after {seeds}: {mean:.6g}, the best configuration has {theirs:.6g}"

    def _finite(self, name: str) -> list[float]:
        found = self._all.get(name)
        return [] if found is None else [one for one in found.metrics() if math.isfinite(one)]


def configuration_id(options: Mapping[str, Any], spec: SearchSpec) -> str:
    """The id of the configuration that a trial with these options belongs to.

    It is empty if the search has not several seeds: the trial is its own configuration.
    """
    if not spec.repeats or not options:
        return ""
    shared = {key: value for key, value in options.items() if key != SEED}
    text = json.dumps(shared, sort_keys=True)
    return blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()
