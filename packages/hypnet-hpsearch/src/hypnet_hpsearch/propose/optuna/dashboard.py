"""The study that `optuna-dashboard` shows, a file made from the ledger.

Needs the extra `optuna`.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypnet_hpsearch._text import error_in_one_line
from hypnet_hpsearch.propose.optuna.components import optuna
from hypnet_hpsearch.propose.optuna.study import Study
from hypnet_hpsearch.spec.space import Space
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.store import Store

__all__ = ["STUDY", "StudyFile"]

STUDY = "optuna.log"

_AT_ONCE = 50  # changes that are written in one go
_PAUSE = 0.2  # seconds between two writes


class StudyFile:
    """Keeps the file `optuna.log`, a journal of Optuna, up to date.

    `optuna-dashboard DIR/optuna.log` shows it.

    Only the dashboard reads it. One of the drivers of a search writes it. If it is
    damaged, it is made anew; if it cannot be written, the search goes on without it.

    Args:
        store: The search's directory.
        spec: The search.

    Attributes:
        path: The file.
        problem: Why it cannot be written; empty if it can.
    """

    def __init__(self, store: Store, spec: SearchSpec) -> None:
        self.path = store.directory / STUDY
        self.problem = ""
        self._store, self._spec = store, spec
        self._lock: int | None = None
        self._study: Study | None = None
        self._next = 0.0

    def update(self) -> None:
        """Write some of the news, at most a few times a second."""
        # The driver must not wait: a study of thousands of trials is written in parts.
        if time.monotonic() >= self._next:
            self.write(_AT_ONCE)

    def write(self, most: int | None = None) -> None:
        """Write the news.

        Args:
            most: The number of changes to write at most; all of them if `None`.
        """
        started = time.monotonic()
        if self.problem or not self._is_ours():
            return
        try:
            self._study = self._study or self._opened()
            self._study.follow(self._store, most)
            self._log.flush()
        except Exception as error:  # noqa: BLE001  no error here may end the search
            self.problem = f"{self.path} is not kept up to date: {error_in_one_line(error)}"
        # Spend at most 5 % of the time on it.
        now = time.monotonic()
        self._next = now + max(_PAUSE, 20 * (now - started))

    def close(self) -> None:
        """Release the lock, so that another driver can write the file."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _is_ours(self) -> bool:
        if self._lock is not None:
            return True
        with suppress(OSError):
            lock = os.open(self.path.with_name(f".{STUDY}.driver"), os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
            else:
                self._lock = lock
        return self._lock is not None

    def _opened(self) -> Study:
        try:
            self._mend()
            found = self._loaded()
            found.adopt()
        except Exception:  # noqa: BLE001  the ledger holds all that this file does
            self.path.unlink(missing_ok=True)
            return self._loaded()
        return found

    def _mend(self) -> None:
        """Remove a line that a crash tore: Optuna could not read it."""
        if not self.path.exists():
            return
        with self.path.open("r+b") as file:
            data = file.read()
            file.truncate(data.rfind(b"\n") + 1)

    def _loaded(self) -> Study:
        self._log = _Log(self.path)
        storage = optuna().storages.JournalStorage(self._log)
        return Study(self._spec, Space.of(self._spec), storage)


class _Log:
    """A file as a backend of Optuna's `JournalStorage`, with one writer and reader.

    Optuna's own flushes every line to the disk, two or three for each trial. This file
    can be made anew at any time, so that its lines may wait and need not be durable.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_bytes().splitlines() if path.exists() else []
        self._unread = [json.loads(line) for line in lines]
        self._read = 0
        self._unwritten: list[bytes] = []

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """The entries from a number on; those before it are not asked for again."""
        del self._unread[: log_number_from - self._read]
        self._read = log_number_from
        return list(self._unread)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add entries."""
        lines = [json.dumps(log, separators=(",", ":")).encode() for log in logs]
        self._unread += map(json.loads, lines)
        self._unwritten += lines

    def flush(self) -> None:
        """Write the entries that were added."""
        if self._unwritten:
            with self._path.open("ab") as file:
                file.write(b"\n".join(self._unwritten) + b"\n")
            self._unwritten.clear()
