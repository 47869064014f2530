"""Tracking of a driver's active attempts and of their jobs in the scheduler."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from hypnet_core.errors import RunError, SchedulerError, SchedulerUnavailableError
from hypnet_core.jobs import ExplainsEnds, Interruption, JobState
from hypnet_core.protocols import BatchScheduler, HasPollInterval, HasSlots, Scheduler
from hypnet_hpsearch._signals import signals_held
from hypnet_hpsearch.execution.jobs import job_of, key_of
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.attempts import Attempt
from hypnet_hpsearch.state.events import Event, end_event, job_event
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState
from hypnet_hpsearch.state.store import Store
from hypnet_hpsearch.trial.records import ResultRecord, is_interrupted, seconds_of

__all__ = ["Tracker"]

_POLL = 1.0  # seconds between two polls of a scheduler that recommends nothing
_SILENCE = (5.0, 60.0)  # seconds to wait after a scheduler did not answer: at first, at most
_AHEAD = 4  # jobs queued in the scheduler, so that no slot is idle while the driver is busy
_AT_ONCE = 50  # active jobs in a scheduler that has no slots
_PATIENCE = 60.0  # seconds for cancelled jobs to end


class Tracker:
    """The active attempts of a driver, from the claim to the end.

    An attempt waits until the scheduler takes it, has a job, or is alive without a job
    because its driver or its launcher was killed. The scheduler's word is never a
    result: only the attempt's own directory tells how it ended.

    Args:
        store: The search's directory.
        spec: The search, with its current settings.
        scheduler: Runs the jobs.
        warned: Called with a message when the scheduler does not answer.
        max_jobs: Limit of active attempts; by default it depends on the scheduler's
            slots.

    Attributes:
        poll_interval: Seconds between two polls of the scheduler.
        unwanted: Attempts that a user has asked to cancel, or that a pruner has given
            up.
    """

    def __init__(
        self,
        store: Store,
        spec: SearchSpec,
        scheduler: Scheduler,
        *,
        warned: Callable[[str], None],
        max_jobs: int | None = None,
    ) -> None:
        self._store, self._spec, self._scheduler, self._warned = store, spec, scheduler, warned
        self._batch = scheduler if isinstance(scheduler, BatchScheduler) else None
        self._max_jobs = max_jobs or self._reasonable()
        self.poll_interval = (
            float(scheduler.poll_interval) if isinstance(scheduler, HasPollInterval) else _POLL
        )
        self.unwanted: set[Attempt] = set()
        self._jobs: dict[str, Attempt] = {}
        self._waiting: list[Attempt] = []  # not yet accepted by the scheduler
        self._jobless: dict[Attempt, Interruption | None] = {}  # and what ended the job
        self._to_cancel: set[Attempt] = set()  # until the scheduler has been told
        self._ends: list[Event] = []
        self._states: Mapping[str, JobState] = {}
        self._next_poll = 0.0
        self._silence = _SILENCE[0]

    def _reasonable(self) -> int:
        """The default limit of active attempts."""
        if isinstance(self._scheduler, HasSlots):
            at_once = max(1, self._scheduler.slots // self._spec.resources.cpus)
            return at_once + _AHEAD * (not self._spec.adapts)
        return self._batch.max_jobs if self._batch else _AT_ONCE

    def __len__(self) -> int:
        """The number of active attempts."""
        return len(self._jobs) + len(self._jobless) + len(self._waiting)

    @property
    def room(self) -> int:
        """How many more attempts may become active.

        A sampler that learns proposes better the more results it knows, so few of its
        proposals are queued ahead.
        """
        room = self._max_jobs - len(self)
        return min(room, _AHEAD - self.queued) if self._spec.adapts else room

    @property
    def attempts(self) -> set[Attempt]:
        """The active attempts."""
        return {*self._jobs.values(), *self._jobless, *self._waiting}

    @property
    def with_job(self) -> set[Attempt]:
        """The attempts that have a job."""
        return set(self._jobs.values())

    @property
    def queued(self) -> int:
        """How many of them wait for a slot, as far as is known."""
        return len(self._waiting) + sum(
            self._states.get(job, JobState.QUEUED) is JobState.QUEUED for job in self._jobs
        )

    @property
    def has_ends(self) -> bool:
        """Whether there are ends to collect."""
        return bool(self._ends)

    def take_ends(self) -> list[Event]:
        """Collect the ends of attempts, for the journal."""
        ends, self._ends = self._ends, []
        return ends

    def add(self, attempts: Sequence[Attempt]) -> None:
        """Track attempts that have just been claimed."""
        self._waiting += attempts

    def submit(self) -> None:
        """Submit the waiting attempts, as far as the scheduler can take them now.

        Raises:
            SchedulerError: The scheduler refuses a job.
        """
        if not self._waiting or time.monotonic() < self._next_poll:
            return
        events: list[Event] = []
        try:
            # In parts, so that a failure in the middle keeps what was accepted before.
            while self._waiting:
                part = self._waiting[: self._batch.array_size if self._batch else 1]
                for name, attempt in zip(self._submitted(part), part, strict=True):
                    self._jobs[name] = attempt
                    events.append(job_event(attempt, name))
                del self._waiting[: len(part)]
        except SchedulerUnavailableError as error:
            self._back_off(error)
        except SchedulerError as error:
            # Nothing of what is refused may stay claimed.
            for attempt in self._waiting:
                result = attempt.conclude(f"it could not be submitted: {error}")
                events += [end_event(attempt, result, TrialState.CANCELLED)] if result else []
            raise
        finally:
            if events:
                with self._store.locked():
                    self._store.write(events)

    def _submitted(self, attempts: Sequence[Attempt]) -> Sequence[str]:
        jobs = [job_of(attempt, self._spec) for attempt in attempts]
        return (
            self._batch.submit_many(jobs)
            if self._batch
            else [self._scheduler.submit(job) for job in jobs]
        )

    def _back_off(self, error: SchedulerError) -> None:
        """Do not contact the scheduler for a while, and assume that nothing changes."""
        self._next_poll = time.monotonic() + self._silence
        # Back off exponentially: a busy controller recovers faster when left alone.
        self._silence = min(2 * self._silence, _SILENCE[1])
        self._warned(f"the scheduler does not answer: {error}")

    def poll(self) -> None:
        """Ask the scheduler which jobs have ended."""
        if not self._jobs or time.monotonic() < self._next_poll:
            return
        try:
            self._cancel_jobs()
            self._states = self._scheduler.poll(list(self._jobs))
        except SchedulerError as error:
            self._back_off(error)
            return
        self._silence = _SILENCE[0]
        for job, state in self._states.items():
            if state.ended:
                why = self._batch.reason(job) if self._batch else ""
                self._end(
                    self._jobs.pop(job),
                    f"its job is {state.value}{f' ({why})' if why else ''} and wrote no result",
                    outlived=state is JobState.LOST,
                    interruption=self._interruption(job),
                )

    def _interruption(self, job: str) -> Interruption | None:
        if not isinstance(self._scheduler, ExplainsEnds):
            return None
        return self._scheduler.interruption(job)

    def look_at_jobless(self) -> None:
        """Check which attempts without a job have ended."""
        jobless, self._jobless = self._jobless, {}
        for attempt, interruption in jobless.items():
            self._end(
                attempt, "it was killed", outlived=interruption is None, interruption=interruption
            )

    def _end(
        self,
        attempt: Attempt,
        otherwise: str,
        *,
        outlived: bool = False,
        interruption: Interruption | None = None,
    ) -> None:
        """Note the end of an attempt whose job is over.

        Without a result, `otherwise` is the reason, unless the command may have
        outlived the process around it and left a summary.
        """
        # A summary from before a user ended the trial may hold what it had by then.
        outlived = outlived and attempt not in self.unwanted
        result = attempt.conclude(otherwise, outlived=outlived)
        if result is None:  # its command is alive though its job is over
            self._jobless[attempt] = interruption
            return
        if interruption is None and self._is_overdue(result):
            interruption = Interruption.TIME_LIMIT
        if interruption is not None and not TrialState(result.get("state", "lost")).final:
            reason = self._reason_of(interruption)
            result = {
                **result,
                "state": TrialState.FAILED.value,
                "reason": reason,
                "interrupted": interruption.value,
            }
        cancelled = attempt in self.unwanted and not TrialState(result.get("state", "lost")).final
        self._ends.append(end_event(attempt, result, TrialState.CANCELLED if cancelled else None))

    def _reason_of(self, interruption: Interruption) -> str:
        if interruption is not Interruption.TIME_LIMIT:
            return f"ended from outside: {interruption.value}"
        limit = self._spec.resources.time_limit
        return f"over its time limit{'' if limit is None else f' of {limit}'}"

    def _is_overdue(self, result: ResultRecord) -> bool:
        """Whether an attempt was ended because it was over its time limit.

        Its own clock decides, which started a little after the scheduler's.
        """
        limit = self._spec.resources.time_limit
        if limit is None or not is_interrupted(result):
            return False
        seconds = seconds_of(result)
        return seconds is not None and seconds >= 0.9 * limit.total_seconds()

    def cancel(self, attempts: Collection[Attempt]) -> None:
        """End some active attempts as soon as the scheduler can be told.

        They are not tried again.
        """
        # Remembered for good, so that a cancelled trial is not tried again.
        self.unwanted.update(attempts)
        self._to_cancel.update(attempts)
        try:
            self._cancel_jobs()
        except SchedulerUnavailableError as error:
            self._back_off(error)
        for attempt in [attempt for attempt in self._waiting if attempt in attempts]:
            self._waiting.remove(attempt)
            self._end(attempt, "it was never submitted")

    def _cancel_jobs(self) -> None:
        jobs = [job for job, attempt in self._jobs.items() if attempt in self._to_cancel]
        if jobs:
            self._scheduler.cancel(jobs)
        self._to_cancel.clear()

    def take_over(self, orphans: Sequence[TrialRecord], driver: str) -> None:
        """Take over trials without a driver.

        Some have ended, some are running, some are dead.

        The caller holds the lock.

        Args:
            orphans: The trials.
            driver: Name of this driver in the journal.
        """
        ours = self.attempts
        jobs, states = self._known(orphans)
        events: list[Event] = []
        for record in orphans:
            attempt = self._store.latest(record)
            events.append(self._store.take_over(record, driver))
            # An attempt of ours is already tracked.
            if attempt in ours:  # the journal had lost our claim
                continue
            job = jobs.get(record.id, "")
            # A job that is known to wait or run is tracked like our own.
            state = states.get(job, JobState.LOST)
            if not state.ended:
                self._jobs[job] = attempt
                events += [] if record.job else [job_event(attempt, job)]
                continue
            result = attempt.conclude(
                "its driver was killed, and it wrote no result", outlived=state is JobState.LOST
            )
            if result is None:
                self._jobless[attempt] = None
            else:
                events.append(end_event(attempt, result))
        self._store.write(events)

    def _known(
        self, orphans: Sequence[TrialRecord]
    ) -> tuple[dict[str, str], Mapping[str, JobState]]:
        """The jobs of some trials by trial id, and the states of these jobs.

        A batch system also finds jobs whose ids were lost.
        """
        jobs = {record.id: record.job for record in orphans if record.job}
        if not orphans:
            return jobs, {}
        try:
            if self._batch and len(jobs) < len(orphans):
                keys = {
                    key_of(self._store.latest(record)): record.id
                    for record in orphans
                    if not record.job
                }
                jobs |= {keys[key]: job for key, job in self._batch.find(keys).items()}
            return jobs, self._scheduler.poll(list(jobs.values()))
        except SchedulerUnavailableError as error:
            self._back_off(error)
            return jobs, dict.fromkeys(jobs.values(), JobState.QUEUED)

    def end_all(self) -> None:
        """End all jobs, wait for their end, and record that they were cancelled.

        Raises:
            KeyboardInterrupt: Another signal has come while it waited.
            RunError: Jobs do not end, or the journal cannot be written.
        """
        with signals_held():
            # Also when this driver was interrupted: nothing of it may run on.
            self.cancel(self.attempts)
        end = time.monotonic() + _PATIENCE
        while self._jobs and time.monotonic() < end:
            with signals_held():
                self.poll()
            time.sleep(self.poll_interval)
        with signals_held():
            self.look_at_jobless()
            with self._store.locked():
                self._store.write(self.take_ends())
        if self._jobs:
            raise RunError(f"{len(self._jobs)} jobs do not end although they were cancelled")
