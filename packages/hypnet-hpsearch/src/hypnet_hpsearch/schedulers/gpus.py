"""Room for jobs on GPUs, shared between drivers.

A GPU is taken by holding a lock on a small file, one file for every job that a GPU may have at once. The lock belongs to the job's
process: it is given back when that ends, however it ends, and every driver of the same user on the machine respects it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["GpuSlots"]


class GpuSlots:
    """Room for jobs on GPUs.

    Args:
        names: Ids of the GPUs to use.
        jobs_per_gpu: How many jobs may share one GPU.
        directory: Where the lock files are; it is made when it is needed.
    """

    def __init__(self, names: Sequence[str], jobs_per_gpu: int, directory: Path) -> None:
        self.names = tuple(names)
        self.jobs_per_gpu = jobs_per_gpu
        self.directory = directory

    def take(self, count: int) -> tuple[list[str], list[int]] | None:
        """Take room on `count` different GPUs, the emptiest first.

        Returns:
            The GPUs' ids and open files that hold the room until the last copy of them is closed; `None` if there is not enough
            room now.
        """
        taken: dict[str, int] = {}
        if count:
            self.directory.mkdir(mode=0o700, exist_ok=True)
        for place in range(self.jobs_per_gpu):
            for name in self.names:
                if len(taken) < count and name not in taken:
                    lock = self._lock(name, place)
                    if lock is not None:
                        taken[name] = lock
        if len(taken) < count:
            for lock in taken.values():
                os.close(lock)
            return None
        return list(taken), list(taken.values())

    def _lock(self, name: str, place: int) -> int | None:
        path = self.directory / f"{name.replace(os.sep, '_')}.{place}"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock
