"""Configurations over several seeds: some are given up before their last seed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from hypnet_hpsearch.execution.tracker import Tracker
from hypnet_hpsearch.propose.base import Proposer
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.spec.trials import PlannedTrial
from hypnet_hpsearch.state.attempts import Attempt, attempt_record
from hypnet_hpsearch.state.configurations import Configurations, configuration_id
from hypnet_hpsearch.state.events import Event, end_event
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState
from hypnet_hpsearch.state.store import Store

__all__ = ["Race"]


class Race:
    """Gives configurations up whose seeds so far are hopeless, or were pruned.

    Their running trials end, and their other seeds are not run: those trials count as
    pruned, too.

    Args:
        store: The search's directory.
        spec: The search.
        proposer: Its trials.
        tracker: The active attempts of this driver.
        driver: Name of this driver in the journal.

    Attributes:
        configurations: The configurations of the search.
    """

    def __init__(
        self, store: Store, spec: SearchSpec, proposer: Proposer, tracker: Tracker, driver: str
    ) -> None:
        self._store, self._spec, self._proposer = store, spec, proposer
        self._tracker, self._driver = tracker, driver
        self.configurations = Configurations(spec)

    @property
    def best(self) -> TrialRecord | None:
        """The best configuration as one record."""
        best = self.configurations.best
        return None if best is None else best.record(self._spec)

    def add(self, record: TrialRecord) -> None:
        """Take in the state of a trial."""
        self.configurations.add(record)

    def judge(self, record: TrialRecord) -> None:
        """Take in the end of a trial, and give its configuration up if that is due."""
        self.add(record)
        if not self._spec.repeats:
            return
        why = record.reason if record.state is TrialState.PRUNED else self._hopeless(record.options)
        if why is not None:
            self._give_up(record, why)
        # This result may tell more about others, which wait in the queue.
        if self._spec.margin is not None and record.state is TrialState.DONE:
            trials = self._store.ledger.trials
            for attempt in self._tracker.with_job - self._tracker.unwanted:
                why = self._hopeless(trials[attempt.trial].options)
                if why is not None:
                    self._end([attempt], why)

    def _end(self, attempts: list[Attempt], why: str) -> None:
        for attempt in attempts:
            attempt.prune(why)
        if attempts:
            self._tracker.cancel(attempts)

    def skipped(self, trial: PlannedTrial) -> list[Event]:
        """The events of a trial that is not worth running; none if it may be.

        The caller holds the lock and writes the events.
        """
        why = self._hopeless(trial.options)
        return [] if why is None else self._skipped(trial, why)

    def _hopeless(self, options: Mapping[str, Any]) -> str | None:
        return self.configurations.hopeless(configuration_id(options, self._spec))

    def _give_up(self, record: TrialRecord, why: str) -> None:
        try:
            trials = self._proposer.repetitions(record.options)
        except KeyError:  # it was begun with other options
            return
        known = self._store.ledger.trials
        others = [trial for trial in trials if trial.id != record.id]
        names = {trial.id for trial in others}
        ours = self._tracker.with_job - self._tracker.unwanted
        self._end([attempt for attempt in ours if attempt.trial in names], why)
        waiting = [
            trial
            for trial in others
            if trial.id not in known
            or not (known[trial.id].state.final or known[trial.id].state is TrialState.RUNNING)
        ]
        if waiting:
            with self._store.locked():
                for trial in waiting:
                    self._store.write(self._skipped(trial, why))

    def _skipped(self, trial: PlannedTrial, why: str) -> list[Event]:
        """The events of a trial that is not run."""
        record_of = partial(attempt_record, self._spec, trial.options)
        events, attempt = self._store.begin(trial, self._driver, record_of)
        if attempt is None:
            return events
        attempt.prune(why)
        result = attempt.conclude(why)
        return events if result is None else [*events, end_event(attempt, result)]
