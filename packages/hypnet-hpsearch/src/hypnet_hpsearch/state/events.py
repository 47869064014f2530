"""Events of a search, as its journal records them: their fields, and how they are made.

The order of the keys is that of the lines on disk. A reader must expect damaged lines,
so `Ledger` checks what it reads; these types describe what drivers write.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

from hypnet_hpsearch.state.attempts import Attempt
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState
from hypnet_hpsearch.trial.records import JsonNumber, ResultRecord, is_interrupted, seconds_of

__all__ = [
    "ClaimEvent",
    "EndEvent",
    "Event",
    "JobEvent",
    "OptionsEvent",
    "RequestEvent",
    "StopEvent",
    "claim_event",
    "end_event",
    "job_event",
    "options_event",
    "request_event",
    "stop_event",
]


class ClaimEvent(TypedDict):
    """A driver has claimed a trial, or has taken over an attempt at it.

    Attributes:
        event: `claim`.
        trial: The trial's id.
        attempt: Number of the attempt.
        driver: Name of the driver; empty if the claim was found on disk.
        time: When, in seconds since 1970.
        options: All options of the trial, unless an earlier event has them.
    """

    event: Literal["claim"]
    trial: str
    attempt: int
    driver: str
    time: float
    options: NotRequired[Mapping[str, Any]]


class JobEvent(TypedDict):
    """A scheduler has accepted the job of an attempt.

    Attributes:
        event: `job`.
        trial: The trial's id.
        attempt: Number of the attempt.
        job: The scheduler's id of the job.
    """

    event: Literal["job"]
    trial: str
    attempt: int
    job: str


class EndEvent(TypedDict):
    """An attempt has ended.

    Attributes:
        event: `end`.
        trial: The trial's id.
        attempt: Number of the attempt.
        state: A `TrialState`.
        metric: The metric.
        numbers: Other numbers of the summary that the search shows or uses.
        reported: The last intermediate result, if it was given up early.
        interrupted: What ended it from outside: the name of an `Interruption`, or
            `signal`.
        reason: Why it failed.
        seconds: How long it ran; `None` if nobody saw it start.
        ended: When it ended, in seconds since 1970.
        time: When the event was written.
    """

    event: Literal["end"]
    trial: str
    attempt: int
    state: str | None
    metric: JsonNumber
    numbers: NotRequired[Mapping[str, JsonNumber]]
    reported: NotRequired[JsonNumber]
    interrupted: NotRequired[str]
    reason: str | None
    seconds: float | None
    ended: float | None
    time: float


class OptionsEvent(TypedDict):
    """The options of a trial were found on disk after the journal had lost them.

    Attributes:
        event: `options`.
        trial: The trial's id.
        attempt: Number of the attempt.
        options: All options.
    """

    event: Literal["options"]
    trial: str
    attempt: int
    options: Mapping[str, Any]


class RequestEvent(TypedDict):
    """A user asks the drivers to cancel an attempt, or to retry its trial.

    Attributes:
        event: `cancel` or `retry`.
        trial: The trial's id.
        attempt: Number of the attempt.
    """

    event: Literal["cancel", "retry"]
    trial: str
    attempt: int


class StopEvent(TypedDict):
    """A user asks drivers to stop.

    Attributes:
        event: `stop`.
        drivers: Their names.
    """

    event: Literal["stop"]
    drivers: Sequence[str]


Event: TypeAlias = ClaimEvent | JobEvent | EndEvent | OptionsEvent | RequestEvent | StopEvent


def claim_event(attempt: Attempt, driver: str, options: Mapping[str, Any] | None) -> ClaimEvent:
    """A driver's claim; see `ClaimEvent`."""
    event: ClaimEvent = {
        "event": "claim",
        "trial": attempt.trial,
        "attempt": attempt.number,
        "driver": driver,
        "time": time.time(),
    }
    # Left out rather than null, to keep the journal small.
    if options is not None:
        event["options"] = options
    return event


def job_event(attempt: Attempt, job: str) -> JobEvent:
    """The job of an attempt; see `JobEvent`."""
    return {"event": "job", "trial": attempt.trial, "attempt": attempt.number, "job": job}


def end_event(attempt: Attempt, result: ResultRecord, state: TrialState | None = None) -> EndEvent:
    """The end of an attempt; see `EndEvent`.

    Args:
        attempt: The attempt.
        result: The content of its `result.json`.
        state: How it ended, if the driver knows better than the result.
    """
    # A result may come from a damaged file, so no field of it is certain.
    event: EndEvent = {
        "event": "end",
        "trial": attempt.trial,
        "attempt": attempt.number,
        "state": result.get("state") if state is None else state.value,
        "metric": result.get("metric"),
        "reason": result.get("reason"),
        "seconds": seconds_of(result),
        "ended": result.get("ended"),
        "time": time.time(),
    }
    # Left out where there are none, to keep the journal small.
    kept = result.get("kept")
    if kept and isinstance(kept, dict):
        event["numbers"] = kept
    if result.get("reported") is not None:
        event["reported"] = result.get("reported")
    interrupted = result.get("interrupted") or ("signal" if is_interrupted(result) else "")
    if interrupted:
        event["interrupted"] = interrupted
    return event


def options_event(attempt: Attempt, options: Mapping[str, Any]) -> OptionsEvent:
    """Options that were found on disk; see `OptionsEvent`."""
    return {
        "event": "options",
        "trial": attempt.trial,
        "attempt": attempt.number,
        "options": options,
    }


def request_event(kind: Literal["cancel", "retry"], record: TrialRecord) -> RequestEvent:
    """A request about a trial's latest attempt; see `RequestEvent`."""
    return {"event": kind, "trial": record.id, "attempt": record.attempt}


def stop_event(drivers: Sequence[str]) -> StopEvent:
    """A request to stop; see `StopEvent`."""
    return {"event": "stop", "drivers": drivers}
