"""The state of each trial of a search, derived from the events of its journal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hypnet_hpsearch.trial.records import number_of

__all__ = ["Changes", "Ledger", "TrialRecord", "TrialState", "counts_by_name"]


_NO_NUMBERS: Mapping[str, float | None] = {}  # one for all the records that have none


class TrialState(StrEnum):
    """The state of a trial. A trial that is in no ledger was never begun.

    Attributes:
        RUNNING: A driver has claimed it. It is queued, or running: see
            `Attempt.has_begun`.
        DONE: It has its result. This is final.
        PRUNED: It was given up early, without a result. This is final.
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
        numbers: Other numbers of its summary that the search shows or uses.
        reported: Its last intermediate result, if it was given up early.
        interrupted: What ended its latest attempt from outside: the name of an
            `Interruption`, or `signal`; empty if nothing did.
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
    numbers: Mapping[str, float | None] = field(default_factory=lambda: _NO_NUMBERS)
    reported: float | None = None
    interrupted: str = ""
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


def counts_by_name(total: int, counts: Mapping[TrialState, int], queued: int) -> dict[str, int]:
    """How many trials are in which state, by the names that every display uses.

    Args:
        total: The number of trials.
        counts: The number of trials in each state of the ledger.
        queued: How many of the running ones have been submitted, but have not begun.

    Example:
        >>> counts = {**dict.fromkeys(TrialState, 0), TrialState.RUNNING: 3}
        >>> list(counts_by_name(10, counts, queued=2).items())[:3]
        [('not begun', 7), ('queued', 2), ('running', 1)]
    """
    return {
        "not begun": max(0, total - sum(counts.values())),
        "queued": queued,
        **{
            state.value: counts[state] - queued * (state is TrialState.RUNNING)
            for state in TrialState
        },
    }


class Ledger:
    """The records of all trials that were ever begun and belong to the search.

    Args:
        members: Whether a trial with some options belongs to the search; all trials do
            if `None`.

    Attributes:
        trials: The records by trial id.
        running: The ids of the running trials.
        damaged: The number of malformed events.
        stopped: The drivers that were asked to stop.
        changes: The ids of the trials that have changed, in order; see `Changes`.
        outside: The ids of trials that do not belong to the search.
    """

    def __init__(self, members: Callable[[Mapping[str, Any]], bool] | None = None) -> None:
        self._members = members
        self.outside: set[str] = set()
        self.trials: dict[str, TrialRecord] = {}
        self.changes: list[str] = []
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
            except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
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
        if options and self._members is not None and not self._members(options):
            self.outside.add(trial)
            self.trials.pop(trial, None)
            self.running.discard(trial)
            return
        if kind == "options":
            record.options = record.options or options or {}
            self.changes.append(trial)
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
        self.changes.append(trial)

    def _end(self, record: TrialRecord, attempt: int, event: Mapping[str, Any]) -> None:
        # Convert everything before the record changes: a malformed event has no effect.
        state = TrialState(event["state"])
        metric, seconds = number_of(event.get("metric")), number_of(event.get("seconds"))
        ended = number_of(event.get("ended", event.get("time")))
        reported = number_of(event.get("reported"))
        numbers = event.get("numbers") or _NO_NUMBERS
        if numbers:
            numbers = {str(key): number_of(value) for key, value in numbers.items()}
        if state is TrialState.PRUNED and reported is None:
            # Journals of earlier versions have it in the place of the metric.
            reported, metric = metric, None
        reason = event.get("reason")
        if not isinstance(reason, str | None):
            raise TypeError(f"the reason is {reason!r}")
        record.state, record.attempt = state, attempt
        record.metric, record.seconds, record.ended = metric, seconds, ended
        record.numbers, record.reported = numbers, reported
        record.interrupted = str(event.get("interrupted") or "")
        record.reason = reason
        self.running.discard(record.id)
        # The driver learns of ends from here, whichever driver they come from.
        self._ended.append(record.id)


class Changes:
    """A reader of what has changed in a ledger since it last looked.

    Its cost depends on the number of changes, not on the number of trials.
    """

    def __init__(self) -> None:
        self._ledger: Ledger | None = None
        self._place = 0

    def news(self, ledger: Ledger, most: int | None = None) -> tuple[list[TrialRecord], bool]:
        """The records that have changed; all of them if the ledger is another one.

        Args:
            ledger: The ledger.
            most: The number of changes to read at most; all of them if `None`.

        Returns:
            The records, and whether there are more changes.
        """
        if ledger is not self._ledger:
            self._ledger, self._place = ledger, 0
        end = len(ledger.changes) if most is None else self._place + most
        changed = dict.fromkeys(ledger.changes[self._place : end])
        self._place = min(end, len(ledger.changes))
        known = [ledger.trials[trial] for trial in changed if trial in ledger.trials]
        return known, self._place < len(ledger.changes)


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
