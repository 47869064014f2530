"""Paths of a command: Python's own, with the working directory last, and `~`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def working_directory_importable() -> Iterator[None]:
    """Find modules of the working directory, after all others, in a block.

    A user's own dataset or network needs no installation then, and shadows nothing.
    """
    before = list(sys.path)
    with contextlib.suppress(OSError):  # it may have been deleted
        make_importable(os.getcwd())  # noqa: PTH109  a text, as the path has
    try:
        yield
    finally:
        sys.path[:] = before


def at_home(argument: str) -> str:
    """An argument with the home directory for `~`, also in `--out=~/x`.

    Shells leave that to the program.

    Example:
        >>> at_home("--out=~/x") == f"--out={os.path.expanduser('~/x')}"
        True
    """
    flag, sign, path = argument.partition("=")
    if not (sign and flag.startswith("--")):
        flag, sign, path = "", "", argument
    is_home = path == "~" or path.startswith("~/")
    # Without a home directory it stays as it is.
    return f"{flag}{sign}{os.path.expanduser(path)}" if is_home else argument  # noqa: PTH111


def make_importable(directory: str | None) -> None:
    """Put a directory last on the path, unless it is there."""
    if directory is not None and directory not in sys.path:
        sys.path.append(directory)
