"""What is known about each trial of a search, added up from the events of its journal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Ledger", "TrialRecord", "TrialState"]


class TrialState(StrEnum):
    """How a trial stands. A trial that is in no ledger was never begun.

    Attributes:
        RUNNING: A driver has claimed it; it waits, or runs.
        DONE: It has its result, once and for all.
        PRUNED: A pruner has ended it early, once and for all; its last report is its
            metric.
        FAILED: Its latest attempt went wrong.
        LOST: Its latest attempt vanished without a result.
        CANCELLED: Its latest attempt was ended on request.
    """

    RUNNING = "running"
    DONE = "done"
    PRUNED = "pruned"
    FAILED = "failed"
    LOST = "lost"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the trial is never run again.

        Example:
            >>> [state.value for state in TrialState if state.final]
            ['done', 'pruned']
        """
        return self in {TrialState.DONE, TrialState.PRUNED}


@dataclass(slots=True)
class TrialRecord:
    """What is known about a trial.

    Attributes:
        id: Its id.
        state: How it stands.
        attempt: Number of the latest attempt.
        options: All options.
        driver: Who has claimed it.
        job: The scheduler's id of the latest attempt.
        metric: Its result; may be NaN or infinite.
        reason: Why it failed, or what is odd about its result.
        seconds: How long the latest attempt ran.
        ended: When it ended, in seconds since 1970.
    """

    id: str
    state: TrialState = TrialState.RUNNING
    attempt: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    driver: str = ""
    job: str = ""
    metric: float | None = None
    reason: str | None = None
    seconds: float | None = None
    ended: float | None = None

    @property
    def score(self) -> float | None:
        """The metric if it is a number that can be compared."""
        return (
            self.metric
            if self.state is TrialState.DONE
            and self.metric is not None
            and math.isfinite(self.metric)
            else None
        )

    def rank(self, direction: str) -> tuple[float, str]:
        """What trials that have a score are sorted by, best first; of equal ones the smallest id comes first."""
        score = self.score or 0.0
        return (-score if direction == "maximize" else score), self.id


class Ledger:
    """The records of all trials that were ever begun.

    Attributes:
        trials: The records by trial id.
        running: The ids of those that are running.
        damaged: How many events made no sense.
        stopped: The drivers that were asked to stop.
    """

    def __init__(self) -> None:
        self.trials: dict[str, TrialRecord] = {}
        self.running: set[str] = set()
        self.damaged = 0
        self.stopped: set[str] = set()
        self._ended: list[str] = []
        self._requests: list[tuple[str, str, int]] = []

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Take in some events, in their order.

        An event that makes no sense is passed over and counted.
        """
        for event in events:
            try:
                self._add(event)
            except (KeyError, TypeError, ValueError):
                self.damaged += 1

    def ended(self) -> list[TrialRecord]:
        """The trials whose attempts have ended since the last call."""
        ended, self._ended = self._ended, []
        return [self.trials[trial] for trial in ended if trial in self.trials]

    def requests(self) -> list[tuple[str, str, int]]:
        """What people have asked of the drivers since the last call: `cancel` or `retry`, the trial, and its attempt."""
        requests, self._requests = self._requests, []
        return requests

    def counts(self) -> dict[TrialState, int]:
        """How many trials are in each state."""
        counts = dict.fromkeys(TrialState, 0)
        for record in self.trials.values():
            counts[record.state] += 1
        return counts

    def _add(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "stop":
            self.stopped.update(map(str, event["drivers"]))
        elif kind in {"cancel", "retry"}:
            self._requests.append((kind, str(event["trial"]), int(event["attempt"])))
        elif kind in {"claim", "job", "end", "options"}:
            self._note(kind, str(event["trial"]), int(event["attempt"]), event)
        else:
            raise ValueError(f"no event is called {kind!r}")

    def _note(self, kind: str, trial: str, attempt: int, event: Mapping[str, Any]) -> None:
        if kind != "claim" and trial not in self.trials:
            return  # the journal has lost the claim; what is on disk tells more
        record = self.trials.get(trial) or TrialRecord(trial)
        if kind == "options":
            record.options = record.options or event["options"]
            return
        if record.state.final or attempt < record.attempt:
            return  # a result is final, and an earlier attempt has nothing to say any more
        if kind == "claim":
            if attempt == record.attempt and record.state is not TrialState.RUNNING:
                return  # somebody took over what had just ended
            record.job = record.job if attempt == record.attempt else ""
            record.state, record.attempt, record.driver = (
                TrialState.RUNNING,
                attempt,
                str(event["driver"]),
            )
            record.options = event.get("options") or record.options
            self.running.add(trial)
        elif kind == "job":
            record.job = str(event["job"])
        elif (
            record.state is TrialState.RUNNING or attempt > record.attempt
        ):  # of two ends of one attempt the first counts
            self._end(record, attempt, event)
        self.trials[trial] = record

    def _end(self, record: TrialRecord, attempt: int, event: Mapping[str, Any]) -> None:
        metric, seconds, state = (
            event.get("metric"),
            event.get("seconds"),
            TrialState(event["state"]),
        )
        metric = None if metric is None else float(metric)
        seconds = None if seconds is None else float(seconds)
        record.state, record.attempt, record.metric, record.seconds = (
            state,
            attempt,
            metric,
            seconds,
        )
        record.reason = event.get("reason")
        ended = event.get("ended", event.get("time"))
        record.ended = None if ended is None else float(ended)
        self.running.discard(record.id)
        self._ended.append(record.id)
