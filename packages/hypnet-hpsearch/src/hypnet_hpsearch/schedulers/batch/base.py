"""What the schedulers of batch systems have in common.

A batch system only says whether a job waits, runs or is gone, and sometimes it does not
answer at all. So nothing here takes silence for an answer: a call that fails raises
`SchedulerUnavailableError` and changes nothing, a job that is suddenly missing keeps
its state for a while, a request to cancel is repeated until it was heard, and a
submission whose outcome nobody knows is looked for before it is made again.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeVar

from hypnet_core.errors import SchedulerError, SchedulerUnavailableError
from hypnet_core.runs import JobSpec, JobState, Script
from hypnet_hpsearch.schedulers.batch.commands import lacking
from hypnet_hpsearch.schedulers.batch.scripts import script as script_of

__all__ = ["BatchSystem", "Seen", "in_parts", "words"]

_Item = TypeVar("_Item")
_MARK = "hn:"
_GRACE = 15.0  # seconds that a job may be missing before it counts as lost: accounting is late, a restarted controller too


@dataclass(frozen=True)
class Seen:
    """What a batch system says about a job.

    Attributes:
        state: How it stands.
        reason: More about it, in the system's own words.
        mark: The comment that it was submitted with; empty if the system does not tell.
    """

    state: JobState
    reason: str = ""
    mark: str = ""


class _Id(NamedTuple):
    """A job's id: the number that the batch system gave it, and a token that tells it from another job that is given the number later."""

    number: str
    token: str

    def __str__(self) -> str:
        return f"{self.number}:{self.token}"

    @classmethod
    def parse(cls, text: str) -> _Id | None:
        found = re.fullmatch(r"([0-9]+(?:_[0-9]+)?):([0-9a-f]{8})", text)
        return cls(*found.groups()) if found else None

    def is_marked(self, mark: str) -> bool:
        """Whether a mark may be this job's.

        Sites may write comments of their own; those say nothing.
        """
        return not mark.startswith(_MARK) or mark.startswith(f"{_MARK}{self.token}:")


