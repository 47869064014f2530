"""Intermediate results: a trial reports them while it runs, and a driver reads them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from hypnet_hpsearch.trial.files import DIRECTORY_VARIABLE, REPORTS

__all__ = ["Reports", "report"]

_AT_ONCE = 1 << 20  # bytes per read


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
    """

    def __init__(self, path: Path, key: str = "value") -> None:
        self._path, self._key = path, key
        self._offset = 0

    def news(self) -> list[tuple[int, float]]:
        """Steps and values reported since the last call."""
        try:
            # Do not block: the trial may have put a pipe or a device there.
            file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return []
        try:
            about = os.fstat(file)
            if not stat.S_ISREG(about.st_mode):
                return []
            if about.st_size < self._offset:
                self._offset = 0
            return list(self._read(file))
        except OSError:
            return []
        finally:
            os.close(file)

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
            step, value = content["step"], content[self._key]
            # A boolean is an integer to Python, but not a report.
            if isinstance(step, bool) or isinstance(value, bool) or step != int(step) or step < 0:
                return None
            return int(step), float(value + 0)
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            return None
