"""Atomic file writes: to a temporary file, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from hypnet_core.errors import RunError, message_of


@contextmanager
def atomic_file(path: Path, *, new: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only when it is complete.

    After an error or a crash, the previous content of `path` is untouched.

    Args:
        path: The file.
        new: Whether the file must not exist: of several writers one succeeds.

    Raises:
        FileExistsError: The file exists, and `new` was asked for.
        OSError: The file cannot be written: no permission, or the disk is full.
    """
    # Beside the target: a rename is atomic only within one file system.
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        # `x` refuses an existing file: nobody else uses this name.
        with unfinished.open("xb") as file:
            yield cast("BinaryIO", file)
            file.flush()
            os.fsync(file.fileno())  # the name must not reach the disk before the content
        if new:
            os.link(unfinished, path)  # a rename would replace the file of a competitor
        else:
            unfinished.replace(path)
    finally:
        with suppress(OSError):  # on a read-only file system even that fails
            unfinished.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes, *, new: bool = False) -> None:
    """Write a file atomically: readers see the old content or the new one.

    Raises:
        RunError: The file cannot be written; its old content is untouched.
        FileExistsError: The file exists, and `new` was asked for.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        with atomic_file(path, new=new) as file:
            file.write(data)
    except OSError as error:
        if new and isinstance(error, FileExistsError):
            # Callers that ask for a new file handle this case themselves.
            raise
        raise RunError(f"cannot write {path}: {error.strerror}") from error


def write_json(path: Path, value: Any, *, new: bool = False) -> None:
    """Write a value as indented JSON, atomically.

    Raises:
        RunError: The file cannot be written, or the value cannot be written as JSON
            (NaN and infinity cannot).
        FileExistsError: The file exists, and `new` was asked for.
    """
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RunError(f"cannot write {path}: {error}") from error
    write_atomic(path, text + "\n", new=new)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RunError: It is missing, unreadable or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"there is no {path}") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {message_of(error)}") from error


def append_line(path: Path, line: str) -> None:
    """Append one line to a file, in a single write: all of it or nothing.

    Raises:
        RunError: The file cannot be written.
    """
    data = line.encode() + b"\n"
    try:
        # Unbuffered: one call of the system, which appends at the very end.
        with path.open("ab", buffering=0) as file:
            start = file.tell()
            written = file.write(data)
            if written != len(data):
                # The disk is nearly full. The next record must not join half a line.
                file.truncate(start)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
    if written != len(data):
        raise RunError(f"cannot write {path}: {os.strerror(errno.ENOSPC)}")


def make_directory(path: Path) -> None:
    """Make a directory and its parents.

    Raises:
        RunError: That is not possible.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the directory {path}: {error.strerror}") from error
