"""One attempt at a trial: runs the command, and writes what came of it whole or not at all.

`python -m hypnet_hpsearch.trial DIRECTORY` is what a scheduler runs. The directory
holds `attempt.json`, which says what to do; this process holds a lock on that file as
long as it or the command lives, so that everybody can see that the attempt is alive. At
the end there is a `result.json`. Only the standard library and what needs no more is
imported, because every trial pays for it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

from hypnet_hpsearch.trial.summaries import NoMetricError, metric_in, numbers_in, read_summary

__all__ = [
    "ATTEMPT",
    "ENDED_FROM_OUTSIDE",
    "ERRORS",
    "OUTPUT",
    "RESULT",
    "RUN",
    "arguments",
    "command",
    "is_command",
    "last_line",
    "main",
    "take_lock",
    "write_once",
]

ATTEMPT = "attempt.json"
RESULT = "result.json"
OUTPUT = "output.txt"
ERRORS = "errors.txt"
RUN = "run"
ENDED_FROM_OUTSIDE = "ended from outside"

_COMMAND = [sys.executable, "-P", "-m", "hypnet_hpsearch.trial"]
_PATIENCE = 5.0  # seconds to wait for somebody who only looks whether the attempt is alive
_LONGEST_REASON = 300
_MOST_NUMBERS = 200
_CANNOT_WRITE = 74
_NOTHING_TO_DO = 75


def command(directory: Path) -> tuple[str, ...]:
    """The command line that runs the attempt in a directory."""
    return (*_COMMAND, str(directory))


def is_command(argv: Sequence[str]) -> bool:
    """Whether a command line is one that `command()` made."""
    return list(argv[:-1]) == _COMMAND


def arguments(argv: Sequence[str]) -> list[str]:
    """The arguments for `main()` in a command line that `command()` made."""
    return list(argv[len(_COMMAND) :])


def write_once(path: Path, text: str) -> bool:
    """Write a file whole and durably, unless it is there already: write beside it, then give it its name.

    Returns:
        Whether the file is this one; `False` if somebody else's was there first.

    Raises:
        OSError: It cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)  # unlike a renamed one, a linked file never replaces another
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            if path.exists():
                return False
            beside.rename(path)
        return True
    finally:
        with suppress(OSError):
            beside.unlink()


def take_lock(directory: Path, patience: float = 0.0) -> int | None:
    """Take an attempt's lock, which is held until the returned file is closed; `None` if the attempt lives.

    Args:
        directory: The attempt's directory.
        patience: Seconds to wait for somebody who only looks.

    Raises:
        FileNotFoundError: The attempt was never written down, so nothing of it can
            live.
    """
    file = _opened(directory / ATTEMPT)
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                os.close(file)
                return None
            time.sleep(0.01)
        else:
            return file


def _opened(path: Path) -> int:
    """Open a file that is to be locked: to write, because NFS gives no lock to who only reads; to read, where that is all there is."""
    try:
        return os.open(path, os.O_RDWR)
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EROFS}:
            raise
        return os.open(path, os.O_RDONLY)


def main(arguments: Sequence[str], ended: Callable[[], object] = lambda: None) -> int:
    """Run the attempt in the directory that is the only argument.

    Args:
        arguments: The directory.
        ended: Called as soon as the command has ended, before its result is written.

    Returns:
        0 if the trial is done, 1 if it failed, other codes if there was nothing to do
        or no way to say so.
    """
    directory = Path(arguments[0])
    try:
        lock = take_lock(directory, _PATIENCE)
        # A driver that gives an attempt up writes its result while it holds the lock,
        # so it is seen here in time.
        if lock is None or directory.joinpath(RESULT).exists():
            return _complain(
                f"{directory}: this attempt was made or given up before; nothing done",
                _NOTHING_TO_DO,
            )
        attempt = json.loads(directory.joinpath(ATTEMPT).read_text(encoding="utf-8"))
        result = _attempt(directory, attempt, lock, ended)
        if not write_once(directory / RESULT, json.dumps(result)):
            return _complain(
                f"{directory}: somebody else wrote a result for this attempt", _NOTHING_TO_DO
            )
    except Exception as error:  # noqa: BLE001  whatever it is, the driver reads this line and says it on
        what = f"{error}" if isinstance(error, OSError) else f"{ATTEMPT} is damaged: {error!r}"
        return _complain(f"{directory}: {what}", _CANNOT_WRITE)
    return 0 if result["state"] == "done" else 1


