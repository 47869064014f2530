"""Slots for jobs on GPUs, shared between drivers.

A GPU has one small lock file for every job that it may run at once. A job's process
holds the lock: it is released when the process ends, however it ends, and all drivers
of the same user on the machine respect it. Another file, which they respect too, tells
when a job was last started on the GPU.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hypnet_hpsearch.schedulers.local.usage import Gauge, Limits

__all__ = ["GpuSlots"]


class GpuSlots:
    """Slots for jobs on GPUs.

    Args:
        names: Ids of the GPUs to use.
        jobs_per_gpu: Number of jobs that may share a GPU.
        directory: Directory of the lock files; it is created when it is needed.
        limits: How busy a GPU may be when a job starts there.
    """

    def __init__(
        self, names: Sequence[str], jobs_per_gpu: int, directory: Path, limits: Limits
    ) -> None:
        self.names = tuple(names)
        self.jobs_per_gpu = jobs_per_gpu
        self.directory = directory
        self.gauge = Gauge(limits)

    def take(self, count: int) -> tuple[list[str], list[int]] | None:
        """Take slots on `count` different GPUs, the least occupied first.

        Returns:
            The GPUs' ids, and file descriptors that hold the slots until their last
            copy is closed; `None` if there are not enough free slots now.
        """
        if not count:
            return [], []
        taken: dict[str, int] = {}
        self.directory.mkdir(mode=0o700, exist_ok=True)
        names = [
            name for name in self.names if not self._is_starting(name) and self.gauge.allows(name)
        ]
        # Slot by slot rather than GPU by GPU: so the least occupied GPUs come first.
        for place in range(self.jobs_per_gpu):
            for name in names:
                if len(taken) < count and name not in taken:
                    lock = self._lock(name, place)
                    if lock is not None:
                        taken[name] = lock
        # All or nothing: a job that holds some GPUs while it waits for others can
        # deadlock.
        if len(taken) < count:
            for lock in taken.values():
                os.close(lock)
            return None
        if self.gauge.limits.pause:
            for name in taken:
                self._note_start(name)
        return list(taken), list(taken.values())

    def _is_starting(self, name: str) -> bool:
        """Whether a job was started on a GPU just now."""
        pause = self.gauge.limits.pause
        if pause <= 0:
            return False
        with suppress(OSError, ValueError):
            started = float(self._file(name, "started").read_text(encoding="ascii"))
            return 0 <= time.monotonic() - started < pause
        return False

    def _note_start(self, name: str) -> None:
        # The monotonic clock, which all processes of a machine share, because that of
        # the wall may be set. It begins anew when the machine boots.
        file = os.open(
            self._file(name, "started"),
            os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW,
            0o600,
        )
        try:
            os.write(file, repr(time.monotonic()).encode())
        finally:
            os.close(file)

    def _file(self, name: str, what: object) -> Path:
        return self.directory / f"{name.replace(os.sep, '_')}.{what}"

    def _lock(self, name: str, place: int) -> int | None:
        path = self._file(name, place)
        # The directory is in a world-writable place: do not follow a stranger's link.
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock
