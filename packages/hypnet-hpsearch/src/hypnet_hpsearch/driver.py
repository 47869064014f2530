"""The loop that carries a search out: claims trials, hands them to a scheduler, takes in their results."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from hypnet_core.errors import RunError, SchedulerError, SchedulerUnavailableError
from hypnet_core.protocols import BatchScheduler, Scheduler
from hypnet_core.runs.scheduling import JobState
from hypnet_hpsearch.attempts import Attempt
from hypnet_hpsearch.jobs import job_of, key_of
from hypnet_hpsearch.ledger import TrialRecord, TrialState
from hypnet_hpsearch.plan import Plan, PlannedTrial
from hypnet_hpsearch.presence import Presence
from hypnet_hpsearch.spec import SearchSpec
from hypnet_hpsearch.store import Event, Store, end_event
from hypnet_hpsearch.target import attempt_content
from hypnet_hpsearch.trial import ENDED_FROM_OUTSIDE
from hypnet_hpsearch.watching import Progress, Start, Watcher

if TYPE_CHECKING:
    from hypnet_hpsearch.adaptive import AdaptivePlan

__all__ = ["Driver", "StoppedError"]

_LOOK_AROUND = 0.2  # seconds between two looks at what other drivers do, and at attempts that no job of ours stands for
_POLL = 1.0  # seconds between two polls of a scheduler that does not say how often it may be asked
_SILENCE = (5.0, 60.0)  # seconds to leave a scheduler alone that did not answer: at first, and at most
_LOSSES = 5  # how often a trial may vanish, each time that the search is started, before it is given up
_AHEAD = 4  # jobs that wait in the scheduler, so that a slot is never empty while the driver is busy
_AT_ONCE = 50  # jobs at once in a scheduler that does not say how many slots it has


class StoppedError(RunError):
    """Somebody has asked the driver to stop; its own jobs have been cancelled."""


class Driver:
    """Runs what is missing or failed of a search, once.

    Any number of drivers may work on one search, and each may be killed at any moment: jobs go on without it, and the next driver
    takes over.

    Args:
        store: The search's directory.
        plan: Its trials.
        spec: The search, with the settings of today.
        scheduler: What runs the jobs.
        watcher: Who is told.
        max_jobs: How many jobs may be queued or running at once; what the scheduler's slots call for if `None`.
    """

    def __init__(
        self,
        store: Store,
        plan: Plan | AdaptivePlan,
        spec: SearchSpec,
        *,
        scheduler: Scheduler,
        watcher: Watcher,
        max_jobs: int | None = None,
    ) -> None:
        self._store, self._plan, self._spec, self._scheduler, self._watcher = store, plan, spec, scheduler, watcher
        self._batch = scheduler if isinstance(scheduler, BatchScheduler) else None
        slots = getattr(scheduler, "slots", None)
        room = (
            max(1, slots // spec.resources.cpus) + _AHEAD * (not spec.adapts)
            if slots
            else self._batch.max_jobs
            if self._batch
            else _AT_ONCE
        )
        self._max_jobs = max_jobs or room
        self._poll_interval = float(getattr(scheduler, "poll_interval", _POLL))
        self._presence = Presence(store.directory)
        self._todo: deque[int] = deque()
        self._numbers: dict[str, int] = {}  # of the trials that are begun, so that they can be tried again
        self._jobs: dict[str, Attempt] = {}
        self._waiting: list[Attempt] = []  # ours, but the scheduler did not take them yet
        self._states: Mapping[str, JobState] = {}
        self._jobless: list[Attempt] = []  # they live, but no job stands for them: their driver or their launcher was killed
        self._ends: list[Event] = []
        self._failures: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self._best: TrialRecord | None = None
        self._last_look = 0.0
        self._next_poll = 0.0
        self._silence = _SILENCE[0]
        self._interrupted = False
        self._again: set[int] = set()  # trials among those to do that have failed before
        self._unwanted: set[Attempt] = set()  # somebody has asked to cancel them, or a pruner has given them up

    def run(self) -> None:
        """Work until every trial has ended.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed. The driver's own jobs have been cancelled.
            StoppedError: `hypnet search cancel` was used. Likewise.
            RunError: The directory cannot be written any more. Jobs go on.
            SchedulerError: The scheduler refuses a job. Jobs that it had accepted go on.
        """
        try:
            self._begin()
            while self._work():
                time.sleep(self._poll_interval)
        except (KeyboardInterrupt, StoppedError):
            self._interrupt()
            raise
        finally:
            self._presence.end()

    def _begin(self) -> None:
        with self._store.locked():
            self._recover()
        self._store.ledger.requests()  # whatever was asked of earlier drivers: everything is tried again
        self._plan.follow(self._store)
        trials = self._store.ledger.trials
        counts: Counter[TrialState | None] = Counter()
        for number, trial in self._plan.ids():
            record = trials.get(trial)
            counts[None if record is None else record.state] += 1
            if record is None or not (record.state.final or record.state is TrialState.RUNNING):
                self._todo.append(number)
            if record is not None:
                self._numbers[trial] = number
                self._note_best(record)
        self._watcher.started(
            Start(
                total=len(self._plan),
                done=counts[TrialState.DONE],
                failed=counts[TrialState.FAILED],
                interrupted=counts[TrialState.LOST] + counts[TrialState.CANCELLED],
                running=counts[TrialState.RUNNING],
                missing=counts[None] + self._plan.missing(),
                damaged=self._store.damaged,
                pruned=counts[TrialState.PRUNED],
            )
        )

    def _recover(self) -> None:
        """Find again what the journal has lost, and take over from dead drivers. The caller holds the lock."""
        self._store.write(list(self._store.recovered()))
        in_hand = {*self._jobs.values(), *self._jobless, *self._waiting}
        mine = [record for record in self._store.running_of(self._presence.name) if self._attempt(record) not in in_hand]
        self._take_over([*self._store.orphans(), *mine])
        self._store.ledger.ended()  # what ended before is no news

    def _work(self) -> bool:
        """One round: take in what has ended, start what there is room for. Returns whether there is more to do."""
        self._poll()
        looked = time.monotonic() - self._last_look > _LOOK_AROUND
        if looked:
            self._last_look = time.monotonic()
            self._look_at_jobless()
            self._prune()
        room = self._max_jobs - len(self._jobs) - len(self._jobless) - len(self._waiting)
        if self._ends or ((self._todo or self._plan.missing()) and room > 0):
            with self._store.locked():
                if self._store.was_cut:
                    self._recover()
                ends, self._ends = self._ends, []
                self._store.write(ends)
                self._waiting += self._claim(room)
        elif looked:
            self._look_around()
        self._submit()
        self._obey()
        ended = self._store.ledger.ended()
        if looked or ended:
            self._numbers.update((trial, number) for number, trial in self._plan.follow(self._store))
        for record in ended:
            self._take_in(record)
        if looked:
            self._watcher.working(self.progress)
        others = any(trial in self._numbers for trial in self._store.ledger.running)
        at_work = self._jobs or self._jobless or self._waiting or self._ends or others
        return bool(self._todo or at_work or self._plan.missing())

    def _claim(self, room: int) -> list[Attempt]:
        begun: list[Attempt] = []
        events: list[Event] = []
        while len(begun) < room and (trial := self._next()) is not None:
            noted, attempt = self._store.begin(trial, self._presence.name, partial(attempt_content, self._spec, trial.options))
            events += noted
            if attempt is not None:
                begun.append(attempt)
        self._store.write(events)
        return begun

    def _next(self) -> PlannedTrial | None:
        """The next trial to begin; `None` if there is none, or none yet."""
        if not self._todo:
            return self._plan.propose(self._store)
        number = self._todo.popleft()
        self._again.discard(number)
        trial = self._plan.trial(number)
        self._numbers[trial.id] = number
        return trial

    def _submit(self) -> None:
        """Hand over what waits; what the scheduler does not take just now goes on waiting."""
        if not self._waiting or time.monotonic() < self._next_poll:
            return
        events: list[Event] = []
        try:
            while self._waiting:
                part = self._waiting[: self._batch.array_size if self._batch else 1]
                for name, attempt in zip(self._submitted(part), part, strict=True):
                    self._jobs[name] = attempt
                    events.append({"event": "job", "trial": attempt.trial, "attempt": attempt.number, "job": name})
                del self._waiting[: len(part)]
        except SchedulerUnavailableError as error:
            self._leave_alone(error)
        except SchedulerError as error:
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
        return self._batch.submit_many(jobs) if self._batch else [self._scheduler.submit(job) for job in jobs]

    def _leave_alone(self, error: SchedulerError) -> None:
        """Ask the scheduler nothing for a while; what cannot be asked has not changed."""
        self._next_poll = time.monotonic() + self._silence
        self._silence = min(2 * self._silence, _SILENCE[1])
        self._watcher.warned(f"the scheduler does not answer: {error}")

    def _poll(self) -> None:
        if not self._jobs or time.monotonic() < self._next_poll:
            return
        try:
            self._states = self._scheduler.poll(list(self._jobs))
        except SchedulerError as error:
            self._leave_alone(error)
            return
        self._silence = _SILENCE[0]
        for job, state in self._states.items():
            if state.ended:
                why = self._batch.reason(job) if self._batch else ""
                self._end(self._jobs.pop(job), f"its job is {state.value}{f' ({why})' if why else ''} and wrote no result")

    def _end(self, attempt: Attempt, otherwise: str) -> None:
        result = attempt.conclude(otherwise)
        if result is None:
            self._jobless.append(attempt)
            return
        if self._is_overdue(result):
            result = {**result, "reason": f"over its time limit of {self._spec.resources.time_limit}"}
        cancelled = (self._interrupted or attempt in self._unwanted) and not TrialState(result.get("state", "lost")).final
        self._ends.append(end_event(attempt, result, TrialState.CANCELLED if cancelled else None))

    def _is_overdue(self, result: Mapping[str, Any]) -> bool:
        """Whether an attempt was ended when its time was over. Its own clock tells, which started a little after the scheduler's."""
        limit = self._spec.resources.time_limit
        if limit is None or not str(result.get("reason")).startswith(ENDED_FROM_OUTSIDE):
            return False
        return bool(result["ended"] - result["started"] >= 0.9 * limit.total_seconds())

    def _prune(self) -> None:
        """End those of our jobs whose trials the pruner gives up."""
        for attempt in [attempt for attempt in self._jobs.values() if attempt not in self._unwanted]:
            verdict = self._plan.verdict(attempt.trial)
            if verdict is not None:
                attempt.prune(*verdict)
                self._unwanted.add(attempt)
                self._cancel([attempt])

    def _obey(self) -> None:
        """Do what people have asked for."""
        if self._presence.name in self._store.ledger.stopped:
            raise StoppedError("the search was cancelled from another shell; to go on, run the same command again")
        unwanted: list[Attempt] = []
        for kind, trial, number in self._store.ledger.requests():
            if kind == "cancel":
                unwanted.append(self._store.attempt(trial, number))
            else:
                self._retry(trial, number)
        self._unwanted.update(unwanted)
        self._cancel(unwanted)
        for attempt in [attempt for attempt in self._waiting if attempt in unwanted]:
            self._waiting.remove(attempt)
            self._end(attempt, "it was never submitted")

    def _cancel(self, attempts: Sequence[Attempt]) -> None:
        jobs = [job for job, attempt in self._jobs.items() if attempt in attempts]
        if not jobs:
            return
        try:
            self._scheduler.cancel(jobs)
        except SchedulerUnavailableError as error:
            self._leave_alone(error)
            self._unwanted.difference_update(attempts)

    def _retry(self, trial: str, number: int) -> None:
        record = self._store.ledger.trials.get(trial)
        if record is None or trial not in self._numbers or record.attempt != number:
            return
        if not (record.state.final or record.state is TrialState.RUNNING):
            self._failures[trial] = self._losses[trial] = 0
            self._try_again(trial)

    def _try_again(self, trial: str) -> None:
        number = self._numbers[trial]
        if number not in self._again:
            self._again.add(number)
            self._todo.append(number)

    def _look_at_jobless(self) -> None:
        jobless, self._jobless = self._jobless, []
        for attempt in jobless:
            self._end(attempt, "it was killed")

    def _look_around(self) -> None:
        self._store.refresh()
        if self._store.was_cut:
            with self._store.locked():
                self._recover()
        elif self._store.orphans():
            with self._store.locked():
                self._take_over(self._store.orphans())

    def _attempt(self, record: TrialRecord) -> Attempt:
        return self._store.attempt(record.id, record.attempt)

    def _take_over(self, orphans: Sequence[TrialRecord]) -> None:
        """Make trials ours that nobody looks after: some have ended, some run on, some are dead. The caller holds the lock."""
        ours = {*self._jobs.values(), *self._jobless, *self._waiting}
        jobs, states = self._known(orphans)
        events: list[Event] = []
        for record in orphans:
            attempt = self._attempt(record)
            events.append(self._store.take_over(record, self._presence.name))
            if attempt in ours:  # the journal had lost our claim
                continue
            job = jobs.get(record.id, "")
            if not states.get(job, JobState.LOST).ended:
                self._jobs[job] = attempt
                events += [] if record.job else [{"event": "job", "trial": record.id, "attempt": record.attempt, "job": job}]
                continue
            result = attempt.conclude("its driver was killed, and it wrote no result")
            if result is None:
                self._jobless.append(attempt)
            else:
                events.append(end_event(attempt, result))
        self._store.write(events)

    def _known(self, orphans: Sequence[TrialRecord]) -> tuple[dict[str, str], Mapping[str, JobState]]:
        """The jobs of some trials by their ids, found again where they were not written down, and the jobs' states."""
        jobs = {record.id: record.job for record in orphans if record.job}
        if not orphans:
            return jobs, {}
        try:
            if self._batch and len(jobs) < len(orphans):
                keys = {key_of(self._attempt(record)): record.id for record in orphans if not record.job}
                jobs |= {keys[key]: job for key, job in self._batch.find(keys).items()}
            return jobs, self._scheduler.poll(list(jobs.values()))
        except SchedulerUnavailableError as error:
            self._leave_alone(error)
            return jobs, dict.fromkeys(jobs.values(), JobState.QUEUED)

    def _take_in(self, record: TrialRecord) -> None:
        """Note that an attempt has ended, ours or another driver's, and try again what may be tried again."""
        if record.id not in self._numbers:
            return
        self._note_best(record)
        self._watcher.ended(record, self.progress)
        if record.state in {TrialState.FAILED, TrialState.LOST, TrialState.CANCELLED} and self._may_try_again(record):
            self._try_again(record.id)

    def _may_try_again(self, record: TrialRecord) -> bool:
        if record.state is TrialState.CANCELLED:
            return not self._interrupted and self._attempt(record) not in self._unwanted
        counter, limit = (self._losses, _LOSSES) if record.state is TrialState.LOST else (self._failures, self._spec.attempts)
        counter[record.id] += 1
        return counter[record.id] < limit

    def _note_best(self, record: TrialRecord) -> None:
        if record.score is None:
            return
        sign = 1 if self._spec.direction == "maximize" else -1
        if self._best is None or self._best.score is None or sign * record.score > sign * self._best.score:
            self._best = record

    def progress(self) -> Progress:
        """How far the search is."""
        queued = len(self._waiting) + sum(self._states.get(job, JobState.QUEUED) is JobState.QUEUED for job in self._jobs)
        return Progress(len(self._plan), self._store.ledger.counts(), queued, self._best)

    def _interrupt(self) -> None:
        """End our own jobs, and say in the journal that they were cancelled."""
        self._interrupted = True
        waiting, self._waiting = self._waiting, []
        for attempt in waiting:
            self._end(attempt, "it was never submitted")
        try:
            self._scheduler.cancel(list(self._jobs))
        except SchedulerUnavailableError as error:
            self._leave_alone(error)
        end = time.monotonic() + 60
        while self._jobs and time.monotonic() < end:
            self._poll()
            time.sleep(self._poll_interval)
        self._look_at_jobless()
        with self._store.locked():
            self._store.write(self._ends)
        if self._jobs:
            raise RunError(f"{len(self._jobs)} jobs do not end although they were cancelled")
