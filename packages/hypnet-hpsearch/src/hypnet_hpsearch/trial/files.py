"""The directory of one attempt: names of its files, its lock, and write-once files."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "ATTEMPT",
    "DIRECTORY_VARIABLE",
    "ERRORS",
    "LONGEST_REASON",
    "OUTPUT",
    "PRUNED",
    "REPORTS",
    "RESULT",
    "RUN",
    "RUN_METRICS",
    "RUN_SUMMARY",
    "last_line",
    "open_file",
    "read_text",
    "take_lock",
    "write_once",
]

ATTEMPT = "attempt.json"
RESULT = "result.json"
PRUNED = "pruned.json"
OUTPUT = "output.txt"
ERRORS = "errors.txt"
RUN = "run"
"""The directory that the trial may write to."""

REPORTS = "reports.jsonl"
"""Intermediate results of a command, in `RUN`."""

RUN_METRICS = "metrics.jsonl"
"""Metrics that a run of an experiment writes step by step, in `RUN`."""

RUN_SUMMARY = "summary.json"
"""Results of a run of an experiment, in `RUN`."""

DIRECTORY_VARIABLE = "HYPNET_TRIAL_DIR"
"""Environment variable with the path of `RUN`."""

LONGEST_REASON = 300
"""Characters of a reason that are kept."""


def write_once(path: Path, text: str) -> bool:
    """Write a file atomically and durably, unless it exists already.

    Returns:
        Whether this call wrote the file; `False` if it existed before.

    Raises:
        OSError: It cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            # A result must survive a power failure, because its trial is never run
            # again.
            os.fsync(file.fileno())
        try:
            os.link(beside, path)  # unlike a rename, a link never replaces a file
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            if path.exists():
                return False
            beside.rename(path)
        return True
    finally:
        with suppress(OSError):
            beside.unlink()


def take_lock(directory: Path, patience: float = 0.0) -> int | None:
    """Take the lock of an attempt; `None` if the attempt is alive.

    The lock is held until the returned file descriptor is closed.

    Args:
        directory: The attempt's directory.
        patience: Seconds to wait for a process that only checks the lock.

    Raises:
        FileNotFoundError: The attempt was never recorded, so no process of it can be
            alive.
    """
    file = _opened(directory / ATTEMPT)
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                os.close(file)
                return None
            time.sleep(0.01)
        else:
            return file


def _opened(path: Path) -> int:
    """Open a file to lock it."""
    try:
        # NFS grants an exclusive lock only on a file that is open for writing.
        return os.open(path, os.O_RDWR)
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EROFS}:
            raise
        return os.open(path, os.O_RDONLY)


def read_text(path: Path, last: int | None = None) -> str:
    """The text of a file that a trial may have written.

    A pipe or a device in its place, from which reading might never end, is refused.

    Args:
        path: The file.
        last: Read only about this many bytes at its end; undecodable ones are replaced.

    Raises:
        OSError: It cannot be read, or is not a regular file.
        UnicodeDecodeError: It is not UTF-8, and is read whole.
    """
    with open_file(path) as file:
        if last is None:
            return file.read().decode()
        file.seek(max(0, os.fstat(file.fileno()).st_size - last))
        return file.read().decode(errors="replace")


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading; anything else is refused without waiting.

    Raises:
        OSError: It cannot be read, or is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def last_line(path: Path) -> str:
    """The last nonblank line of a file, shortened; empty if there is none."""
    with suppress(OSError):
        # An error output may be huge; its end is enough.
        lines = [line.strip() for line in read_text(path, 4096).splitlines()]
        return next((line[:LONGEST_REASON] for line in reversed(lines) if line), "")
    return ""
