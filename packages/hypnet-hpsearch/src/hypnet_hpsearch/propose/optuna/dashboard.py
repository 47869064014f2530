"""The study that `optuna-dashboard` shows, a file made from the ledger.

Needs the extra `optuna`.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress

from hypnet_hpsearch._text import error_in_one_line
from hypnet_hpsearch.propose.optuna.components import optuna
from hypnet_hpsearch.propose.optuna.study import Study
from hypnet_hpsearch.spec.space import Space
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.store import Store

__all__ = ["STUDY", "StudyFile"]

STUDY = "optuna.log"


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
        """Write the news, at most once a second."""
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Write the news."""
        started = time.monotonic()
        if self.problem or not self._is_ours():
            return
        try:
            self._study = self._study or self._opened()
            self._study.follow(self._store)
        except Exception as error:  # noqa: BLE001  no error here may end the search
            self.problem = f"{self.path} is not kept up to date: {error_in_one_line(error)}"
        # A large study takes long to write, so spend at most 5 % of the time on it.
        now = time.monotonic()
        self._next = now + max(1.0, 20 * (now - started))

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
            found.adopt(self._store)
        except Exception:  # noqa: BLE001  the ledger holds all that this file does
            self.path.unlink(missing_ok=True)
            return self._loaded()
        return found

    def _mend(self) -> None:
        """Remove a line that a crash tore: Optuna would append to it and lose both."""
        if not self.path.exists():
            return
        with self.path.open("r+b") as file:
            data = file.read()
            file.truncate(data.rfind(b"\n") + 1)

    def _loaded(self) -> Study:
        journal = optuna().storages.journal
        lock = journal.JournalFileOpenLock(str(self.path), grace_period=5)
        storage = optuna().storages.JournalStorage(
            journal.JournalFileBackend(str(self.path), lock_obj=lock)
        )
        return Study(self._spec, Space.of(self._spec), storage)
