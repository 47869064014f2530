"""Containment of foreign code: its output, and the crashes it causes."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from hypnet_core.errors import clipped, error_line, safe_repr


@contextlib.contextmanager
def output_to_stderr() -> Iterator[None]:
    """Send what is written to stdout to stderr, also by file descriptor.

    stdout belongs to the data of the command: a plugin that prints while it is imported
    must not end up in JSON.
    """
    with contextlib.redirect_stdout(sys.stderr):
        try:
            # What was printed before must not end up in stderr.
            sys.__stdout__.flush() if sys.__stdout__ else None
            # By descriptor: libraries in C do not write through `sys.stdout`.
            saved = os.dup(1)
        except (OSError, ValueError):  # there is no stdout to protect
            yield
            return
        try:
            with contextlib.suppress(OSError):  # without stderr the output stays where it is
                os.dup2(2, 1)
            yield
        finally:
            os.dup2(saved, 1)
            os.close(saved)


def shown_briefly(value: object) -> str:
    """A value and its type for a message, even if its `__repr__` raises."""
    return f"{clipped(safe_repr(value), 60)} ({type(value).__name__})"


def story_of(error: BaseException) -> str:
    """The traceback of foreign code, or the message alone if it cannot be formatted."""
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001  an exception whose methods raise
        return error_line(error)


_numbers = itertools.count()


@contextlib.contextmanager
def marked(plugin: str, what: str = "it") -> Iterator[None]:
    """Leave a file behind if the process dies while foreign code is being loaded.

    A segmentation fault or `os._exit` leaves no chance to say anything; the next start
    finds the file, see `crash_reports`.

    Args:
        plugin: The plugin.
        what: The part of it that is loaded, for the report.
    """
    # Homes may be shared by several machines, whose process ids overlap. The number
    # keeps apart what is loaded inside of each other.
    marker = cache_directory() / f"loading-{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"
    with contextlib.suppress(OSError):  # a read-only home is no reason not to start
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(f"{plugin}\n{what}", encoding="utf-8")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            marker.unlink()


def crash_reports() -> list[str]:
    """One line for each process of this machine that died while it loaded a plugin."""
    lines = []
    prefix = f"loading-{socket.gethostname()}-"
    with contextlib.suppress(OSError):
        for marker in sorted(cache_directory().glob(f"{prefix}*")):
            if _is_alive(marker.name.removeprefix(prefix).partition("-")[0]):
                continue
            text = marker.read_text(encoding="utf-8", errors="replace")
            marker.unlink()
            name, _, what = clipped(text, 200).partition("\n")
            lines.append(
                f"plugin {name!r}: an earlier start ended while {what or 'it'} was being loaded;"
                f" if that happens again, leave the plugin out: HYPNET_PLUGINS=-{name}"
            )
    return lines


def _is_alive(pid: str) -> bool:
    try:
        # Signal 0 only asks whether the process exists.
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError, OverflowError):
        return True  # a process of somebody else, or not our file
    return True


def cache_directory() -> Path:
    """The folder of files that can be made again."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "hypnet"
