"""The process around one attempt: it runs the command and records the outcome.

`python -m hypnet_hpsearch.trial DIRECTORY` is the command line of every job. The
directory holds `attempt.json`, which says what to run. The process locks that file for
as long as it or the command lives, so that any process can tell whether the attempt is
alive. At the end it writes `result.json` atomically. It imports only the standard
library, because every trial pays for the imports.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from hypnet_hpsearch.trial.files import (
    ATTEMPT,
    ERRORS,
    RESULT,
    RUN,
    last_line,
    take_lock,
    write_once,
)
from hypnet_hpsearch.trial.outcomes import outcome_of
from hypnet_hpsearch.trial.records import ENDED_FROM_OUTSIDE, AttemptRecord, ResultRecord

__all__ = ["arguments", "command", "is_command", "main"]

_COMMAND = [sys.executable, "-P", "-m", "hypnet_hpsearch.trial"]
_PATIENCE = 5.0  # seconds to wait for a process that only checks whether the attempt is alive
_CANNOT_WRITE = 74
_NOTHING_TO_DO = 75


def command(directory: Path) -> tuple[str, ...]:
    """The command line that runs the attempt in a directory."""
    return (*_COMMAND, str(directory))


def is_command(argv: Sequence[str]) -> bool:
    """Whether `command()` made a command line."""
    return list(argv[:-1]) == _COMMAND


def arguments(argv: Sequence[str]) -> list[str]:
    """The arguments of `main()` in a command line that `command()` made."""
    return list(argv[len(_COMMAND) :])


def main(arguments: Sequence[str], ended: Callable[[], object] = lambda: None) -> int:
    """Run the attempt in the directory that is the only argument.

    Args:
        arguments: The directory.
        ended: Called as soon as the command has ended, before its result is written.

    Returns:
        0 if the trial is done, 1 if it failed, 75 if there was nothing to do, 74 if the
        result could not be written.
    """
    directory = Path(arguments[0])
    try:
        lock = take_lock(directory, _PATIENCE)
        # A driver that gives an attempt up writes the result while it holds the lock,
        # so this process cannot miss it.
        if lock is None or directory.joinpath(RESULT).exists():
            return _complain(
                f"{directory}: this attempt was run or given up before; nothing done",
                _NOTHING_TO_DO,
            )
        attempt: AttemptRecord = json.loads(directory.joinpath(ATTEMPT).read_text("utf-8"))
        result = _attempt(directory, attempt, lock, ended)
        if not write_once(directory / RESULT, json.dumps(result)):
            return _complain(
                f"{directory}: another process wrote a result for this attempt", _NOTHING_TO_DO
            )
    except OSError as error:
        return _complain(f"{directory}: {error}", _CANNOT_WRITE)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        return _complain(f"{directory}: {ATTEMPT} is damaged: {error!r}", _CANNOT_WRITE)
    return 0 if result["state"] == "done" else 1


def _complain(message: str, code: int) -> int:
    """Write one line to stderr, from where the driver quotes it."""
    with suppress(OSError):
        os.write(2, f"hypnet: {message}\n".encode(errors="replace"))
    return code


def _attempt(
    directory: Path, attempt: AttemptRecord, lock: int, ended: Callable[[], object]
) -> ResultRecord:
    # The clock of the wall may be set while the trial runs.
    started, since = time.time(), time.monotonic()
    code, reason = _run(directory, attempt, lock)
    seconds = time.monotonic() - since
    # The launcher can start the next trial while this one's result is flushed to disk.
    ended()
    result = outcome_of(attempt, reason, started=started, seconds=seconds)
    return {**result, "exit_code": code}


def _run(directory: Path, attempt: AttemptRecord, lock: int) -> tuple[int | None, str | None]:
    """Run the command; its exit code, or minus its signal, and why it failed."""
    asked: list[int] = []
    processes: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        asked.append(number)
        for process in processes:
            os.kill(process, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    argv = _arguments(directory, attempt)
    try:
        process = _spawn(directory, attempt, argv, lock)
    except OSError as error:
        where = f" in {attempt['cwd']}" if error.filename == attempt["cwd"] else ""
        return None, f"cannot start {argv[0]!r}{where}: {error.strerror}"
    processes.append(process)
    if asked:  # the signal came before the process was known to `stop`
        os.kill(process, asked[-1])
    if hasattr(os, "waitid"):
        # Wait without collecting the process: until it is collected its number is not
        # reused, so `stop` cannot signal an unrelated process.
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        processes.clear()
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code and asked:
        return code, f"{ENDED_FROM_OUTSIDE} by {signal.Signals(asked[0]).name}"
    return code, _why(code, directory / ERRORS) if code else None


def _arguments(directory: Path, attempt: AttemptRecord) -> Sequence[str]:
    """The command line: it goes on from an earlier attempt, if that can be found."""
    resume = attempt.get("resume")
    if resume is None:
        return attempt["argv"]
    if resume["move"]:
        # At once there or here, whatever is killed: later attempts look for it.
        with suppress(OSError):
            Path(resume["previous"]).rename(directory / RUN)
            return resume["argv"]
    elif Path(resume["previous"]).is_dir():
        return resume["argv"]
    return attempt["argv"]


def _spawn(directory: Path, attempt: AttemptRecord, argv: Sequence[str], lock: int) -> int:
    directory.joinpath(RUN).mkdir(exist_ok=True)
    # posix_spawn cannot change the directory, and an OSError names it.
    os.chdir(attempt["cwd"])
    # The command inherits the lock: if this process is killed, the attempt still counts
    # as alive until the command has ended.
    os.set_inheritable(lock, True)
    environment: Mapping[str, str] = {**os.environ, **attempt["env"]}
    return os.posix_spawnp(
        argv[0],
        [*argv],
        environment,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        # Python ignores these signals; other programs rely on their default action.
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )


def _why(code: int, errors: Path) -> str:
    """Why a command failed, with the last line of its error output."""
    end = f"exit code {code}"
    if code < 0:
        with suppress(ValueError):
            end = f"killed by {signal.Signals(-code).name}"
    last = last_line(errors)
    return f"{end}: {last}" if last else end
