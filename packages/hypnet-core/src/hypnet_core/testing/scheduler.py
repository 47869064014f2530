"""Checks that every scheduler must pass.

The contract that they check is in the docstring of `hypnet_core.protocols.Scheduler`.

The checks start jobs with the Python that runs them, in the check's directory: both
must have the same paths where jobs run. If a scheduler's `unavailable()` says that its
backend is not installed, the checks that need it are skipped, with that reason.

Hints (in the plugin table: `Component.scheduler(..., patience=180)`): `patience`,
seconds that a small job may take from its submission to its end (default 60);
`restartable`, whether a second scheduler object knows the jobs of the first (default
true; `False` skips that check).
"""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path

from hypnet_core.jobs import JobSpec, JobState
from hypnet_core.protocols import (
    BatchScheduler,
    ChecksAvailability,
    Closable,
    HasPollInterval,
    HasSlots,
    Scheduler,
)
from hypnet_core.testing.jobs import (
    HOSTILE,
    end_of,
    in_words,
    is_gone,
    opened,
    python_job,
    report_of,
    wait_until,
)
from hypnet_core.testing.kit import Check, NotApplicableError, Subject, expect

__all__ = ["CHECKS", "HOSTILE"]


def is_a_scheduler(subject: Subject) -> None:
    """It has the methods of the protocol `Scheduler`."""
    expect(isinstance(subject.build(), Scheduler), "it lacks submit, poll or cancel")


def optional_members_are_as_documented(subject: Subject) -> None:
    """`slots`, `poll_interval` and `unavailable()`, if present, are as documented."""
    scheduler = subject.build()
    if isinstance(scheduler, HasSlots):
        slots: object = scheduler.slots
        expect(_is_count(slots), f"slots is {slots!r}, not a positive integer")
    if isinstance(scheduler, HasPollInterval):
        interval: object = scheduler.poll_interval
        expect(
            isinstance(interval, (int, float)) and interval > 0,
            f"poll_interval is {interval!r}, not a positive number of seconds",
        )
    if isinstance(scheduler, ChecksAvailability):
        lacking: object = scheduler.unavailable()
        expect(
            lacking is None or (isinstance(lacking, str) and len(lacking.splitlines()) == 1),
            f"unavailable() returned {lacking!r}, neither None nor one line",
        )
    if isinstance(scheduler, BatchScheduler):
        for name in ("max_jobs", "array_size"):
            count: object = getattr(scheduler, name)
            expect(_is_count(count), f"{name} is {count!r}, not a positive integer")


def closing_twice_does_no_harm(subject: Subject) -> None:
    """A scheduler that can be closed can be closed twice, even if it was never used."""
    scheduler = subject.build()
    if not isinstance(scheduler, Closable):
        raise NotApplicableError("it has no close()")
    scheduler.close()
    scheduler.close()


def asking_about_no_job_gives_no_state(subject: Subject) -> None:
    """Polling no ids gives an empty mapping."""
    got = subject.build().poll([])
    expect(dict(got) == {}, f"poll([]) gave {got!r}")


def a_job_that_ends_well_is_finished(subject: Subject) -> None:
    """A job that exits with 0 is reported as finished, and stays so."""
    with opened(subject) as scheduler:
        job: object = scheduler.submit(python_job("pass"))
        if not isinstance(job, str) or not job:
            raise AssertionError(f"submit gave no id but {job!r}")
        for _ in range(2):
            state = end_of(subject, scheduler, job)
            expect(state is JobState.FINISHED, f"a job that exited with 0 is {state}")


def a_job_that_exits_with_an_error_has_failed(subject: Subject) -> None:
    """A job with another exit code, or without a program, is reported as failed."""
    with opened(subject) as scheduler:
        jobs = [
            scheduler.submit(python_job("raise SystemExit(3)")),
            scheduler.submit(JobSpec(argv=("/there/is/no such program",))),
        ]
        states = [end_of(subject, scheduler, job) for job in jobs]
        expect(
            states == [JobState.FAILED] * 2,
            f"exit code 3 and a missing program are reported as {in_words(states)}",
        )


