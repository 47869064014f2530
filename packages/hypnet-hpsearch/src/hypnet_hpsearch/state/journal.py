"""An append-only journal of events, written by several processes.

It is readable after any crash.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hypnet_core.errors import RunError

__all__ = ["Journal"]

_TAIL = 64  # bytes that are compared to notice that the file was replaced


class Journal:
    """Events in a file, one JSON object per line.

    Only a process that holds the lock may append. A line that a crash tore, or that was
    damaged otherwise, is skipped and counted; the next event starts a new line. The
    lock is the operating system's: it is released when its process ends.

    Args:
        path: The file; it need not exist. Its lock is the file `PATH.lock` beside it.

    Attributes:
        damaged: The number of lines that could not be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = 0
        self._lock = path.with_name(f"{path.name}.lock")
        self._offset = 0
        self._tail = b""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock, after waiting for it if necessary.

        Raises:
            RunError: The lock file cannot be written, or the file system has no locks.
        """
        path = self._lock
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror}") from None
        try:
            try:
                # flock rather than lockf: its locks belong to the open file, not to the
                # process.
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                raise RunError(f"cannot lock {path}: {error.strerror}") from None
            yield
        finally:
            os.close(lock)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Keep writers away for a moment, so that a reader sees a consistent state.

        This is best effort: a reader without access to the lock goes on without it.
        """
        try:
            lock = os.open(self._lock, os.O_RDONLY)
        except OSError:
            yield
            return
        try:
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_SH)
            yield
        finally:
            os.close(lock)

    def append(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Add events; the caller holds the lock.

        Raises:
            RunError: The file cannot be written. Some of the events may be in it, the
                last one torn.
        """
        text = "".join(json.dumps(event, separators=(",", ":")) + "\n" for event in events)
        try:
            with self.path.open("a+b", buffering=0) as file:
                end = file.seek(0, os.SEEK_END)
                # Do not continue a line that a crash has torn: both would be lost.
                torn = end > 0 and os.pread(file.fileno(), 1, end - 1) != b"\n"
                remaining = ("\n" * torn + text).encode()
                while remaining:
                    remaining = remaining[file.write(remaining) or 0 :]
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror}") from None

    def news(self) -> tuple[bool, list[dict[str, Any]]]:
        """The events that were added since the last call.

        Returns:
            Whether the file was truncated or replaced, so that the caller must discard
            earlier events and the events returned are all there are; and the events.

        Raises:
            RunError: The file cannot be read.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                restarted = self._is_changed(file.fileno())
                # Events that were read before may no longer be there: start again.
                if restarted:
                    self._offset, self._tail, self.damaged = 0, b"", 0
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            restarted, self._offset, self._tail = self._offset > 0, 0, b""
            return restarted, []
        except OSError as error:
            raise RunError(f"cannot read {self.path}: {error.strerror}") from None
        # An incomplete last line may still be in the making: leave it to the next call.
        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        self._tail = (self._tail + complete)[-_TAIL:]
        return restarted, list(self._parsed(complete))

    def _is_changed(self, file: int) -> bool:
        """Whether the end of the part that was read before is different now."""
        return os.pread(file, len(self._tail), self._offset - len(self._tail)) != self._tail

    def _parsed(self, data: bytes) -> Iterator[dict[str, Any]]:
        for line in data.split(b"\n"):
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                self.damaged += bool(line)
                continue
            if isinstance(event, dict):
                yield event
            else:
                self.damaged += 1
