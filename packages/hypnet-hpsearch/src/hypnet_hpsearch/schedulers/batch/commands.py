"""The programs of a batch system: called with a list of arguments, never through a shell, and never waited for without end."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hypnet_core.errors import SchedulerError, SchedulerUnavailableError

__all__ = ["Answer", "in_one_line", "lacking", "run"]


class Answer(NamedTuple):
    """What a program said.

    Attributes:
        code: Its exit code.
        out: Its output.
        err: Its error output.
    """

    code: int
    out: str
    err: str


def run(
    argv: Sequence[str], *, text: str = "", env: Mapping[str, str] | None = None, timeout: float
) -> Answer:
    """Run a program and wait for its end.

    Args:
        argv: The program and its arguments.
        text: Its input.
        env: Its environment; this process's if `None`.
        timeout: Seconds after which it is given up.

    Raises:
        SchedulerError: There is no such program.
        SchedulerUnavailableError: It did not end in time, or could not be started.
    """
    try:
        found = subprocess.run(  # noqa: S603  # an argument list
            argv,
            input=os.fsencode(text),
            capture_output=True,
            env=env,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise SchedulerError(f"there is no program {argv[0]!r} on the PATH") from None
    except subprocess.TimeoutExpired:
        raise SchedulerUnavailableError(f"{argv[0]} did not answer within {timeout:g} s") from None
    except OSError as error:
        raise SchedulerUnavailableError(f"{argv[0]} cannot be started: {error.strerror}") from None
    return Answer(
        found.returncode,
        found.stdout.decode(errors="replace"),
        found.stderr.decode(errors="replace"),
    )


def lacking(programs: Sequence[str], system: str) -> str | None:
    """Which of some programs this machine lacks, in one line about the system that they belong to; `None` if it lacks none."""
    missing = [program for program in programs if shutil.which(program) is None]
    return (
        f"{system} is not installed here: there is no {' and no '.join(missing)} on the PATH"
        if missing
        else None
    )


def in_one_line(text: str, longest: int = 300) -> str:
    """What a program said, as part of a message."""
    return " ".join(text.split())[:longest]
