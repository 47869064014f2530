"""The common base of schedulers of batch systems.

A batch system only says whether a job waits, runs or is gone, and sometimes it does not
answer. Silence is therefore never taken for an answer: a call that fails raises
`SchedulerUnavailableError` and changes nothing; a job that is suddenly missing keeps
its state for a while; a request to cancel is repeated until it was received; and a
submission with an unknown outcome is looked for before it is repeated.
"""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import ClassVar, Unpack

from hypnet_core.errors import SchedulerError, SchedulerUnavailableError
from hypnet_core.jobs import Interruption, JobSpec, JobState, Script
from hypnet_core.plugins import with_defaults
from hypnet_hpsearch.schedulers.batch.commands import lacking
from hypnet_hpsearch.schedulers.batch.jobs import MARK, JobId, Seen, in_parts, words
from hypnet_hpsearch.schedulers.batch.options import BatchOptions
from hypnet_hpsearch.schedulers.batch.scripts import script

__all__ = ["BatchSystem"]

# Seconds that a job may be missing before it counts as lost: accounting lags behind,
# and so does a controller that was restarted.
_GRACE = 15.0


class BatchSystem(ABC):
    """A scheduler in front of a batch system.

    Subclasses define how to submit a script, look at jobs, and end them.

    Args:
        named: Options of every submission that have names of their own in a subclass.
        **options: Shared options; see `BatchOptions`.

    Raises:
        SchedulerError: An extra option is malformed, or is one that is set here.
    """

    system: ClassVar[str]
    """Name of the batch system in messages."""
    programs: ClassVar[tuple[str, ...]]
    """Programs that must be installed."""
    index: ClassVar[str]
    """Environment variable with the index of an array's element."""
    first: ClassVar[int]
    """Index of an array's first element."""
    interruptions: ClassVar[Mapping[str, Interruption]]
    """Words in the system's reasons that say why it has ended a job."""
    ours: ClassVar[frozenset[str]]
    """Options that are set here, or that would change the kind of submission."""

    def __init__(self, *, named: Sequence[str] = (), **options: Unpack[BatchOptions]) -> None:
        chosen = with_defaults(BatchOptions, options)
        self.max_jobs, self.array_size = chosen["max_jobs"], chosen["array_size"]
        self.poll_interval, self.timeout = chosen["poll_interval"], chosen["timeout"]
        self._options = (*named, *chosen["options"])
        self._setup = tuple(chosen["setup"])
        self._check(self._options)
        self._states: dict[str, JobState] = {}  # as they were last seen
        self._reasons: dict[str, str] = {}
        self._missing: dict[str, float] = {}  # since when
        self._cancelled: set[str] = set()
        self._to_cancel: set[str] = set()
        self._doubtful: set[str] = set()  # keys of jobs that may or may not have been submitted

    def unavailable(self) -> str | None:
        """One line about missing programs; `None` if all are installed."""
        return lacking(self.programs, self.system)

    def submit(self, job: JobSpec) -> str:
        """Submit a job.

        Returns:
            The job's id: the batch system's number, and a token that distinguishes the
            job from a later one with the same number.

        Raises:
            SchedulerError: The batch system refuses the job, or is not installed.
            SchedulerUnavailableError: It does not answer, or takes no more jobs for
                now. The job may or may not have been submitted; if it has a key,
                submitting it again finds out.
        """
        return self.submit_many([job])[0]

    def submit_many(self, jobs: Sequence[JobSpec]) -> list[str]:
        """Submit jobs that need the same as one job array: all are accepted, or none.

        Raises:
            SchedulerError: As for `submit()`; or the jobs need different resources, or
                are more than `array_size`.
            SchedulerUnavailableError: As for `submit()`.
        """
        # An earlier submission of these jobs may have succeeded without an answer.
        found = self.find(
            job.key for job in jobs if job.key in self._doubtful and job.key is not None
        )
        rest = [job for job in jobs if job.key not in found]
        keys = {job.key for job in rest if job.key is not None}
        token = secrets.token_hex(4)
        numbers: Sequence[str] = ()
        if rest:
            prepared = self._script(rest, _mark(token, rest))
            # Until the batch system answers, the jobs may or may not exist.
            self._doubtful |= keys
            try:
                numbers = self._submit(prepared)
            except SchedulerUnavailableError:
                raise  # the keys stay doubtful
            except SchedulerError:
                self._doubtful -= keys
                raise
        self._doubtful -= {*keys, *found}
        new = iter([str(JobId(number, token)) for number in numbers])
        ids = [
            found[job.key] if job.key in found and job.key is not None else next(new)
            for job in jobs
        ]
        self._states.update(dict.fromkeys(ids, JobState.QUEUED))
        return ids

    def poll(self, ids: Iterable[str]) -> Mapping[str, JobState]:
        """The states of some jobs, whichever process submitted them.

        Raises:
            SchedulerError: The batch system is not installed.
            SchedulerUnavailableError: It does not answer. No state has changed.
        """
        self._cancel_again()
        wanted = dict.fromkeys(ids)
        known = {
            job: found
            for job in wanted
            if not self._has_ended(job) and (found := JobId.parse(job)) is not None
        }
        for job, seen in self._seen(known).items():
            self._note(job, seen)
        return {job: self._states.get(job, JobState.LOST) for job in wanted}

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs, queued or running; others stay as they are.

        Raises:
            SchedulerError: The batch system is not installed.
            SchedulerUnavailableError: It does not answer. The next `poll()` or
                `cancel()` repeats the request.
        """
        self._to_cancel |= {
            job for job in ids if JobId.parse(job) is not None and not self._has_ended(job)
        }
        self._cancel_again()

    def find(self, keys: Iterable[str]) -> Mapping[str, str]:
        """The ids of queued or running jobs with these keys, of any process.

        Raises:
            SchedulerError: The batch system is not installed.
            SchedulerUnavailableError: It does not answer.
        """
        wanted = set(keys)
        if not wanted:
            return {}
        found = {}
        for number, seen in self._mine():
            if seen.state.ended or not seen.mark.startswith(MARK):
                continue
            token, _, some = seen.mark.removeprefix(MARK).partition(":")
            element = number.partition("_")[2]
            listed, place = some.split(","), int(element) - self.first if element else 0
            key = listed[place] if place < len(listed) else ""
            identity = JobId.parse(f"{number}:{token}")
            if key in wanted and identity is not None:
                found[key] = str(identity)
                self._states.setdefault(str(identity), seen.state)
        return found

    def scripts(self, jobs: Sequence[JobSpec]) -> list[Script]:
        """The scripts that some jobs with equal needs would be submitted with.

        Raises:
            SchedulerError: A job asks for something impossible.
        """
        return [
            self._script(part, _mark("0" * 8, part)) for part in in_parts(jobs, self.array_size)
        ]

    def reason(self, job: str) -> str:
        """The batch system's reason for the end of a job; empty if it gave none."""
        return self._reasons.get(job, "")

    def interruption(self, job: str) -> Interruption | None:
        """Why the batch system has ended a job; `None` if it did not."""
        said = self.reason(job)
        return next((why for word, why in self.interruptions.items() if word in said), None)

    @abstractmethod
    def _command(self, job: JobSpec, *, name: str, count: int, mark: str) -> Sequence[str]:
        """The command line that submits a script; `count` exceeds 1 for an array."""

    @abstractmethod
    def _submit(self, prepared: Script) -> Sequence[str]:
        """Submit a script; the numbers of its jobs, `BASE` or `BASE_INDEX`."""

    @abstractmethod
    def _look(self, numbers: Sequence[str]) -> Mapping[str, Seen]:
        """The statements about some jobs, without those that are unknown."""

    @abstractmethod
    def _mine(self) -> Iterable[tuple[str, Seen]]:
        """All jobs of this user that have not ended."""

    @abstractmethod
    def _kill(self, numbers: Sequence[str]) -> None:
        """End some jobs."""

    def _script(self, jobs: Sequence[JobSpec], mark: str) -> Script:
        # An array has one set of resources.
        needs = {
            job.model_dump_json(include={"cpus", "gpus", "memory", "time_limit", "options"})
            for job in jobs
        }
        if len(needs) > 1 or len(jobs) > self.array_size:
            raise SchedulerError(
                f"an array has at most {self.array_size} jobs, which must all need the same"
            )
        self._check(jobs[0].options)
        argv = self._command(jobs[0], name=_common_name(jobs), count=len(jobs), mark=mark)
        text = script(jobs, setup=self._setup, index=self.index, first=self.first)
        return Script(argv=tuple(argv), text=text, jobs=len(jobs))

    def _check(self, options: Iterable[str]) -> None:
        for option in options:
            if not option.startswith("-") or not words(option)[0].strip("-"):
                raise SchedulerError(
                    f"{option!r} is not an option of {self.system}: it must begin with a dash"
                )
            if self._is_ours(words(option)[0].partition("=")[0]):
                raise SchedulerError(
                    f"the option {option!r} cannot be given: it is set here, or would turn a job"
                    " into something else"
                )

    def _is_ours(self, name: str) -> bool:
        return name in self.ours

    def _has_ended(self, job: str) -> bool:
        return job in self._states and self._states[job].ended

    def _seen(self, jobs: Mapping[str, JobId]) -> dict[str, Seen | None]:
        """The statements about jobs; `None` if unknown, or if a number was reused."""
        answers = self._look([identity.number for identity in jobs.values()]) if jobs else {}
        found = {job: answers.get(identity.number) for job, identity in jobs.items()}
        return {
            job: seen if seen is None or jobs[job].may_have(seen.mark) else None
            for job, seen in found.items()
        }

    def _note(self, job: str, seen: Seen | None) -> None:
        if seen is not None:
            self._missing.pop(job, None)
            self._states[job] = seen.state
            if seen.state.ended:
                self._reasons[job] = seen.reason
        elif job in self._cancelled:  # a job that never started leaves no record
            self._states[job] = JobState.CANCELLED
        elif time.monotonic() - self._missing.setdefault(job, time.monotonic()) >= _GRACE:
            self._states[job] = JobState.LOST
            self._reasons[job] = f"{self.system} no longer knows it"

    def _cancel_again(self) -> None:
        jobs = {job: found for job in self._to_cancel if (found := JobId.parse(job)) is not None}
        seen = self._seen(jobs)
        # Ending a job that is gone is an error in some batch systems.
        alive = [job for job, found in seen.items() if found is not None and not found.state.ended]
        if alive:
            self._cancelled.update(alive)
            self._kill([jobs[job].number for job in alive])
        self._to_cancel.clear()


def _mark(token: str, jobs: Sequence[JobSpec]) -> str:
    """The comment of a submission."""
    return f"{MARK}{token}:{','.join(job.key or '' for job in jobs)}"


def _common_name(jobs: Sequence[JobSpec]) -> str:
    """The common prefix of the names of jobs; the first name if there is none."""
    columns = takewhile(
        lambda column: len(set(column)) == 1, zip(*(job.name for job in jobs), strict=False)
    )
    common = "".join(column[0] for column in columns)
    return common if len(jobs) == 1 else common.rstrip("-_. ") or jobs[0].name
