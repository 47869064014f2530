"""Which GPUs there are, and who uses them.

A GPU is taken by holding a lock on a small file, one file for every job that a GPU may have at once. The lock belongs to the job's
process: it is given back when that ends, however it ends, and every driver of the same user on the machine respects it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

__all__ = ["GpuSlots", "visible_gpus"]

_TOOL = "nvidia-smi"


def visible_gpus() -> tuple[str, ...]:
    """The ids of the GPUs that a job may be given: those of `CUDA_VISIBLE_DEVICES`, or else all that `nvidia-smi` lists."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return tuple(name.strip() for name in listed.split(",") if name.strip() not in {"", "-1"})
    return installed_gpus()


def installed_gpus() -> tuple[str, ...]:
    """The ids `"0"`, `"1"`, … of the GPUs that `nvidia-smi` lists; none without that program."""
    tool = shutil.which(_TOOL)
    if tool is None:
        return ()
    try:
        found = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False, timeout=30)  # noqa: S603  # fixed words
    except (OSError, subprocess.TimeoutExpired):
        return ()
    count = sum(line.startswith("GPU ") for line in found.stdout.splitlines())
    return tuple(str(number) for number in range(count)) if found.returncode == 0 else ()


class GpuSlots:
    """Room for jobs on GPUs.

    Args:
        names: Ids of the GPUs to use.
        jobs_per_gpu: How many jobs may share one GPU.
        directory: Where the lock files are; a directory of this user's among the temporary files if `None`.
    """

    def __init__(self, names: Sequence[str], jobs_per_gpu: int = 1, directory: Path | None = None) -> None:
        self.names = tuple(names)
        self.jobs_per_gpu = jobs_per_gpu
        self._directory = Path(tempfile.gettempdir(), f"hypnet-gpus-{os.getuid()}") if directory is None else directory

    def take(self, count: int) -> tuple[list[str], list[int]] | None:
        """Take room on `count` different GPUs, the emptiest first.

        Returns:
            The GPUs' ids and open files that hold the room until the last copy of them is closed; `None` if there is not enough
            room now.
        """
        taken: dict[str, int] = {}
        if count:
            self._directory.mkdir(mode=0o700, exist_ok=True)
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
        path = self._directory / f"{quote(name, safe='')}.{place}"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock
