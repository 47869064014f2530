"""Jobs: the processes that a scheduler runs, and their states.

A job is an argument list, never a shell string, so no value can be mistaken for a
command. A scheduler only says whether a job waits, runs or has ended; the result file
that the job itself writes decides whether it succeeded.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Protocol, runtime_checkable

from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
)

__all__ = [
    "ChecksAvailability",
    "Closable",
    "ExplainsEnds",
    "HasPollInterval",
    "HasSlots",
    "Interruption",
    "JobSpec",
    "JobState",
    "Option",
    "Script",
]


class JobState(StrEnum):
    """The state of a job, as far as its scheduler knows.

    A job goes from `QUEUED` over `RUNNING` to one of the other four, and never back. A
    scheduler that cannot be reached raises `SchedulerUnavailableError` instead of
    guessing.

    Attributes:
        QUEUED: It waits for resources.
        RUNNING: It was started and has not ended.
        FINISHED: It has ended by itself, and the scheduler knows of no failure. Its own
            result tells whether it did its work.
        FAILED: It has ended, and the scheduler knows that it failed: an exit code other
            than 0, a signal, a time limit.
        CANCELLED: It was ended on request, before or after its start.
        LOST: The scheduler does not know such a job, or no longer, and cannot tell how
            it ended. Its own result may.
    """

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def ended(self) -> bool:
        """Whether the job is over.

        Example:
            >>> [state.value for state in JobState if not state.ended]
            ['queued', 'running']
        """
        return self not in {JobState.QUEUED, JobState.RUNNING}


class Interruption(StrEnum):
    """Why a scheduler has ended a job that did not end by itself.

    Attributes:
        TIME_LIMIT: It was over its time limit.
        PREEMPTED: Its resources were given to another job.
        NODE: Its machine has failed.
        MEMORY: It used more memory than it had asked for.
    """

    TIME_LIMIT = "time limit"
    PREEMPTED = "preemption"
    NODE = "node failure"
    MEMORY = "out of memory"


def _without_nul(text: str) -> str:
    # The operating system reads an argument up to its first NUL.
    if "\0" in text:
        raise ValueError("a NUL character cannot be passed to a process")
    return text


def _one_line(text: str) -> str:
    # Batch systems read options line by line.
    if not text.strip() or "\n" in text or "\r" in text:
        raise ValueError("must be one line, and not empty")
    return _without_nul(text)


def _variable(name: str) -> str:
    if not name or "=" in name:
        raise ValueError(f"{name!r} cannot be the name of an environment variable")
    return _without_nul(name)


def _command(argv: tuple[str, ...]) -> tuple[str, ...]:
    if not argv[0]:
        raise ValueError("the first argument, the program, is empty")
    return argv


Argument = Annotated[str, AfterValidator(_without_nul)]
Option = Annotated[str, AfterValidator(_one_line)]
Variable = Annotated[str, AfterValidator(_variable)]


class JobSpec(BaseModel):
    """A process to run: its command, its environment, and the resources that it needs.

    Attributes:
        argv: The program and its arguments, passed on unchanged.
        name: Name in listings; one line.
        cwd: Working directory; the scheduler's own if `None`.
        env: Environment variables to add to those that the scheduler passes on.
        stdout: File to append the output to; discarded if `None`. The file is created,
            its directory is not.
        stderr: The same for the error output; may be the same file.
        cpus: Processor cores.
        gpus: GPUs. Their ids are in the job's `CUDA_VISIBLE_DEVICES`.
        memory: Main memory in bytes, or text such as `"8GiB"`; left to the scheduler if
            `None`.
        time_limit: Longest running time, in seconds, as `"HH:MM:SS"` or as a
            `timedelta`; not limited if `None`.
        options: Extra words for the scheduler's own command line, such as
            `"--qos=long"`, for settings that only one site understands.
        key: A unique name of up to 32 letters and digits, by which a batch system finds
            the job if its id was lost.

    Example:
        >>> job = JobSpec(argv=("sim",), cpus=2, memory="8GiB", time_limit="01:30:00")
        >>> int(job.memory), job.time_limit.total_seconds()
        (8589934592, 5400.0)
    """

    # Frozen: schedulers may hold jobs that the caller still has.
    model_config = ConfigDict(frozen=True, extra="forbid")

    argv: Annotated[tuple[Argument, ...], Field(min_length=1), AfterValidator(_command)]
    name: Option = "job"
    cwd: Path | None = None
    env: dict[Variable, Argument] = Field(default_factory=dict)
    stdout: Path | None = None
    stderr: Path | None = None
    cpus: PositiveInt = 1
    gpus: NonNegativeInt = 0
    memory: Annotated[ByteSize, Field(gt=0)] | None = None
    time_limit: Annotated[timedelta, Field(gt=timedelta(0))] | None = None
    options: tuple[Option, ...] = ()
    # Short and plain, since batch systems restrict names.
    key: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,32}$")] | None = None


class Script(BaseModel):
    """A script for a batch system, for one job or several.

    Attributes:
        argv: The command line that submits it.
        text: The script, which that command reads from its standard input.
        jobs: The number of jobs in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    argv: tuple[str, ...]
    text: str
    jobs: PositiveInt = 1


@runtime_checkable
class HasSlots(Protocol):
    """A scheduler that knows how many jobs it can run at once."""

    slots: int
    """Number of jobs of one core that run at the same time, at least 1."""


@runtime_checkable
class HasPollInterval(Protocol):
    """A scheduler that recommends how often to poll it."""

    poll_interval: float
    """Seconds between two polls, above 0."""


@runtime_checkable
class Closable(Protocol):
    """A scheduler that holds resources of this process, such as a connection."""

    def close(self) -> None:
        """Release the resources. Running jobs go on if they can outlive the scheduler.

        Closing twice does no harm.
        """


@runtime_checkable
class ChecksAvailability(Protocol):
    """A scheduler that can tell whether its backend is installed."""

    def unavailable(self) -> str | None:
        """One line about a missing backend; `None` if jobs can be submitted."""


@runtime_checkable
class ExplainsEnds(Protocol):
    """A scheduler that knows why it has ended a job."""

    def interruption(self, job: str) -> Interruption | None:
        """Why a job was interrupted; `None` if it was not, or nobody knows."""
