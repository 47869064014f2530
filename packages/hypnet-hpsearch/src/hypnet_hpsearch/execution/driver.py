"""The loop that carries a search out: claims trials, hands them to a scheduler, takes in their results."""

from __future__ import annotations

import time
from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING

from hypnet_core.errors import RunError
from hypnet_core.protocols import Scheduler
from hypnet_hpsearch.execution.observers import Progress, Start, Watcher
from hypnet_hpsearch.execution.tracker import InHand
from hypnet_hpsearch.propose.grid import Plan, PlannedTrial
from hypnet_hpsearch.spec.command import attempt_content
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.attempts import Attempt
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState
from hypnet_hpsearch.state.locks import Presence
from hypnet_hpsearch.state.store import Event, Store

if TYPE_CHECKING:
    from hypnet_hpsearch.propose.optuna.proposer import AdaptivePlan

__all__ = ["Driver", "StoppedError"]

_LOOK_AROUND = 0.2  # seconds between two looks at what other drivers do, and at attempts that no job of ours stands for
_LOSSES = (
    5  # how often a trial may vanish, each time that the search is started, before it is given up
)


class StoppedError(RunError):
    """Somebody has asked the driver to stop; its own jobs have been cancelled."""


class Driver:
    """Runs what is missing or failed of a search, once.

    Any number of drivers may work on one search, and each may be killed at any moment:
    jobs go on without it, and the next driver takes over.

    Args:
        store: The search's directory.
        plan: Its trials.
        spec: The search, with the settings of today.
        scheduler: What runs the jobs.
        watcher: Who is told.
        max_jobs: How many jobs may be queued or running at once; what the scheduler's
            slots call for if `None`.
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
        self._store, self._plan, self._spec, self._watcher = store, plan, spec, watcher
        self._hand = InHand(store, spec, scheduler, warned=watcher.warned, max_jobs=max_jobs)
        self._presence = Presence(store.directory)
        self._todo: deque[int] = deque()
        self._numbers: dict[
            str, int
        ] = {}  # of the trials that are begun, so that they can be tried again
        self._failures: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self._best: TrialRecord | None = None
        self._last_look = 0.0
        self._again: set[int] = set()  # trials among those to do that have failed before
        self._outside = 0  # trials that were begun when the search asked for others: in another order, or for more

    def run(self) -> None:
        """Work until every trial has ended.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed. The driver's own jobs have been
                cancelled.
            StoppedError: `hypnet search cancel` was used. Likewise.
            RunError: The directory cannot be written any more. Jobs go on.
            SchedulerError: The scheduler refuses a job. Jobs that it had accepted go
                on.
        """
        try:
            self._begin()
            while self._work():
                time.sleep(self._hand.poll_interval)
        except (KeyboardInterrupt, StoppedError):
            self._hand.end_all()
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
        self._outside = len(trials) - len(self._numbers)
        self._store.set_total(self.total)
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
                searched=self._spec.searched,
            )
        )

    def _recover(self) -> None:
        """Find again what the journal has lost, and take over from dead drivers.

        The caller holds the lock.
        """
        self._store.write(list(self._store.recovered()))
        known = self._hand.attempts
        claimed = self._store.running_of(self._presence.name)
        lost = [
            record
            for record in claimed
            if self._store.attempt(record.id, record.attempt) not in known
        ]
        self._hand.take_over([*self._store.orphans(), *lost], self._presence.name)
        self._store.ledger.ended()  # what ended before is no news

    def _work(self) -> bool:
        """One round: take in what has ended, start what there is room for.

        Returns whether there is more to do.
        """
        self._hand.poll()
        looked = time.monotonic() - self._last_look > _LOOK_AROUND
        if looked:
            self._last_look = time.monotonic()
            self._hand.look_at_jobless()
            self._prune()
        if self._hand.has_ends or ((self._todo or self._plan.missing()) and self._hand.room > 0):
            with self._store.locked():
                if self._store.was_cut:
                    self._recover()
                self._store.write(self._hand.take_ends())
                self._hand.add(self._claim(self._hand.room))
        elif looked:
            self._look_around()
        self._hand.submit()
        self._obey()
        ended = self._store.ledger.ended()
        if looked or ended:
            self._numbers.update(
                (trial, number) for number, trial in self._plan.follow(self._store)
            )
        for record in ended:
            self._take_in(record)
        if looked:
            self._watcher.working(self.progress)
        others = any(trial in self._numbers for trial in self._store.ledger.running)
        return bool(
            self._todo or self._hand or self._hand.has_ends or others or self._plan.missing()
        )

    def _claim(self, room: int) -> list[Attempt]:
        begun: list[Attempt] = []
        events: list[Event] = []
        while len(begun) < room and (trial := self._next()) is not None:
            noted, attempt = self._store.begin(
                trial, self._presence.name, partial(attempt_content, self._spec, trial.options)
            )
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

    def _prune(self) -> None:
        """End those of our jobs whose trials the pruner gives up."""
        for attempt in [
            attempt for attempt in self._hand.with_job if attempt not in self._hand.unwanted
        ]:
            verdict = self._plan.verdict(attempt.trial)
            if verdict is not None:
                attempt.prune(*verdict)
                self._hand.cancel([attempt])

    def _obey(self) -> None:
        """Do what people have asked for."""
        if self._presence.name in self._store.ledger.stopped:
            raise StoppedError(
                "the search was cancelled from another shell; to go on, run the same command again"
            )
        unwanted: list[Attempt] = []
        for kind, trial, number in self._store.ledger.requests():
            if kind == "cancel":
                unwanted.append(self._store.attempt(trial, number))
            else:
                self._retry(trial, number)
        self._hand.cancel(unwanted)

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

    def _look_around(self) -> None:
        self._store.refresh()
        if self._store.was_cut:
            with self._store.locked():
                self._recover()
        elif self._store.orphans():
            with self._store.locked():
                self._hand.take_over(self._store.orphans(), self._presence.name)

    def _take_in(self, record: TrialRecord) -> None:
        """Note that an attempt has ended, ours or another driver's, and try again what may be tried again."""
        if record.id not in self._numbers:
            return
        self._note_best(record)
        self._watcher.ended(record, self.progress)
        if record.state in {
            TrialState.FAILED,
            TrialState.LOST,
            TrialState.CANCELLED,
        } and self._may_try_again(record):
            self._try_again(record.id)

    def _may_try_again(self, record: TrialRecord) -> bool:
        if record.state is TrialState.CANCELLED:
            return self._store.attempt(record.id, record.attempt) not in self._hand.unwanted
        counter, limit = (
            (self._losses, _LOSSES)
            if record.state is TrialState.LOST
            else (self._failures, self._spec.attempts)
        )
        counter[record.id] += 1
        return counter[record.id] < limit

    def _note_best(self, record: TrialRecord) -> None:
        if record.score is None:
            return
        rank = record.rank(self._spec.direction)
        if self._best is None or rank < self._best.rank(self._spec.direction):
            self._best = record

    @property
    def total(self) -> int:
        """How many trials the search has: those that it asks for today, and whatever was begun before."""
        return len(self._plan) + self._outside

    def progress(self) -> Progress:
        """How far the search is."""
        return Progress(self.total, self._store.ledger.counts(), self._hand.queued, self._best)
