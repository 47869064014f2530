"""Errors of damaged MATLAB files."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from pathlib import Path

from hypnet_core.errors import DataError


@contextlib.contextmanager
def reading_matlab(file: Path, expected: str, remedy: str) -> Iterator[None]:
    """Turn whatever scipy raises on a damaged file into one error.

    Args:
        file: The file that is read inside the context.
        expected: What the file should be.
        remedy: What to do about it.

    Raises:
        DataError: The file cannot be read, or is damaged.
    """
    from scipy.io.matlab import MatReadError

    try:
        yield
    # scipy's reader fails in many ways on a damaged file.
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        NotImplementedError,
        MemoryError,
        EOFError,
        OSError,
        zlib.error,
        MatReadError,
    ) as error:
        # scipy raises `OSError` without a number for damaged content.
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"cannot read {file}: {error.strerror}") from error
        raise DataError(f"{file} is not {expected} ({error}): {remedy}") from error