def arguments_arrive_unchanged(subject: Subject) -> None:
    """Arguments reach the job unchanged, with all that a shell would expand.

    Spaces, quotes and line breaks are among them.
    """
    got = report_of(subject, "sys.argv[2:]", *HOSTILE)
    wrong = [text[:40] for text, arrived in zip(HOSTILE, got, strict=False) if text != arrived]
    expect(
        got == list(HOSTILE), f"{len(got)} of {len(HOSTILE)} arguments arrived; changed: {wrong}"
    )


def the_environment_is_added_to(subject: Subject) -> None:
    """A job's own variables reach it unchanged, in addition to an inherited `PATH`."""
    env = {"HYPNET_CHECK": HOSTILE[3], "HYPNET_EMPTY": "", "HYPNET_LINES": HOSTILE[6]}
    got = report_of(subject, "dict(os.environ)", env=env)
    wrong = [name for name, value in env.items() if got.get(name) != value]
    expect(not wrong, f"variables that did not arrive: {wrong}")
    expect("PATH" in got, "the job has no PATH")


def a_job_runs_in_its_working_directory(subject: Subject) -> None:
    """A job starts in its `cwd`, whatever characters the path has."""
    directory = subject.directory / "where it's at"
    directory.mkdir()
    got = report_of(subject, "os.getcwd()", cwd=directory)
    expect(Path(got).resolve() == directory.resolve(), f"it ran in {got}")


def output_goes_to_its_files(subject: Subject) -> None:
    """Output and errors are appended to their files, which may be the same."""
    out, err, both = (subject.directory / name for name in ("out file", "err", "both"))
    out.write_text("before\n", encoding="utf-8")
    code = "import sys; print('told', flush=True); print('warned', file=sys.stderr, flush=True)"
    with opened(subject) as scheduler:
        jobs = [
            scheduler.submit(python_job(code, stdout=out, stderr=err)),
            scheduler.submit(python_job(code, stdout=both, stderr=both)),
        ]
        for job in jobs:
            end_of(subject, scheduler, job)
    for path, wanted in ((out, "before\ntold\n"), (err, "warned\n"), (both, "told\nwarned\n")):
        got = path.read_text(encoding="utf-8") if path.exists() else None
        expect(got == wanted, f"{path.name} holds {got!r} instead of {wanted!r}")


def an_unknown_job_is_lost(subject: Subject) -> None:
    """An id that the scheduler never gave is reported as lost."""
    with opened(subject) as scheduler:
        job = scheduler.submit(python_job("pass"))
        strangers = ["999999999", "no such job", ""]
        states = scheduler.poll([job, *strangers])
        expect(
            all(states[stranger] is JobState.LOST for stranger in strangers),
            f"strangers are {in_words(states.values())}",
        )
        expect(
            states[job] is not JobState.LOST, "a job that was just submitted is reported as lost"
        )
        end_of(subject, scheduler, job)


def jobs_have_different_ids(subject: Subject) -> None:
    """Every submission has an id of its own, even that of an equal job."""
    with opened(subject) as scheduler:
        jobs = [scheduler.submit(python_job("pass")) for _ in range(5)]
        expect(len(set(jobs)) == len(jobs), f"ids repeat: {jobs}")
        for job in jobs:
            end_of(subject, scheduler, job)


def several_jobs_are_submitted_at_once(subject: Subject) -> None:
    """Jobs that are submitted together stay separate.

    Each runs its own command, with its own environment and files.
    """
    with opened(subject) as scheduler:
        if not isinstance(scheduler, BatchScheduler):
            raise NotApplicableError("it takes one job at a time")
        paths = [subject.directory / f"file {number}" for number in range(3)]
        code = "import os, sys; print(os.environ['HYPNET_CHECK'], *sys.argv[1:])"
        jobs = scheduler.submit_many(
            [
                python_job(code, HOSTILE[number], env={"HYPNET_CHECK": str(number)}, stdout=path)
                for number, path in enumerate(paths)
            ]
        )
        expect(len(set(jobs)) == len(paths), f"3 jobs have the ids {jobs}")
        states = [end_of(subject, scheduler, job) for job in jobs]
        expect(states == [JobState.FINISHED] * 3, f"they are {in_words(states)}")
    for number, path in enumerate(paths):
        got, wanted = path.read_text(encoding="utf-8"), f"{number} {HOSTILE[number]}\n"
        expect(got == wanted, f"{path.name} holds {got!r} instead of {wanted!r}")


