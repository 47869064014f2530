"""The state of each trial of a search, derived from the events of its journal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hypnet_hpsearch.trial.records import number_of

__all__ = ["Ledger", "TrialRecord", "TrialState"]


class TrialState(StrEnum):
    """The state of a trial. A trial that is in no ledger was never begun.

    Attributes:
        RUNNING: A driver has claimed it; it is queued or running.
        DONE: It has its result. This is final.
        PRUNED: A pruner has ended it early; its last report is its metric. This is
            final.
        FAILED: Its latest attempt failed.
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
    """The state of one trial, with the facts about its latest attempt.

    Attributes:
        id: The trial's id.
        state: Its state.
        attempt: Number of the latest attempt.
        options: All options.
        driver: Name of the driver that has claimed it.
        job: The scheduler's id of the latest attempt.
        metric: Its result; may be NaN or infinite.
        reason: Why it failed, or a remark about its result.
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
        """The metric, if it is finite and the trial is done; `None` otherwise."""
        return (
            self.metric
            if self.state is TrialState.DONE
            and self.metric is not None
            and math.isfinite(self.metric)
            else None
        )

    def rank(self, direction: str) -> tuple[float, str]:
        """Sort key of trials with a score: best first, then by id."""
        score = self.score or 0.0
        return (-score if direction == "maximize" else score), self.id


class Ledger:
    """The records of all trials that were ever begun.

    Attributes:
        trials: The records by trial id.
        running: The ids of the running trials.
        damaged: The number of malformed events.
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

        Malformed ones are skipped and counted.
        """
        for event in events:
            try:
                self._add(event)
            except (KeyError, TypeError, ValueError, OverflowError):
                self.damaged += 1

    def ended(self) -> list[TrialRecord]:
        """The trials whose attempts have ended since the last call."""
        ended, self._ended = self._ended, []
        return [self.trials[trial] for trial in ended if trial in self.trials]

    def requests(self) -> list[tuple[str, str, int]]:
        """The requests since the last call: the kind, the trial, and its attempt.

        The kind is `cancel` or `retry`.
        """
        requests, self._requests = self._requests, []
        return requests

    def counts(self) -> dict[TrialState, int]:
        """The number of trials in each state."""
        counts = dict.fromkeys(TrialState, 0)
        for record in self.trials.values():
            counts[record.state] += 1
        return counts

    def running_trials(self) -> list[TrialRecord]:
        """The running trials."""
        return [self.trials[trial] for trial in self.running]

    def _add(self, event: Mapping[str, Any]) -> None:
        kind = event["event"]
        if kind == "stop":
            self.stopped.update(map(str, event["drivers"]))
        elif kind in {"cancel", "retry"}:
            self._requests.append((kind, *_attempt_of(event)))
        elif kind in {"claim", "job", "end", "options"}:
            self._note(kind, *_attempt_of(event), event)
        else:
            raise ValueError(f"there is no event {kind!r}")

    def _note(self, kind: str, trial: str, attempt: int, event: Mapping[str, Any]) -> None:
        if kind != "claim" and trial not in self.trials:
            return  # the journal has lost the claim: the trial will be recovered from disk
        record = self.trials.get(trial) or TrialRecord(trial)
        options = event.get("options")
        if not isinstance(options, dict | None):
            raise TypeError(f"options are {options!r}")
        if kind == "options":
            record.options = record.options or options or {}
            return
        if record.state.final or attempt < record.attempt:
            return  # a result is final, and events of earlier attempts are stale
        if kind == "claim":
            if attempt == record.attempt and record.state is not TrialState.RUNNING:
                return  # another driver took over an attempt that had just ended
            record.job = record.job if attempt == record.attempt else ""
            record.state, record.attempt, record.driver = (
                TrialState.RUNNING,
                attempt,
                str(event["driver"]),
            )
            record.options = options or record.options
            self.running.add(trial)
        elif kind == "job":
            record.job = str(event["job"])
        elif record.state is TrialState.RUNNING or attempt > record.attempt:
            self._end(record, attempt, event)  # of two ends of one attempt the first counts
        self.trials[trial] = record

    def _end(self, record: TrialRecord, attempt: int, event: Mapping[str, Any]) -> None:
        # Convert everything before the record changes: a malformed event has no effect.
        state = TrialState(event["state"])
        metric, seconds = number_of(event.get("metric")), number_of(event.get("seconds"))
        ended = number_of(event.get("ended", event.get("time")))
        reason = event.get("reason")
        if not isinstance(reason, str | None):
            raise TypeError(f"the reason is {reason!r}")
        record.state, record.attempt = state, attempt
        record.metric, record.seconds, record.ended = metric, seconds, ended
        record.reason = reason
        self.running.discard(record.id)
        # The driver learns of ends from here, whichever driver they come from.
        self._ended.append(record.id)


def _attempt_of(event: Mapping[str, Any]) -> tuple[str, int]:
    """The trial and the number of the attempt that an event is about.

    Raises:
        ValueError: They are impossible.
    """
    trial, attempt = event["trial"], event["attempt"]
    # They become names of directories.
    if not isinstance(trial, str) or not trial.isalnum() or type(attempt) is not int or attempt < 1:
        raise ValueError(f"there is no attempt {attempt!r} at {trial!r}")
    return trial, attempt
