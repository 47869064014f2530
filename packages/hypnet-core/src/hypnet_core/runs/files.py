"""Atomic file writes: to a temporary file, flushed to disk, then renamed."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypnet_core.errors import RunError


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file atomically: readers see the old content or the new one.

    Raises:
        RunError: The file cannot be written; its old content is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    # Beside the target: a rename is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            # Without this a crash after the rename may leave an empty file.
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # on a read-only file system even that fails
            temporary.unlink()
        raise RunError(f"cannot write {path}: {error.strerror}") from error


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically.

    Raises:
        RunError: The file cannot be written, or the value cannot be written as JSON
            (NaN and infinity cannot).
    """
    try:
        # NaN and infinity are no JSON; other programs could not read the file.
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RunError(f"cannot write {path}: {error}") from error
    write_atomic(path, text + "\n")


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
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from error


def append_line(path: Path, line: str) -> None:
    """Append one line to a file, in a single write.

    Raises:
        RunError: The file cannot be written.
    """
    try:
        with path.open("ab", buffering=0) as file:
            file.write(line.encode() + b"\n")
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error


def make_directory(path: Path) -> None:
    """Create a directory and its parents.

    Raises:
        RunError: They cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make the directory {path}: {error.strerror}") from error
