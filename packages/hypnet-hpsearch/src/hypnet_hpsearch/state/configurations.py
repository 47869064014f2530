"""Configurations: the trials of a search that differ in their seed alone."""

from __future__ import annotations

import json
import math
import operator
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Self, TypeAlias

from hypnet_hpsearch.spec.spec import SEED, SearchSpec
from hypnet_hpsearch.state.ledger import Ledger, TrialRecord, TrialState
from hypnet_hpsearch.state.pareto import costs_of, front_of, is_feasible

__all__ = ["Configuration", "Configurations", "Rank", "configuration_id"]

Rank: TypeAlias = tuple[bool, bool, tuple[float, ...], str]
"""Whether constraints are violated, whether seeds are missing, costs, and the id."""

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
        return _combined(metrics, spec.over_seeds, spec.direction) if metrics else None

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
            numbers=self._numbers(spec),
            reason=next((record.reason for record in records if record.state is state), None),
            seconds=sum(seconds) if seconds else None,
            ended=max(ends, default=None),
        )

    def _numbers(self, spec: SearchSpec) -> dict[str, float | None]:
        """Each number over the trials that are done; objectives as the metric is."""
        done = [record.numbers for record in self.ordered if record.state is TrialState.DONE]
        names = dict.fromkeys(name for numbers in done for name in numbers)
        directions = dict(spec.objectives)
        found: dict[str, float | None] = {}
        for name in names:
            values = [value for numbers in done if (value := numbers.get(name)) is not None]
            how = spec.over_seeds if name in directions else "mean"
            direction = directions.get(name, "maximize")
            found[name] = _combined(values, how, direction) if len(values) == len(done) else None
        return found

    def rank(self, spec: SearchSpec) -> Rank | None:
        """Sort key, best first; `None` without a score.

        What violates a constraint comes after all that fulfils them, and what lacks
        seeds after all that is complete.
        """
        if any(one.state is TrialState.PRUNED for one in self.trials.values()):
            return None
        # Others may run, or may have failed.
        record = replace(self.record(spec), state=TrialState.DONE)
        costs = costs_of(record, spec)
        if costs is None:
            return None
        infeasible = bool(spec.constraints) and not is_feasible(record, spec)
        return infeasible, spec.repeats and not self.is_complete(spec.seeds), costs, self.id


def _combined(values: Sequence[float], how: str, direction: str) -> float:
    """Results of several seeds in one number."""
    # NaN compares with nothing: one seed without a number spoils them all.
    if any(map(math.isnan, values)):
        return math.nan
    if how == "worst":
        return min(values) if direction == "maximize" else max(values)
    return statistics.median(values) if how == "median" else sum(values) / len(values)


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
        self._best: tuple[Rank, Configuration] | None = None

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
        """The best one, if any has a score and fulfils all constraints.

        With several objectives, it is the best by the first one that no other one
        dominates.
        """
        return None if self._best is None or self._best[0][0] else self._best[1]

    def ranked(self) -> list[Configuration]:
        """Those with a score, best first; with several objectives, the front first."""
        ranks = [(rank, found) for found in self if (rank := found.rank(self._spec)) is not None]
        front = {found.id for found in self._front(ranks)}
        ranks.sort(key=lambda one: (one[1].id not in front, one[0]))
        return [found for _, found in ranks]

    def front(self) -> list[Configuration]:
        """Those that no other one dominates in all objectives, best first.

        Constraints are fulfilled, and all seeds are done, unless that is so for none.
        """
        return self._front(
            [(rank, found) for found in self if (rank := found.rank(self._spec)) is not None]
        )

    def _front(self, ranks: Sequence[tuple[Rank, Configuration]]) -> list[Configuration]:
        feasible = [one for one in ranks if not one[0][0]]
        complete = [one for one in feasible if not one[0][1]] or feasible
        return [complete[number][1] for number in front_of([rank[2] for rank, _ in complete])]

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
