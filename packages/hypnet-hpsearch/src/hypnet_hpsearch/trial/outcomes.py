"""Outcomes of trials: what their summaries say, as the record of a result holds it."""

from __future__ import annotations

import os
import time
from itertools import islice
from pathlib import Path
from typing import TypedDict

from hypnet_hpsearch.trial.files import LONGEST_REASON
from hypnet_hpsearch.trial.records import AttemptRecord, JsonNumber, ResultRecord, json_number
from hypnet_hpsearch.trial.summaries import NoMetricError, metric_in, numbers_in, read_summary

__all__ = ["Measurement", "measured", "outcome_of"]

_MOST_NUMBERS = 200


class Measurement(TypedDict):
    """The part of a `ResultRecord` that comes from the trial's summary.

    Attributes:
        metric: The metric.
        numbers: The first few numbers of the summary, by dotted name.
        kept: The numbers that the attempt's record asks to keep, if the summary has
            them.
    """

    metric: JsonNumber
    numbers: dict[str, JsonNumber]
    kept: dict[str, JsonNumber]


def measured(attempt: AttemptRecord) -> Measurement:
    """The metric of an attempt, and the numbers in its summary.

    Raises:
        NoMetricError: The summary is missing or malformed, or lacks the metric.
    """
    path = Path(attempt["summary"])
    summary = read_summary(path, attempt.get("parser", "json"), attempt["cwd"])
    metric = metric_in(summary, attempt["metric"], path.name)
    numbers = {name: json_number(value) for name, value in numbers_in(summary)}
    kept = {name: numbers[name] for name in attempt.get("keep", ()) if name in numbers}
    needed = attempt.get("needs", ())
    kept |= {name: json_number(metric_in(summary, name, path.name)) for name in needed}
    return {
        "metric": json_number(metric),
        "numbers": dict(islice({**kept, **numbers}.items(), _MOST_NUMBERS)),
        "kept": kept,
    }


def outcome_of(
    attempt: AttemptRecord, reason: str | None, *, started: float, seconds: float
) -> ResultRecord:
    """The result of an attempt that has ended now, by its summary.

    Args:
        attempt: The attempt.
        reason: Why it failed; `None` if it did not, and the summary decides.
        started: Time of its start, in seconds since 1970.
        seconds: How long it took.
    """
    found: Measurement = {"metric": None, "numbers": {}, "kept": {}}
    state = "failed"
    if reason is None:
        try:
            found, state = measured(attempt), "done"
        except NoMetricError as error:
            reason = str(error)[:LONGEST_REASON]
        except RecursionError:
            reason = f"its {Path(attempt['summary']).name} is nested too deeply"
    return {
        "trial": attempt["trial"],
        "attempt": attempt["attempt"],
        "state": state,
        "metric": found["metric"],
        "numbers": found["numbers"],
        "kept": found["kept"],
        "reason": reason,
        "started": started,
        "ended": time.time(),
        "seconds": seconds,
        "host": os.uname().nodename,
    }