class BatchSystem(ABC):
    """A scheduler in front of a batch system.

    Subclasses say how to submit a script, and how to look at jobs and end them.

    Args:
        options: Words for the command line of every submission.
        setup: Lines of shell for every script.
        max_jobs: How many jobs should be queued or running at once.
        array_size: How many jobs at most to submit as one array.
        poll_interval: Seconds between two polls.
        timeout: Seconds to wait for an answer.

    Raises:
        SchedulerError: An option is none, or one that is set here.
    """

    system: ClassVar[str]
    programs: ClassVar[tuple[str, ...]]
    index: ClassVar[str]
    """Environment variable with an array element's index."""
    first: ClassVar[int]
    """Index of an array's first element."""
    ours: ClassVar[frozenset[str]]
    """Options that are set here, or would make a submission something else."""

    def __init__(
        self,
        *,
        options: Sequence[str],
        setup: Sequence[str],
        max_jobs: int,
        array_size: int,
        poll_interval: float,
        timeout: float,
    ) -> None:
        self.max_jobs, self.array_size, self.poll_interval, self.timeout = (
            max_jobs,
            array_size,
            poll_interval,
            timeout,
        )
        self._options, self._setup = tuple(options), tuple(setup)
        self._check(self._options)
        self._states: dict[str, JobState] = {}  # as far as they were seen
        self._reasons: dict[str, str] = {}
        self._missing: dict[str, float] = {}  # since when
        self._cancelled: set[str] = set()
        self._to_cancel: set[str] = set()
        self._doubtful: set[str] = set()  # keys of jobs that may have been submitted, or not

    def unavailable(self) -> str | None:
        """What this machine lacks to use the batch system, in one line; `None` if it lacks nothing."""
        return lacking(self.programs, self.system)

    def submit(self, job: JobSpec) -> str:
        """Submit a job.

        Returns:
            The job's id: the batch system's number, and a token that tells the job from
            a later one with the same number.

        Raises:
            SchedulerError: The batch system refuses the job, or is not installed.
            SchedulerUnavailableError: It does not answer, or takes no more jobs for
                now. The job may be submitted or not; if it has a key, submitting it
                again finds out.
        """
        return self.submit_many([job])[0]

    def submit_many(self, jobs: Sequence[JobSpec]) -> list[str]:
        """Submit jobs that need the same, as one job array: all are accepted, or none.

        Raises:
            SchedulerError: As for `submit()`; or the jobs need different things, or are
                more than `array_size`.
            SchedulerUnavailableError: As for `submit()`.
        """
        found = self.find(
            job.key for job in jobs if job.key in self._doubtful and job.key is not None
        )
        rest = [job for job in jobs if job.key not in found]
        keys = {job.key for job in rest if job.key is not None}
        token = secrets.token_hex(4)
        numbers: Sequence[str] = ()
        if rest:
            prepared = self._script(
                rest, f"{_MARK}{token}:{','.join(job.key or '' for job in rest)}"
            )
            self._doubtful |= keys
            try:
                numbers = self._submit(prepared)
            except SchedulerUnavailableError:
                raise
            except SchedulerError:
                self._doubtful -= keys
                raise
        self._doubtful -= {*keys, *found}
        new = iter([str(_Id(number, token)) for number in numbers])
        ids = [
            found[job.key] if job.key in found and job.key is not None else next(new)
            for job in jobs
        ]
        self._states.update(dict.fromkeys(ids, JobState.QUEUED))
        return ids

    def poll(self, ids: Iterable[str]) -> Mapping[str, JobState]:
        """The states of some jobs, whoever submitted them.

        Raises:
            SchedulerError: The batch system is not installed.
            SchedulerUnavailableError: It does not answer. No state has changed.
        """
        self._cancel_again()
        wanted = dict.fromkeys(ids)
        known = {
            job: found
            for job in wanted
            if not self._has_ended(job) and (found := _Id.parse(job)) is not None
        }
        for job, seen in self._seen(known).items():
            self._note(job, seen)
        return {job: self._states.get(job, JobState.LOST) for job in wanted}

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs, queued or running; those that have ended, or never were, are left alone.

        Raises:
            SchedulerError: The batch system is not installed.
            SchedulerUnavailableError: It does not answer. The request is repeated by
                the next `poll()` or `cancel()`.
        """
        self._to_cancel |= {
            job for job in ids if _Id.parse(job) is not None and not self._has_ended(job)
        }
        self._cancel_again()

    def find(self, keys: Iterable[str]) -> Mapping[str, str]:
        """The ids of those jobs with these keys that wait or run, whoever submitted them.

        Raises:
            SchedulerError: The batch system is not installed.
            SchedulerUnavailableError: It does not answer.
        """
        wanted = set(keys)
        if not wanted:
            return {}
        found = {}
        for number, seen in self._mine():
            if seen.state.ended or not seen.mark.startswith(_MARK):
                continue
            token, _, some = seen.mark.removeprefix(_MARK).partition(":")
            element = number.partition("_")[2]
            keys, place = some.split(","), int(element) - self.first if element else 0
            key = keys[place] if place < len(keys) else ""
            identity = _Id.parse(f"{number}:{token}")
            if key in wanted and identity is not None:
                found[key] = str(identity)
                self._states.setdefault(str(identity), seen.state)
        return found

    def scripts(self, jobs: Sequence[JobSpec]) -> list[Script]:
        """What would be submitted for some jobs that need the same.

        Raises:
            SchedulerError: A job asks for something impossible.
        """
        marks = (
            f"{_MARK}{'0' * 8}:{','.join(job.key or '' for job in part)}"
            for part in in_parts(jobs, self.array_size)
        )
        return [
            self._script(part, mark)
            for part, mark in zip(in_parts(jobs, self.array_size), marks, strict=True)
        ]

    def reason(self, job: str) -> str:
        """What the batch system said about the end of a job; empty if it said nothing."""
        return self._reasons.get(job, "")

    @abstractmethod
    def _command(self, job: JobSpec, *, name: str, count: int, mark: str) -> Sequence[str]:
        """The command line that submits a script; `count` is more than 1 for an array."""

    @abstractmethod
    def _submit(self, prepared: Script) -> Sequence[str]:
        """Submit a script; the numbers of its jobs, `BASE` or `BASE_INDEX`."""

    @abstractmethod
    def _look(self, numbers: Sequence[str]) -> Mapping[str, Seen]:
        """What the batch system says about some jobs; those that it does not know are missing."""

    @abstractmethod
    def _mine(self) -> Iterable[tuple[str, Seen]]:
        """All jobs of this user that have not ended."""

    @abstractmethod
    def _kill(self, numbers: Sequence[str]) -> None:
        """End some jobs."""

    def _script(self, jobs: Sequence[JobSpec], mark: str) -> Script:
        needs = {
            job.model_dump_json(include={"cpus", "gpus", "memory", "time_limit", "options"})
            for job in jobs
        }
        if len(needs) > 1 or len(jobs) > self.array_size:
            raise SchedulerError(
                f"an array has at most {self.array_size} jobs, which all need the same"
            )
        self._check(jobs[0].options)
        text = script_of(jobs, setup=self._setup, index=self.index, first=self.first)
        name = os.path.commonprefix([job.name for job in jobs])  # noqa: RUF071  # no path, but what the names begin with
        name = jobs[0].name if len(jobs) == 1 else name.rstrip("-_. ")
        return Script(
            argv=tuple(
                self._command(jobs[0], name=name or jobs[0].name, count=len(jobs), mark=mark)
            ),
            text=text,
            jobs=len(jobs),
        )

    def _check(self, options: Iterable[str]) -> None:
        for option in options:
            if not option.startswith("-") or not words(option)[0].strip("-"):
                raise SchedulerError(
                    f"{option!r} is no option of {self.system}: it must begin with a dash"
                )
            if self._is_ours(words(option)[0].partition("=")[0]):
                raise SchedulerError(
                    f"the option {option!r} cannot be given: it is set here, or would make a job"
                    " something else"
                )

    def _is_ours(self, name: str) -> bool:
        return name in self.ours

    def _has_ended(self, job: str) -> bool:
        return job in self._states and self._states[job].ended

    def _seen(self, jobs: Mapping[str, _Id]) -> dict[str, Seen | None]:
        """What the batch system says about jobs; `None` for those that it does not know, or that are others with their number."""
        answers = self._look([identity.number for identity in jobs.values()]) if jobs else {}
        found = {job: answers.get(identity.number) for job, identity in jobs.items()}
        return {
            job: seen if seen is None or jobs[job].is_marked(seen.mark) else None
            for job, seen in found.items()
        }

    def _note(self, job: str, seen: Seen | None) -> None:
        if seen is not None:
            self._missing.pop(job, None)
            self._states[job] = seen.state
            if seen.state.ended:
                self._reasons[job] = seen.reason
        elif job in self._cancelled:  # one that never started leaves no record
            self._states[job] = JobState.CANCELLED
        elif time.monotonic() - self._missing.setdefault(job, time.monotonic()) >= _GRACE:
            self._states[job] = JobState.LOST
            self._reasons[job] = f"{self.system} knows it no more"

    def _cancel_again(self) -> None:
        jobs = {job: found for job in self._to_cancel if (found := _Id.parse(job)) is not None}
        seen = self._seen(jobs)
        alive = [job for job, found in seen.items() if found is not None and not found.state.ended]
        if alive:
            self._cancelled.update(alive)
            self._kill([jobs[job].number for job in alive])
        self._to_cancel.clear()


def words(option: str) -> list[str]:
    """An option as words of a command line: its name and value may be parted by a space, or by `=`.

    Example:
        >>> words("-P project"), words("--comment=two words"), words("-x")
        (['-P', 'project'], ['--comment=two words'], ['-x'])
    """
    return [option] if "=" in option.split(maxsplit=1)[0] else option.split(maxsplit=1)


def in_parts(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    """Items in parts of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
