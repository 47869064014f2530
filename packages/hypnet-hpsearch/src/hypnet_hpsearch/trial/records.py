"""The JSON records of an attempt: `attempt.json` and `result.json`.

Several processes write them: the driver, the process around the trial, and a driver
that finds an attempt dead. The types here are the only description of their fields.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypeAlias, TypedDict

__all__ = [
    "ENDED_FROM_OUTSIDE",
    "AttemptRecord",
    "JsonNumber",
    "ResultRecord",
    "ResumeRecord",
    "is_interrupted",
    "is_number",
    "is_result",
    "json_number",
    "number_of",
    "seconds_of",
]

ENDED_FROM_OUTSIDE = "ended from outside"
"""Begin of the reason of an attempt whose wrapper has passed a signal on."""

_BY_SIGTERM = "killed by SIGTERM"  # the command was faster than its wrapper

JsonNumber: TypeAlias = float | str | None
"""A number in JSON; NaN and the infinities are text, because JSON lacks them."""


class ResumeRecord(TypedDict):
    """How an attempt goes on from an earlier one.

    Attributes:
        previous: The directory that the earlier attempt has written to.
        move: Whether that directory becomes this attempt's.
        argv: The command line, if the directory is still there.
        step: The earlier attempt's last step; -1 if there was none.
    """

    previous: str
    move: bool
    argv: Sequence[str]
    step: int


class AttemptRecord(TypedDict):
    """The content of `attempt.json`: everything needed to run the attempt.

    Attributes:
        trial: The trial's id.
        attempt: Number of the attempt, from 1.
        options: All options of the trial.
        argv: The command line.
        cwd: The working directory.
        env: Environment variables to add.
        summary: The file that the command writes its results to.
        metric: The entry of the summary that rates the trial.
        parser: How to read the summary: `json`, `lines` or an import string.
        resume: How it goes on from an earlier attempt.
        needs: Entries of the summary that must be there beside the metric.
        keep: Entries of the summary that the journal holds beside the metric.
    """

    trial: str
    attempt: int
    options: Mapping[str, Any]
    argv: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    summary: str
    metric: str
    parser: str
    keep: NotRequired[Sequence[str]]
    needs: NotRequired[Sequence[str]]
    resume: NotRequired[ResumeRecord]


class ResultRecord(TypedDict):
    """The content of `result.json`: the outcome of an attempt.

    Attributes:
        trial: The trial's id.
        attempt: Number of the attempt.
        state: `done`, `failed` or `lost`.
        metric: The metric, if the attempt is done.
        reason: Why it failed.
        ended: When it ended, in seconds since 1970.
        started: When it started; missing if nobody saw it start.
        seconds: How long it ran, by a clock that nobody sets.
        numbers: The numbers in the summary, by dotted name.
        kept: Those of them that the journal holds too.
        exit_code: Exit code of the command, negative for a signal.
        host: The machine that ran it.
        reused: Directory of the finished run that stands for this attempt.
        reported: The last intermediate result, if the attempt was given up early.
        interrupted: What ended it from outside: a scheduler's `Interruption`, or a
            signal.
    """

    trial: str
    attempt: int
    state: str
    metric: JsonNumber
    reason: str | None
    ended: NotRequired[float]
    started: NotRequired[float]
    seconds: NotRequired[float]
    numbers: NotRequired[Mapping[str, JsonNumber]]
    kept: NotRequired[Mapping[str, JsonNumber]]
    exit_code: NotRequired[int | None]
    host: NotRequired[str]
    reused: NotRequired[str]
    reported: NotRequired[JsonNumber]
    interrupted: NotRequired[str]


def json_number(value: float | None) -> JsonNumber:
    """A number as standard JSON can hold it.

    Example:
        >>> json_number(0.5), json_number(float("nan")), json_number(None)
        (0.5, 'nan', None)
    """
    return value if value is None or math.isfinite(value) else str(value)


def number_of(value: Any) -> float | None:
    """The number that `json_number` wrote.

    Raises:
        TypeError: It is not a number.
        ValueError: It is a text, but not that of a number.

    Example:
        >>> number_of("nan"), number_of(None)
        (nan, None)
    """
    return None if value is None else float(value)


def is_number(value: Any) -> bool:
    """Whether `number_of` can read a value.

    Example:
        >>> is_number("nan"), is_number(None), is_number([1])
        (True, True, False)
    """
    try:
        number_of(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def is_interrupted(result: ResultRecord) -> bool:
    """Whether a signal from outside has ended an attempt."""
    return str(result.get("reason")).startswith((ENDED_FROM_OUTSIDE, _BY_SIGTERM))


def is_result(found: Mapping[str, Any]) -> bool:
    """Whether an object from a file has the state and the numbers of a `ResultRecord`.

    Example:
        >>> is_result({"state": "failed", "metric": None}), is_result({"state": "ok"})
        (True, False)
    """
    if found.get("state") not in ("done", "failed", "lost"):
        return False
    if not all(is_number(found.get(key)) for key in ("metric", "started", "ended", "seconds")):
        return False
    return found.get("reason") is None or isinstance(found["reason"], str)


def seconds_of(result: ResultRecord) -> float | None:
    """How long an attempt ran; `None` if its record does not say.

    Example:
        >>> lost = {"trial": "a", "attempt": 1, "state": "lost", "metric": None}
        >>> seconds_of({**lost, "started": 5.0, "ended": 7.5}), seconds_of(lost)
        (2.5, None)
    """
    seconds, started, ended = (result.get(key) for key in ("seconds", "started", "ended"))
    # A record may come from a damaged file: no field is certain, nor its type.
    if isinstance(seconds, int | float):
        return max(0.0, seconds)
    # Records of earlier versions have only the times of the wall.
    if isinstance(started, int | float) and isinstance(ended, int | float):
        return max(0.0, ended - started)
    return None
