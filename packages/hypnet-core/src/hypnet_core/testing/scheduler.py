"""What every scheduler must fulfil.

The jobs of these checks are started with the Python that runs the checks, in the
check's directory: where jobs run, both must be found under the same paths. Where a
scheduler says by `unavailable()` that its backend is not there, the checks that need it
are skipped with that reason.

Hints (`conformance` on the scheduler's class): `patience`, seconds that a small job may
take from its submission to its end (default 60); `restartable`, whether a second
scheduler object knows the jobs of the first (default true; `False` skips that check).
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hypnet_core.protocols import BatchScheduler, Scheduler
from hypnet_core.runs.scheduling import JobSpec, JobState
from hypnet_core.testing.kit import Check, NotApplicableError, Subject, expect

__all__ = ["CHECKS", "HOSTILE"]

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
"""Arguments that a shell, or a careless parser, would spoil."""

_PATIENCE = 60.0
_POLL = 0.02


def is_a_scheduler(subject: Subject) -> None:
    """It has the methods of the protocol `Scheduler`."""
    expect(isinstance(subject.build(), Scheduler), "it lacks submit, poll or cancel")


def asking_about_no_job_gives_no_state(subject: Subject) -> None:
    """Polling no ids gives an empty mapping."""
    got = subject.build().poll([])
    expect(dict(got) == {}, f"poll([]) gave {got!r}")


def a_job_that_ends_well_is_finished(subject: Subject) -> None:
    """A job that exits with 0 is reported as finished, and goes on being so."""
    with _scheduler(subject) as scheduler:
        job: object = scheduler.submit(_python("pass"))
        if not isinstance(job, str) or not job:
            raise AssertionError(f"submit gave no id but {job!r}")
        for _ in range(2):
            state = _end_of(subject, scheduler, job)
            expect(state is JobState.FINISHED, f"a job that exited with 0 is {state}")


def a_job_that_exits_with_an_error_has_failed(subject: Subject) -> None:
    """A job that exits with another code, or whose program does not exist, is reported as failed."""
    with _scheduler(subject) as scheduler:
        jobs = [
            scheduler.submit(_python("raise SystemExit(3)")),
            scheduler.submit(JobSpec(argv=("/there/is/no such program",))),
        ]
        states = [_end_of(subject, scheduler, job) for job in jobs]
        expect(
            states == [JobState.FAILED] * 2,
            f"exit code 3 and a missing program are reported as {_words(states)}",
        )


def arguments_arrive_unchanged(subject: Subject) -> None:
    """Arguments with spaces, quotes, line breaks or whatever a shell would expand reach the job as they are."""
    got = _report(subject, "sys.argv[2:]", *HOSTILE)
    wrong = [text[:40] for text, arrived in zip(HOSTILE, got, strict=False) if text != arrived]
    expect(
        got == list(HOSTILE), f"{len(got)} of {len(HOSTILE)} arguments arrived; changed: {wrong}"
    )


def the_environment_is_added_to(subject: Subject) -> None:
    """A job's own variables reach it unchanged, and `PATH` is there beside them."""
    env = {"HYPNET_CHECK": HOSTILE[3], "HYPNET_EMPTY": "", "HYPNET_LINES": HOSTILE[6]}
    got = _report(subject, "dict(os.environ)", env=env)
    wrong = [name for name, value in env.items() if got.get(name) != value]
    expect(not wrong, f"variables that did not arrive: {wrong}")
    expect("PATH" in got, "the job has no PATH")


def a_job_runs_in_its_working_directory(subject: Subject) -> None:
    """A job starts in its `cwd`, whatever characters that has."""
    directory = subject.directory / "where it's at"
    directory.mkdir()
    got = _report(subject, "os.getcwd()", cwd=directory)
    expect(Path(got).resolve() == directory.resolve(), f"it ran in {got}")


def output_goes_to_its_files(subject: Subject) -> None:
    """Output and errors are appended to their files, which may be one and the same."""
    out, err, both = (subject.directory / name for name in ("out file", "err", "both"))
    out.write_text("before\n", encoding="utf-8")
    code = "import sys; print('told', flush=True); print('warned', file=sys.stderr, flush=True)"
    with _scheduler(subject) as scheduler:
        jobs = [
            scheduler.submit(_python(code, stdout=out, stderr=err)),
            scheduler.submit(_python(code, stdout=both, stderr=both)),
        ]
        for job in jobs:
            _end_of(subject, scheduler, job)
    for path, wanted in ((out, "before\ntold\n"), (err, "warned\n"), (both, "told\nwarned\n")):
        got = path.read_text(encoding="utf-8") if path.exists() else None
        expect(got == wanted, f"{path.name} holds {got!r} instead of {wanted!r}")


