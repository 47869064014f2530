"""Calls of a batch system's programs, with lists of arguments and timeouts."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hypnet_core.errors import SchedulerError, SchedulerUnavailableError
from hypnet_hpsearch._text import in_one_line

__all__ = ["Answer", "lacking", "run", "said_by"]


class Answer(NamedTuple):
    """The outcome of a program.

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
        timeout: Seconds to wait.

    Raises:
        SchedulerError: There is no such program.
        SchedulerUnavailableError: It did not end in time, or could not be started.
    """
    try:
        found = subprocess.run(
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
    """The programs that this machine lacks, in one line; `None` if it lacks none.

    Args:
        programs: Names of the programs.
        system: Name of the batch system that they belong to.
    """
    missing = [program for program in programs if shutil.which(program) is None]
    return (
        f"{system} is not installed here: there is no {' and no '.join(missing)} on the PATH"
        if missing
        else None
    )


def said_by(answer: Answer) -> str:
    """The error output of a program in one line, or else its exit code."""
    return in_one_line(answer.err) or f"exit code {answer.code}"
