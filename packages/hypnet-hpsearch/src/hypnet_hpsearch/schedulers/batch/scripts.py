"""Scripts for a batch system, of one job or an array of jobs.

Each element of an array runs its own part.

Bash reads the script, so all values are quoted. Even an argument with a line break does
not begin a new line, where a batch system could take it for a directive.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from hypnet_core.errors import SchedulerError
from hypnet_core.jobs import JobSpec

__all__ = ["quoted", "script"]

_CONTROL = {number: f"\\x{number:02x}" for number in (*range(32), 127)} | {
    ord("\\"): "\\\\",
    ord("'"): "\\'",
}
_HAS_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BROKEN = 125  # exit code of a job whose command could not be started


def script(jobs: Sequence[JobSpec], *, setup: Sequence[str] = (), index: str, first: int) -> str:
    """The script of a job, or of several jobs as an array.

    Args:
        jobs: The jobs.
        setup: Lines of bash to run before the command, in every job.
        index: Environment variable with the index of an array's element.
        first: Index of the first element.

    Raises:
        SchedulerError: A job's environment has a name that no shell accepts.
    """
    lines = [
        "#!/bin/bash",
        f'export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-{jobs[0].cpus}}}"',
        # Before the command, so that modules can be loaded.
        *setup,
    ]
    if len(jobs) == 1:
        lines += _body(jobs[0])
    else:
        lines.append(f'case "${index}" in')
        for number, job in enumerate(jobs, first):
            lines += [f"{number})", *_body(job), ";;"]
        lines += ["esac", f"exit {_BROKEN}"]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    r"""A text as one word of bash, on one line.

    Example:
        >>> print(quoted("plain"), quoted("two words"), quoted("line\nbreak"))
        plain 'two words' $'line\x0abreak'
    """
    return f"$'{text.translate(_CONTROL)}'" if _HAS_CONTROL.search(text) else shlex.quote(text)


def _body(job: JobSpec) -> list[str]:
    strange = [name for name in job.env if not _VARIABLE.fullmatch(name)]
    if strange:
        raise SchedulerError(
            f"job {job.name!r}: a shell cannot set the environment variable {strange[0]!r}"
        )
    lines = [f"export {name}={quoted(value)}" for name, value in job.env.items()]
    # Redirect errors first, so that problems with the rest are reported there.
    lines.append(f"exec </dev/null 2>>{_file(job.stderr)} || exit {_BROKEN}")
    lines.append(f"exec >>{_file(job.stdout)} || exit {_BROKEN}")
    if job.cwd is not None:
        lines.append(f"cd -- {quoted(str(job.cwd.absolute()))} || exit {_BROKEN}")
    return [*lines, f"exec -- {' '.join(map(quoted, job.argv))}"]


def _file(path: Path | None) -> str:
    return os.devnull if path is None else quoted(str(path.absolute()))
