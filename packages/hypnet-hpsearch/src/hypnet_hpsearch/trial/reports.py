"""Intermediate results: a trial reports them while it runs, and a driver reads them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hypnet_hpsearch.trial.files import DIRECTORY_VARIABLE, REPORTS, open_file

__all__ = ["Reports", "report"]

_AT_ONCE = 1 << 20  # bytes per read
_MOST_KEYS = 50


def report(step: int, value: float) -> None:
    """Report an intermediate result of this trial, so that a pruner may end it early.

    This appends the line `{"step": 3, "value": 0.5}` to `reports.jsonl` in the
    directory that the environment variable `HYPNET_TRIAL_DIR` names; a program in any
    language can do the same. Outside a search the call does nothing.

    Args:
        step: Progress of the trial, from 0, in a unit that all trials share, such as
            epochs.
        value: The current value of the search's metric.

    Raises:
        OSError: The line cannot be written.
    """
    directory = os.environ.get(DIRECTORY_VARIABLE)
    if directory is None:
        return
    # Unbuffered, so that a line is one write, and complete if the trial is killed.
    with Path(directory, REPORTS).open("ab", buffering=0) as file:
        file.write(json.dumps({"step": int(step), "value": float(value)}).encode() + b"\n")


class Reports:
    """Incremental reader of a growing file of reports. Malformed lines are skipped.

    Args:
        path: The file; it need not exist yet.
        key: The field of a report that holds its value.

    Attributes:
        path: The file.
        key: The field.
        count: The number of reports so far.
        keys: The fields with a number that lines without such a report have.
    """

    def __init__(self, path: Path, key: str = "value") -> None:
        self.path, self.key = path, key
        self._offset = self.count = 0
        self.keys: set[str] = set()

    def news(self) -> list[tuple[int, float]]:
        """Steps and values reported since the last call."""
        try:
            with open_file(self.path) as file:
                if os.fstat(file.fileno()).st_size < self._offset:
                    self._offset = 0
                found = list(self._read(file.fileno()))
        except OSError:
            return []
        self.count += len(found)
        return found

    def _read(self, file: int) -> Iterator[tuple[int, float]]:
        while data := os.pread(file, _AT_ONCE, self._offset):
            complete = data[: data.rfind(b"\n") + 1]
            if not complete and len(data) < _AT_ONCE:
                return
            self._offset += len(complete) or len(data)  # skip an overlong line
            for line in complete.splitlines():
                found = self._parsed(line)
                if found is not None:
                    yield found

    def _parsed(self, line: bytes) -> tuple[int, float] | None:
        try:
            content = json.loads(line)
            step = content["step"]
            # A boolean is an integer to Python, but not a report.
            if isinstance(step, bool) or step != int(step) or step < 0:
                return None
            if self.key not in content:
                self._note(content)
                return None
            value = content[self.key]
            return None if isinstance(value, bool) else (int(step), float(value + 0))
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            return None

    def _note(self, content: Mapping[str, Any]) -> None:
        if len(self.keys) < _MOST_KEYS:
            self.keys.update(
                key
                for key, value in content.items()
                if key != "step" and isinstance(value, int | float) and not isinstance(value, bool)
            )