def _complain(message: str, code: int) -> int:
    with suppress(OSError):
        os.write(2, f"hypnet: {message}\n".encode(errors="replace"))
    return code


def _attempt(
    directory: Path, attempt: Mapping[str, Any], lock: int, ended: Callable[[], object]
) -> dict[str, Any]:
    started = time.time()
    code, reason = _run(directory, attempt, lock)
    ended()
    metric, state, numbers = None, "failed", {}
    if reason is None:
        try:
            summary = read_summary(
                Path(attempt["summary"]), attempt.get("parser", "json"), attempt["cwd"]
            )
            metric = metric_in(summary, attempt["metric"], Path(attempt["summary"]).name)
            numbers = dict(islice(numbers_in(summary), _MOST_NUMBERS))
            state = "done"
        except NoMetricError as error:
            reason = str(error)[:_LONGEST_REASON]
        except RecursionError:
            reason = f"its {Path(attempt['summary']).name} is nested too deeply"
    return {
        "trial": attempt["trial"],
        "attempt": attempt["attempt"],
        "state": state,
        "metric": _plain(metric),
        "numbers": {key: _plain(value) for key, value in numbers.items()},
        "reason": reason,
        "exit_code": code,
        "started": started,
        "ended": time.time(),
        "host": os.uname().nodename,
    }


def _run(directory: Path, attempt: Mapping[str, Any], lock: int) -> tuple[int | None, str | None]:
    """Run the command; its exit code (negative for a signal), and what went wrong."""
    asked: list[int] = []
    processes: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        asked.append(number)
        for process in processes:
            os.kill(process, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    argv = attempt["argv"]
    try:
        process = _spawn(directory, attempt, lock)
    except OSError as error:
        where = f" in {attempt['cwd']}" if error.filename == attempt["cwd"] else ""
        return None, f"cannot start {argv[0]!r}{where}: {error.strerror}"
    processes.append(process)
    if asked:
        os.kill(process, asked[-1])
    if hasattr(os, "waitid"):
        # See its end, but do not collect it yet, so that a signal cannot reach another
        # process that was given its number.
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        processes.clear()
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code and asked:
        return code, f"{ENDED_FROM_OUTSIDE} by {signal.Signals(asked[0]).name}"
    return code, _why(code, directory / ERRORS) if code else None


def _spawn(directory: Path, attempt: Mapping[str, Any], lock: int) -> int:
    """Start the command; an argument list, never a shell."""
    directory.joinpath(RUN).mkdir(exist_ok=True)
    os.chdir(attempt["cwd"])
    # The command holds the lock too: should this process be killed, the attempt counts
    # as alive until the command has ended.
    os.set_inheritable(lock, True)
    argv = attempt["argv"]
    return os.posix_spawnp(
        argv[0],
        argv,
        {**os.environ, **attempt["env"]},
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setsigdef=[
            signal.SIGPIPE,
            signal.SIGXFSZ,
        ],  # Python ignores them, other programs do not expect that
    )


def _why(code: int, errors: Path) -> str:
    """Why a command failed, with the last line of its error output."""
    end = f"exit code {code}"
    if code < 0:
        with suppress(ValueError):
            end = f"killed by {signal.Signals(-code).name}"
    last = last_line(errors)
    return f"{end}: {last}" if last else end


def last_line(path: Path) -> str:
    """The last line of a file that is not blank, cut if it is long; empty if there is none."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        return next((line[:_LONGEST_REASON] for line in reversed(lines) if line), "")
    return ""


def _plain(value: float | None) -> float | str | None:
    """A number as JSON knows it; NaN and infinities as text."""
    return value if value is None or math.isfinite(value) else str(value)
