"""Summaries that trials write: how to read them, and how to find the metric.

Only the standard library is imported, unless a search names a parser of its own.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypnet_hpsearch.trial.files import read_text

__all__ = ["NoMetricError", "lines_in", "metric_in", "numbers_in", "read_summary"]


class NoMetricError(Exception):
    """The command succeeded, but its summary holds no usable metric."""


def numbers_in(summary: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """All numbers in a summary; those of nested tables have dotted names.

    Example:
        >>> dict(numbers_in({"loss": 1, "task": {"acc": 0.5, "name": "x"}, "a": []}))
        {'loss': 1.0, 'task.acc': 0.5}
    """
    for key, value in summary.items():
        number = _number(value)
        if number is not None:
            yield f"{prefix}{key}", number
        elif isinstance(value, Mapping):
            yield from numbers_in(value, f"{prefix}{key}.")


def _number(value: Any) -> float | None:
    """A value as a float; `None` if it is not a number."""
    # A parser may return scalars of numpy or torch, which must not be imported here.
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:
        value = item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def metric_in(summary: Mapping[str, Any], name: str, file: str) -> float:
    """The metric in a summary: the value of a key, or of a path with dots.

    Args:
        summary: The summary.
        name: The metric.
        file: Name of the summary in error messages.

    Raises:
        NoMetricError: There is none, or it is not a number.
    """
    value: Any = summary
    # A key that contains dots wins over a path.
    for part in [name] if name in summary else name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            has = ", ".join(map(repr, list(summary)[:12])) or "nothing"
            raise NoMetricError(f"its {file} has no metric {name!r}; it has {has}")
        value = value[part]
    number = _number(value)
    if number is None:
        raise NoMetricError(
            f"its metric {name!r} is not a number but {json.dumps(value, default=repr)[:40]}"
        )
    return number


def read_summary(path: Path, parser: str, directory: str) -> Mapping[str, Any]:
    """The content of a trial's summary.

    Args:
        path: The file.
        parser: `json`, `lines`, or the import string of a function that takes the path
            and returns a mapping.
        directory: Searched first for the module of a user-supplied parser.

    Raises:
        NoMetricError: The file is missing or malformed, or the parser fails.
    """
    if parser not in {"json", "lines"}:
        return _parsed_by(parser, path, directory)
    try:
        text = read_text(path)
        summary = json.loads(text) if parser == "json" else lines_in(text)
    except FileNotFoundError:
        raise NoMetricError(f"it wrote no {path.name} (expected at {path})") from None
    except OSError as error:
        raise NoMetricError(f"its {path.name} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        what = "as JSON" if parser == "json" else "as lines of text"
        raise NoMetricError(f"its {path.name} cannot be read {what}: {error}") from None
    if not isinstance(summary, dict):
        raise NoMetricError(f"its {path.name} holds no JSON object")
    return summary


def lines_in(text: str) -> dict[str, Any]:
    r"""Parse lines of the form `key value`; values are JSON or text.

    If a key is repeated, its last value counts.

    Example:
        >>> lines_in("acc_final 0.93\nacc_during [0.9, 0.96]\n\nnote as usual")
        {'acc_final': 0.93, 'acc_during': [0.9, 0.96], 'note': 'as usual'}
    """
    found: dict[str, Any] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        key, _, value = line.partition(" ")
        found[key.removesuffix(":").removesuffix("=")] = _value(value.strip())
    return found


def _value(text: str) -> Any:
    for read in (json.loads, float):
        with suppress(ValueError, RecursionError):
            return read(text)
    return text


def _parsed_by(parser: str, path: Path, directory: str) -> Mapping[str, Any]:
    """Read a file with a user-supplied parser; any failure is the trial's reason."""
    from hypnet_core.errors import ImportStringError, error_line
    from hypnet_core.import_strings import import_callable

    # A parser would wait for ever for what comes out of a pipe.
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise NoMetricError(f"its {path.name} cannot be read: it is not a regular file")
    # The wrapper runs with -P, so the working directory is not on the path.
    sys.path.insert(0, directory)
    try:
        summary = import_callable(parser)(path)
        summary = dict(summary) if isinstance(summary, Mapping) else summary
    except ImportStringError as error:
        raise NoMetricError(f"the parser {parser} cannot be loaded: {error}") from None
    except (Exception, SystemExit) as error:  # user code may raise anything
        raise NoMetricError(
            f"the parser {parser} cannot read its {path.name}: {error_line(error)}"
        ) from error
    if not isinstance(summary, Mapping):
        raise NoMetricError(f"the parser {parser} returned {repr(summary)[:40]}, not a mapping")
    return summary
