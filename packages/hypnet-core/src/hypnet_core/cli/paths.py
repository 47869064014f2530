"""Python's path during a command: the working directory comes last."""

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


def make_importable(directory: str | None) -> None:
    """Put a directory last on the path, unless it is there."""
    if directory is not None and directory not in sys.path:
        sys.path.append(directory)
