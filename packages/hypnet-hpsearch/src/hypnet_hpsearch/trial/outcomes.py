"""Outcomes of trials: what their summaries say, as the record of a result holds it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TypedDict

from hypnet_hpsearch.trial.records import AttemptRecord, JsonNumber, json_number
from hypnet_hpsearch.trial.summaries import metric_in, numbers_in, read_summary

__all__ = ["Measurement", "measured"]

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
