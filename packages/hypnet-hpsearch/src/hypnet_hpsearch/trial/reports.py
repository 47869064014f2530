"""Intermediate results: what a trial reports while it runs, and how a driver reads that.

Only the standard library is imported.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = ["REPORTS", "Reports", "report"]

REPORTS = "reports.jsonl"

_DIRECTORY = "HYPNET_TRIAL_DIR"
_AT_ONCE = 1 << 20


def report(step: int, value: float) -> None:
    """Report how good the trial is so far, so that a pruner may end it early.

    It adds the line `{"step": 3, "value": 0.5}` to `reports.jsonl` in the directory
    that `HYPNET_TRIAL_DIR` names, which a program in any language can do. Outside a
    search it does nothing.

    Args:
        step: How far the trial is, from 0; the same unit in all trials, such as epochs.
        value: The metric by which the search judges, as of now.

    Raises:
        OSError: The line cannot be written.
    """
    directory = os.environ.get(_DIRECTORY)
    if directory is None:
        return
    with Path(directory, REPORTS).open("ab", buffering=0) as file:
        file.write(json.dumps({"step": int(step), "value": float(value)}).encode() + b"\n")


class Reports:
    """The reports in a file that still grows. Lines that make no sense are passed over.

    Args:
        path: The file; it need not exist yet.
        key: What a report calls its value.
    """

    def __init__(self, path: Path, key: str = "value") -> None:
        self._path, self._key = path, key
        self._offset = 0

    def news(self) -> list[tuple[int, float]]:
        """Steps and values that were reported since the last call."""
        try:
            # A trial may have put anything there, so neither a pipe nor a device may
            # hold the driver up.
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
            self._offset += len(complete) or len(data)  # a line longer than that is no report
            for line in complete.splitlines():
                found = self._parsed(line)
                if found is not None:
                    yield found

    def _parsed(self, line: bytes) -> tuple[int, float] | None:
        try:
            content = json.loads(line)
            step, value = content["step"], content[self._key]
            if isinstance(step, bool) or isinstance(value, bool) or step != int(step) or step < 0:
                return None
            return int(step), float(value + 0)
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            return None
