"""The code of a task of Ray: it runs one job as a process.

Only the standard library is imported here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

__all__ = ["OVERDUE", "run_job"]

OVERDUE = "over its time limit"

_LOOK = 0.05  # seconds between two looks at the process, when Ray can deliver a cancellation


def run_job(order: Mapping[str, Any]) -> Iterator[int | str | None]:
    """Run a job and wait for its end, or for its time limit.

    Args:
        order: `argv`, `cwd`, `env`, `stdout`, `stderr`, `limit` and `grace` (seconds).

    Yields:
        First `None`, as soon as the task runs; then the exit code, or text that says
        why there is none.
    """
    yield None
    try:
        process = _started(order)
    except OSError as error:
        yield f"cannot start {order['argv'][0]!r}: {error.strerror}: {error.filename}"
        return
    end = float("inf") if order["limit"] is None else time.monotonic() + order["limit"]
    try:
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > end:
                _ask_to_end(process.pid, order["grace"])
                yield OVERDUE
                return
            time.sleep(_LOOK)
    except BaseException:  # cancelled
        _ask_to_end(process.pid, order["grace"])
        raise
    finally:
        # Signal the group before the process is collected: until then the system does
        # not reuse its number.
        _signal(process.pid, signal.SIGKILL)
        code = process.wait()
    yield code


def _started(order: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    with ExitStack() as files:
        errors = files.enter_context(_opened(order["stderr"]))
        try:
            output = files.enter_context(_opened(order["stdout"]))
        except OSError as error:
            errors.write(f"hypnet: {error.strerror}: {error.filename}\n".encode(errors="replace"))
            raise
        return subprocess.Popen(
            order["argv"],
            cwd=order["cwd"],
            env={**os.environ, **order["env"]},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            # So that all that the job starts can be ended with it.
            start_new_session=True,
        )


def _opened(path: str) -> IO[bytes]:
    return Path(path).open("ab", buffering=0)


def _ask_to_end(pid: int, grace: float) -> None:
    """Ask a process and its group to end, and give them time to do so."""
    _signal(pid, signal.SIGTERM)
    end = time.monotonic() + grace
    while (
        time.monotonic() < end
        and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    ):
        time.sleep(_LOOK)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
