"""Jobs for the checks of schedulers."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypnet_core.jobs import JobSpec, JobState
from hypnet_core.protocols import ChecksAvailability, Closable, Scheduler
from hypnet_core.testing.kit import NotApplicableError, Subject, expect

__all__ = [
    "HOSTILE",
    "end_of",
    "in_words",
    "is_gone",
    "opened",
    "python_job",
    "report_of",
    "wait_until",
]

HOSTILE = (
    "two words",
    "",
    "'single' and \"double\"",
    "$(exit 3) `exit 3` $HOME ${PATH} %s %% !!",
    "a;b & c | d > e < f * ? [g] {h} ~ # (i)",
    "back\\slash \\n",
    "line\nbreak\ttab",
    "--leading=dashes",
    "../../up",
    "NaN",
    "grüße 日本 \U0001f600",
    "x" * 10_000,
)
"""Arguments that a shell, or a careless parser, would change."""

_PATIENCE = 60.0
_POLL = 0.02


def python_job(
    code: str,
    *arguments: str,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    stdout: Path | None = None,
    stderr: Path | None = None,
) -> JobSpec:
    """A job that runs some Python code."""
    argv = (sys.executable, "-c", code, *arguments)
    return JobSpec(
        argv=argv, name="hypnet check", cwd=cwd, env=env or {}, stdout=stdout, stderr=stderr
    )


def report_of(
    subject: Subject,
    expression: str,
    *arguments: str,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> Any:
    """The value of an expression inside a job."""
    path = subject.directory / "report.json"
    code = f"import json, os, sys; json.dump({expression}, open(sys.argv[1], 'w'))"
    with opened(subject) as scheduler:
        job = scheduler.submit(python_job(code, str(path), *arguments, cwd=cwd, env=env))
        state = end_of(subject, scheduler, job)
    expect(path.exists(), f"the job wrote nothing and is {state}")
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def opened(subject: Subject) -> Iterator[Scheduler]:
    """A scheduler, closed at the end if it can be closed."""
    scheduler: Scheduler = subject.build()
    lacking = scheduler.unavailable() if isinstance(scheduler, ChecksAvailability) else None
    if lacking:
        raise NotApplicableError(lacking)
    try:
        yield scheduler
    finally:
        if isinstance(scheduler, Closable):
            scheduler.close()


def end_of(subject: Subject, scheduler: Scheduler, job: str) -> JobState:
    """Wait for the end of a job; its last state."""
    wait_until(subject, lambda: scheduler.poll([job])[job].ended, "the job does not end")
    return scheduler.poll([job])[job]


def wait_until(subject: Subject, happened: Callable[[], bool], otherwise: str) -> None:
    """Wait for a condition; fail the check with `otherwise` if it takes too long."""
    patience = float(subject.hint("patience", _PATIENCE))
    end = time.monotonic() + patience
    while not happened():
        expect(time.monotonic() < end, f"{otherwise} (waited for {patience:g} s)")
        time.sleep(_POLL)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, even if its parent has not collected it yet."""
    try:
        os.kill(pid, 0)
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:  # a system without /proc
        return Path("/proc/self").exists()
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] in "ZX"


def in_words(states: Iterable[JobState]) -> list[str]:
    """The names of some states."""
    return [state.value for state in states]
