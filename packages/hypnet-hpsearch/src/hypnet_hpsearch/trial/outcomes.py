"""Outcomes of trials: what their summaries say, as the record of a result holds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

from hypnet_hpsearch.trial.records import AttemptRecord, JsonNumber, json_number
from hypnet_hpsearch.trial.summaries import metric_in, numbers_in, read_summary

__all__ = ["measured", "numbers_of"]

_MOST_NUMBERS = 200


def measured(attempt: AttemptRecord) -> tuple[float, dict[str, JsonNumber]]:
    """The metric of an attempt, and the numbers in its summary.

    Raises:
        NoMetricError: The summary is missing or malformed, or lacks the metric.
    """
    path = Path(attempt["summary"])
    summary = read_summary(path, attempt.get("parser", "json"), attempt["cwd"])
    metric = metric_in(summary, attempt["metric"], path.name)
    return metric, numbers_of(dict(numbers_in(summary)), attempt.get("keep", ()))


def numbers_of(numbers: Mapping[str, float], keep: Iterable[str] = ()) -> dict[str, JsonNumber]:
    """Numbers as JSON: those to keep, and the first few of the others.

    Args:
        numbers: All numbers of a summary, by dotted name.
        keep: Names of numbers that are kept in any case.

    Example:
        >>> numbers_of({"a": 1.0, "b": float("nan")}, keep=["b", "c"])
        {'b': 'nan', 'a': 1.0}
    """
    names = dict.fromkeys([*(name for name in keep if name in numbers), *numbers])
    return {name: json_number(numbers[name]) for name in islice(names, _MOST_NUMBERS)}
