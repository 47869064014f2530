"""Lock files of the drivers of a search.

A driver holds a lock on a file of its own. The operating system releases the lock when
the driver's process ends, so any process can tell which drivers are alive.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

from hypnet_core.errors import RunError
from hypnet_core.runs import make_directory

__all__ = ["DriverLock", "is_present", "present"]

_DRIVERS = "drivers"


class DriverLock:
    """The lock of this process as a driver of a search.

    Args:
        directory: The search's directory.

    Attributes:
        name: Name of the driver in the journal.

    Raises:
        RunError: The directory cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        make_directory(directory / _DRIVERS)
        # Unique also among drivers of several machines on a shared file system.
        self.name = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(3)}"
        self._path = directory / _DRIVERS / self.name
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except OSError as error:
            raise RunError(f"cannot write {self._path}: {error.strerror}") from None

    def release(self) -> None:
        """Release the lock and remove its file."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def is_present(directory: Path, name: str) -> bool:
    """Whether a driver of a search is alive."""
    try:
        file = os.open(directory / _DRIVERS / Path(name).name, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    # A lock that cannot be taken is held by a living process.
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def present(directory: Path) -> list[str]:
    """The names of the drivers of a search that are alive."""
    try:
        with os.scandir(directory / _DRIVERS) as entries:
            names = sorted(entry.name for entry in entries)
    except FileNotFoundError:
        return []
    return [name for name in names if is_present(directory, name)]