def an_unknown_job_is_lost(subject: Subject) -> None:
    """An id that the scheduler never gave is reported as lost, beside those that it knows."""
    with _scheduler(subject) as scheduler:
        job = scheduler.submit(_python("pass"))
        strangers = ["999999999", "no such job", ""]
        states = scheduler.poll([job, *strangers])
        expect(
            all(states[stranger] is JobState.LOST for stranger in strangers),
            f"strangers are {_words(states.values())}",
        )
        expect(
            states[job] is not JobState.LOST, "a job that was just submitted is reported as lost"
        )
        _end_of(subject, scheduler, job)


def jobs_have_different_ids(subject: Subject) -> None:
    """Every submission has an id of its own, also of the same job."""
    with _scheduler(subject) as scheduler:
        jobs = [scheduler.submit(_python("pass")) for _ in range(5)]
        expect(len(set(jobs)) == len(jobs), f"ids repeat: {jobs}")
        for job in jobs:
            _end_of(subject, scheduler, job)


def several_jobs_are_submitted_at_once(subject: Subject) -> None:
    """Jobs that are submitted together are jobs of their own: each runs its own command, with its own environment and files."""
    with _scheduler(subject) as scheduler:
        if not isinstance(scheduler, BatchScheduler):
            raise NotApplicableError("it takes one job at a time")
        paths = [subject.directory / f"file {number}" for number in range(3)]
        code = "import os, sys; print(os.environ['HYPNET_CHECK'], *sys.argv[1:])"
        jobs = scheduler.submit_many(
            [
                _python(code, HOSTILE[number], env={"HYPNET_CHECK": str(number)}, stdout=path)
                for number, path in enumerate(paths)
            ]
        )
        expect(len(set(jobs)) == len(paths), f"3 jobs have the ids {jobs}")
        states = [_end_of(subject, scheduler, job) for job in jobs]
        expect(states == [JobState.FINISHED] * 3, f"they are {_words(states)}")
    for number, path in enumerate(paths):
        got, wanted = path.read_text(encoding="utf-8"), f"{number} {HOSTILE[number]}\n"
        expect(got == wanted, f"{path.name} holds {got!r} instead of {wanted!r}")


def a_job_is_found_by_its_key(subject: Subject) -> None:
    """A job that waits or runs is found by its key, also by a scheduler that did not submit it; one that has ended is not."""
    key = secrets.token_hex(8)
    jobs = [
        _python("import time; time.sleep(600)").model_copy(update={"key": f"{key}{number}"})
        for number in range(2)
    ]
    with _scheduler(subject) as first, _scheduler(subject) as second:
        if not isinstance(first, BatchScheduler) or not isinstance(second, BatchScheduler):
            raise NotApplicableError("it knows no keys")
        ids = first.submit_many(jobs)
        try:
            found = second.find([f"{key}1", f"{key}9"])
            expect(
                dict(found) == {f"{key}1": ids[1]}, f"instead of {ids[1]!r} it found {dict(found)}"
            )
        finally:
            second.cancel(ids)
        _wait(
            subject,
            lambda: all(second.poll([job])[job].ended for job in ids),
            "cancelled jobs do not end",
        )
        gone = second.find([f"{key}0"])
        expect(not gone, f"it found {dict(gone)}, which has ended")


def what_would_be_submitted_can_be_seen(subject: Subject) -> None:
    """The scripts for some jobs can be had without submitting them, also where the batch system is not installed."""
    scheduler = subject.build()
    if not isinstance(scheduler, BatchScheduler):
        raise NotApplicableError("it has no scripts")
    scripts = scheduler.scripts([_python("pass", f"argument-{number}") for number in range(3)])
    expect(
        sum(script.jobs for script in scripts) == 3, f"for 3 jobs there are {len(scripts)} scripts"
    )
    for number in range(3):
        expect(
            any(f"argument-{number}" in script.text for script in scripts),
            f"job {number} is in no script",
        )


def a_running_job_can_be_cancelled(subject: Subject) -> None:
    """Cancelling a running job ends it and what it started, and it is reported as cancelled."""
    pids = subject.directory / "pids"
    code = (
        "import os, subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import"
        " time; time.sleep(600)']);open('pids.part', 'w').write(f'{os.getpid()} {child.pid}');"
        " os.replace('pids.part', 'pids'); time.sleep(600)"
    )
    with _scheduler(subject) as scheduler:
        job = scheduler.submit(_python(code, cwd=subject.directory))
        _wait(subject, pids.exists, "the job did not start")
        state = scheduler.poll([job])[job]
        expect(state is JobState.RUNNING, f"a running job is {state}")
        scheduler.cancel([job])
        state = _end_of(subject, scheduler, job)
        expect(state is JobState.CANCELLED, f"a cancelled job is {state}")
        for pid in map(int, pids.read_text(encoding="utf-8").split()):
            _wait(subject, partial(_is_gone, pid), f"process {pid} of the cancelled job still runs")