def a_job_is_found_by_its_key(subject: Subject) -> None:
    """A queued or running job is found by its key, also by another scheduler object.

    A job that has ended is not found.
    """
    key = secrets.token_hex(8)
    jobs = [
        python_job("import time; time.sleep(600)").model_copy(update={"key": f"{key}{number}"})
        for number in range(2)
    ]
    with opened(subject) as first, opened(subject) as second:
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
        wait_until(
            subject,
            lambda: all(second.poll([job])[job].ended for job in ids),
            "cancelled jobs do not end",
        )
        gone = second.find([f"{key}0"])
        expect(not gone, f"it found {dict(gone)}, which has ended")


def what_would_be_submitted_can_be_seen(subject: Subject) -> None:
    """The scripts of jobs are available without submitting them.

    They are available even where the batch system is not installed.
    """
    scheduler = subject.build()
    if not isinstance(scheduler, BatchScheduler):
        raise NotApplicableError("it has no scripts")
    scripts = scheduler.scripts([python_job("pass", f"argument-{number}") for number in range(3)])
    expect(
        sum(script.jobs for script in scripts) == 3, f"for 3 jobs there are {len(scripts)} scripts"
    )
    for number in range(3):
        expect(
            any(f"argument-{number}" in script.text for script in scripts),
            f"job {number} is in no script",
        )


def a_running_job_can_be_cancelled(subject: Subject) -> None:
    """Cancelling a running job ends it with all that it started.

    The job is then reported as cancelled.
    """
    pids = subject.directory / "pids"
    code = (
        "import os, subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import"
        " time; time.sleep(600)']);open('pids.part', 'w').write(f'{os.getpid()} {child.pid}');"
        " os.replace('pids.part', 'pids'); time.sleep(600)"
    )
    with opened(subject) as scheduler:
        job = scheduler.submit(python_job(code, cwd=subject.directory))
        wait_until(subject, pids.exists, "the job did not start")
        state = scheduler.poll([job])[job]
        expect(state is JobState.RUNNING, f"a running job is {state}")
        scheduler.cancel([job])
        state = end_of(subject, scheduler, job)
        expect(state is JobState.CANCELLED, f"a cancelled job is {state}")
        for pid in map(int, pids.read_text(encoding="utf-8").split()):
            wait_until(
                subject, partial(is_gone, pid), f"process {pid} of the cancelled job still runs"
            )


def cancelling_what_has_ended_changes_nothing(subject: Subject) -> None:
    """Cancelling a job that has ended, or never existed, changes no state.

    It is not an error either.
    """
    with opened(subject) as scheduler:
        job = scheduler.submit(python_job("pass"))
        before = end_of(subject, scheduler, job)
        scheduler.cancel([job, "no such job"])
        scheduler.cancel([])
        after = scheduler.poll([job])[job]
        expect(before is after, f"the job was {before} and is now {after}")


def a_second_scheduler_knows_the_running_jobs(subject: Subject) -> None:
    """A new scheduler object sees its predecessor's running jobs and can cancel them.

    This is what happens after a crash.
    """
    if not subject.hint("restartable", default=True):
        raise NotApplicableError("its jobs end with it")
    started = subject.directory / "started"
    code = "import time; open('started', 'w').close(); time.sleep(600)"
    with opened(subject) as first, opened(subject) as second:
        job = first.submit(python_job(code, cwd=subject.directory))
        try:
            wait_until(subject, started.exists, "the job did not start")
            state = second.poll([job])[job]
            expect(state is JobState.RUNNING, f"to a second scheduler a running job is {state}")
        finally:
            second.cancel([job])
        wait_until(
            subject,
            lambda: second.poll([job])[job].ended,
            "the job goes on after the second scheduler cancelled it",
        )


CHECKS: tuple[Check, ...] = (
    is_a_scheduler,
    optional_members_are_as_documented,
    closing_twice_does_no_harm,
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


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
