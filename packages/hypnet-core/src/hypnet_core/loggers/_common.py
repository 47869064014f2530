"""Helpers that several loggers share."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypnet_core.errors import RunError
from hypnet_core.runs.files import write_atomic


def imported(module: str, extra: str) -> Any:
    """A module that comes with an extra of hypnet-core.

    Raises:
        RunError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        # A module that it needs itself may be the one that is missing.
        raise RunError(
            f'the logger {extra!r} needs the extra of that name: pip install "hypnet-core[{extra}]"'
            f" ({error})"
        ) from error


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, bool | float | str]:
    """The options of a configuration by dotted key; lists as JSON, null left out.

    Example:
        >>> flat({"train": {"lr": 0.1, "clip": None}, "hidden": [5, 5]})
        {'train.lr': 0.1, 'hidden': '[5, 5]'}
    """
    found: dict[str, bool | float | str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif value is not None:
            plain = isinstance(value, (bool, int, float, str))
            found[f"{prefix}{key}"] = value if plain else json.dumps(value)
    return found


def tag(name: str, task: int | None, between: str = "/") -> str:
    """The name of a metric: one curve per task, counted from 1.

    Example:
        >>> tag("loss", 0), tag("mean", None)
        ('loss/task_1', 'mean')
    """
    return name if task is None else f"{name}{between}task_{task + 1}"


def numbers(summary: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among the results of a run."""
    return {
        name: float(value)
        for name, value in summary.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def cut_lines(path: Path, keep: Callable[[str], bool]) -> None:
    """Drop the lines of a file that `keep` refuses, and a torn last one.

    A run that resumes writes them again.

    Raises:
        RunError: The file cannot be read or written.
    """
    try:
        # Only \n ends a line: text may hold U+2028 and others where `splitlines` cuts.
        with path.open(encoding="utf-8", newline="\n") as file:
            lines = list(file)
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    write_atomic(path, "".join(line for line in lines if line.endswith("\n") and keep(line)))