def cancelling_what_has_ended_changes_nothing(subject: Subject) -> None:
    """Cancelling a job that has ended, or that never was, is no error and changes no state."""
    with _scheduler(subject) as scheduler:
        job = scheduler.submit(_python("pass"))
        before = _end_of(subject, scheduler, job)
        scheduler.cancel([job, "no such job"])
        scheduler.cancel([])
        after = scheduler.poll([job])[job]
        expect(before is after, f"the job was {before} and is now {after}")


def a_second_scheduler_knows_the_running_jobs(subject: Subject) -> None:
    """A scheduler object made anew, as after a crash, sees the jobs of its predecessor and can cancel them."""
    if not subject.hint("restartable", default=True):
        raise NotApplicableError("its jobs end with it")
    started = subject.directory / "started"
    code = "import time; open('started', 'w').close(); time.sleep(600)"
    with _scheduler(subject) as first, _scheduler(subject) as second:
        job = first.submit(_python(code, cwd=subject.directory))
        try:
            _wait(subject, started.exists, "the job did not start")
            state = second.poll([job])[job]
            expect(state is JobState.RUNNING, f"to a second scheduler a running job is {state}")
        finally:
            second.cancel([job])
        _wait(
            subject,
            lambda: second.poll([job])[job].ended,
            "the job goes on after the second scheduler cancelled it",
        )


CHECKS: tuple[Check, ...] = (
    is_a_scheduler,
    asking_about_no_job_gives_no_state,
    a_job_that_ends_well_is_finished,
    a_job_that_exits_with_an_error_has_failed,
    arguments_arrive_unchanged,
    the_environment_is_added_to,
    a_job_runs_in_its_working_directory,
    output_goes_to_its_files,
    an_unknown_job_is_lost,
    jobs_have_different_ids,
    several_jobs_are_submitted_at_once,
    a_job_is_found_by_its_key,
    what_would_be_submitted_can_be_seen,
    a_running_job_can_be_cancelled,
    cancelling_what_has_ended_changes_nothing,
    a_second_scheduler_knows_the_running_jobs,
)


def _python(
    code: str,
    *arguments: str,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    stdout: Path | None = None,
    stderr: Path | None = None,
) -> JobSpec:
    argv = (sys.executable, "-c", code, *arguments)
    return JobSpec(
        argv=argv, name="hypnet check", cwd=cwd, env=env or {}, stdout=stdout, stderr=stderr
    )


def _report(
    subject: Subject,
    expression: str,
    *arguments: str,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> Any:
    """What an expression is worth inside a job."""
    path = subject.directory / "report.json"
    code = f"import json, os, sys; json.dump({expression}, open(sys.argv[1], 'w'))"
    with _scheduler(subject) as scheduler:
        job = scheduler.submit(_python(code, str(path), *arguments, cwd=cwd, env=env))
        state = _end_of(subject, scheduler, job)
    expect(path.exists(), f"the job wrote nothing and is {state}")
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def _scheduler(subject: Subject) -> Iterator[Scheduler]:
    """A scheduler, closed at the end if it can be."""
    scheduler: Scheduler = subject.build()
    unavailable: Callable[[], str | None] = getattr(scheduler, "unavailable", lambda: None)
    lacking = unavailable()
    if lacking:
        raise NotApplicableError(lacking)
    try:
        yield scheduler
    finally:
        close: Callable[[], None] = getattr(scheduler, "close", lambda: None)
        close()


def _end_of(subject: Subject, scheduler: Scheduler, job: str) -> JobState:
    _wait(subject, lambda: scheduler.poll([job])[job].ended, "the job does not end")
    return scheduler.poll([job])[job]


def _wait(subject: Subject, happened: Callable[[], bool], otherwise: str) -> None:
    patience = float(subject.hint("patience", _PATIENCE))
    end = time.monotonic() + patience
    while not happened():
        expect(time.monotonic() < end, f"{otherwise} (waited for {patience:g} s)")
        time.sleep(_POLL)


def _is_gone(pid: int) -> bool:
    """Whether a process of this machine has ended; it counts even if its parent has not collected it."""
    try:
        os.kill(pid, 0)
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:  # a system without /proc
        return Path("/proc/self").exists()
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] in "ZX"


def _words(states: Iterable[JobState]) -> list[str]:
    return [state.value for state in states]
