"""Directories of new runs."""

from __future__ import annotations

import errno
import itertools
import os
import time
from pathlib import Path

from hypnet_core.errors import RunError
from hypnet_core.runs.run import check_new


def new_directory(name: str, *, make: bool) -> Path:
    """A new directory below `runs/`, named after the current second.

    Args:
        name: Name of the experiment.
        make: Whether to make it, which claims it: another run of the same second may
            look for one.

    Raises:
        RunError: It cannot be made.
    """
    base = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in itertools.count(1):
        path = base if number == 1 else base.with_name(f"{base.name}-{number}")
        if not make:
            if path.exists():
                continue
            break
        # Making the directory claims it: `exists` and `mkdir` would leave a gap.
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise RunError(f"cannot make the directory {path}: {error.strerror}") from error
        break
    return path


def check_directory(directory: Path) -> None:
    """Check what `Run.create` would refuse, without creating anything.

    Raises:
        RunError: The directory is not empty, or cannot be made.
    """
    if directory.is_dir():
        check_new(directory)
    elif directory.exists():
        raise RunError(f"{directory} is not a directory: choose a new one")
    # The deepest directory that exists must allow new ones in it.
    nearest = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return
    read_only = os.statvfs(nearest).f_flag & os.ST_RDONLY
    number = errno.EROFS if read_only else errno.EACCES if nearest.is_dir() else errno.ENOTDIR
    raise RunError(f"cannot make the directory {directory}: {os.strerror(number)} ({nearest})")
