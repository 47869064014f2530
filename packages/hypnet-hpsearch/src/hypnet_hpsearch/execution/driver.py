"""The driver of a search.

It claims trials, submits them to a scheduler, and collects their results.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from functools import partial

from hypnet_core.errors import RunError
from hypnet_core.jobs import Interruption
from hypnet_core.protocols import Scheduler
from hypnet_hpsearch._signals import signals_held
from hypnet_hpsearch.execution.observers import Inventory, SearchObserver, SearchProgress
from hypnet_hpsearch.execution.race import Race
from hypnet_hpsearch.execution.tracker import Tracker
from hypnet_hpsearch.propose.base import AdaptiveProposer, Proposer
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.spec.trials import PlannedTrial
from hypnet_hpsearch.state.attempts import Attempt, attempt_record
from hypnet_hpsearch.state.events import Event
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState
from hypnet_hpsearch.state.locks import DriverLock
from hypnet_hpsearch.state.store import Store

__all__ = ["Driver", "StoppedError"]

_LOOK_AROUND = 0.2  # seconds between two looks at other drivers, and at attempts without a job
# How often a trial may vanish or be interrupted without progress, per start of the
# search, before it is given up.
_LOSSES = 5
_LOST = (Interruption.PREEMPTED.value, Interruption.NODE.value, "signal")


class StoppedError(RunError):
    """A user has asked the driver to stop; its own jobs have been cancelled."""


class Driver:
    """Runs all trials of a search that have no result.

    Any number of drivers may work on one search, and each may be killed at any moment:
    its jobs go on, and the next driver takes over.

    Args:
        store: The search's directory.
        proposer: The trials.
        spec: The search, with its current settings.
        scheduler: Runs the jobs.
        observer: Receives the events.
        max_jobs: Limit of active jobs; by default it depends on the scheduler's slots.
    """

    def __init__(
        self,
        store: Store,
        proposer: Proposer,
        spec: SearchSpec,
        *,
        scheduler: Scheduler,
        observer: SearchObserver,
        max_jobs: int | None = None,
    ) -> None:
        self._store, self._proposer, self._spec = store, proposer, spec
        self._adaptive = proposer if isinstance(proposer, AdaptiveProposer) else None
        self._observer = observer
        self._tracker = Tracker(store, spec, scheduler, warned=observer.warned, max_jobs=max_jobs)
        self._lock = DriverLock(store.directory)
        self._race = Race(store, spec, proposer, self._tracker, self._lock.name)
        self._todo: deque[int] = deque()
        self._numbers: dict[str, int] = {}  # of the trials that have begun
        self._failures: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self._last_look = 0.0
        self._again: set[int] = set()  # numbers in `_todo` of trials that have failed before
        # Trials that were begun under other settings, in another order or with a larger
        # limit, and are not asked for now.
        self._outside = 0
        self._spared = 0

    def run(self) -> None:
        """Work until every trial has ended.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed. The driver's own jobs have been
                cancelled.
            StoppedError: `hypnet search cancel` was used. The driver's own jobs have
                been cancelled.
            RunError: The directory cannot be written any more. Jobs go on.
            SchedulerError: The scheduler refuses a job. Jobs that it had accepted go
                on.
        """
        try:
            # A signal may interrupt a pause only: between a request to the scheduler or
            # to the disk and its answer it would lose what was asked for.
            with signals_held():
                self._begin()
            while self._step():
                time.sleep(self._tracker.poll_interval)
            self._observer.working(self.progress)  # a last look
        except (KeyboardInterrupt, StoppedError):
            self._tracker.end_all()
            raise
        finally:
            with signals_held():
                self._lock.release()

    def _step(self) -> bool:
        with signals_held():
            return self._work()

    def _begin(self) -> None:
        with self._store.locked():
            self._recover()
        # Drop requests to earlier drivers: this one tries everything again anyway.
        self._store.ledger.requests()
        self._follow()
        trials = self._store.ledger.trials
        counts: Counter[TrialState | None] = Counter()
        for number, trial in self._proposer.ids():
            record = trials.get(trial)
            counts[None if record is None else record.state] += 1
            if record is None or not (record.state.final or record.state is TrialState.RUNNING):
                self._todo.append(number)
            if record is not None:
                self._numbers[trial] = number
                self._race.add(record)
        self._outside = len(trials) - len(self._numbers)
        self._spare()
        self._store.set_total(self.total)
        self._observer.started(
            Inventory(
                total=len(self._proposer) - self._spared,
                done=counts[TrialState.DONE],
                failed=counts[TrialState.FAILED],
                interrupted=counts[TrialState.LOST] + counts[TrialState.CANCELLED],
                running=counts[TrialState.RUNNING],
                missing=counts[None] + self._unknown - self._spared,
                damaged=self._store.damaged,
                pruned=counts[TrialState.PRUNED],
                searched=self._spec.searched,
                directory=str(self._store.directory),
            )
        )

    def _spare(self) -> None:
        """Do not draw at random what trials from before a change stand for."""
        if self._spec.sampler_name != "random" or not self._store.header["changed"]:
            return
        trials = self._store.ledger.trials
        final = sum(
            record.state.final for trial, record in trials.items() if trial not in self._numbers
        )
        begun = set(self._numbers.values())
        fresh = [number for number in self._todo if number not in begun]
        spared = set(fresh[max(0, len(fresh) - final) :])
        self._todo = deque(number for number in self._todo if number not in spared)
        self._spared = len(spared)

    def _recover(self) -> None:
        """Recover events that the journal has lost, and take over from dead drivers.

        The caller holds the lock.
        """
        self._store.write(list(self._store.recovered()))
        known = self._tracker.attempts
        claimed = self._store.running_of(self._lock.name)
        lost = [record for record in claimed if self._store.latest(record) not in known]
        self._tracker.take_over([*self._store.orphans(), *lost], self._lock.name)
        self._store.ledger.ended()  # earlier ends are known

    def _work(self) -> bool:
        """Collect the attempts that have ended, and start as many as there is room for.

        Returns whether there is more to do.
        """
        # Collect finished attempts first: they make room for new claims.
        self._tracker.poll()
        looked = time.monotonic() - self._last_look > _LOOK_AROUND
        if looked:
            self._last_look = time.monotonic()
            self._tracker.look_at_jobless()
            self._prune()
        if self._tracker.has_ends or ((self._todo or self._unknown) and self._tracker.room > 0):
            with self._store.locked():
                if self._store.was_cut:
                    self._recover()
                self._store.write(self._tracker.take_ends())
                self._tracker.add(self._claim(self._tracker.room))
        # Taking the lock also reads the events of other drivers.
        elif looked:
            self._look_around()
        self._tracker.submit()
        self._obey()
        self._take_events(looked=looked)
        # Wait for the trials of other drivers: they may have to be taken over.
        others = any(trial in self._numbers for trial in self._store.ledger.running)
        return bool(
            self._todo or self._tracker or self._tracker.has_ends or others or self._unknown
        )

    @property
    def _unknown(self) -> int:
        """The number of trials that a sampler has not proposed yet."""
        return 0 if self._adaptive is None else self._adaptive.missing()

    def _follow(self) -> list[tuple[int, str]]:
        """The numbers and ids of trials that have become known since the last call."""
        return [] if self._adaptive is None else self._adaptive.follow(self._store)

    def _take_events(self, *, looked: bool) -> None:
        """Tell proposer and observer what has happened."""
        ended = self._store.ledger.ended()
        if looked or ended:
            self._numbers.update((trial, number) for number, trial in self._follow())
        for record in ended:
            self._take_in(record)
        if looked:
            self._observer.working(self.progress)

    def _claim(self, room: int) -> list[Attempt]:
        begun: list[Attempt] = []
        events: list[Event] = []
        # A trial may have been taken by another driver meanwhile; then ask for the
        # next.
        while len(begun) < room and (trial := self._next()) is not None:
            skipped = self._race.skipped(trial)
            if skipped:
                events += skipped
                continue
            noted, attempt = self._store.begin(
                trial, self._lock.name, partial(attempt_record, self._spec, trial.options)
            )
            events += noted
            if attempt is not None:
                begun.append(attempt)
        self._store.write(events)
        return begun

    def _next(self) -> PlannedTrial | None:
        """The next trial to begin; `None` if there is none, or none yet."""
        if not self._todo:
            return None if self._adaptive is None else self._adaptive.propose(self._store)
        number = self._todo.popleft()
        self._again.discard(number)
        trial = self._proposer.trial(number)
        self._numbers[trial.id] = number
        return trial

    def _prune(self) -> None:
        """End those of our jobs whose trials the pruner gives up."""
        if self._adaptive is None:
            return
        for attempt in self._tracker.with_job - self._tracker.unwanted:
            verdict = self._adaptive.verdict(self._store, attempt.trial)
            if verdict is not None:
                step, value = verdict
                attempt.prune(f"pruned at step {step}", value)
                self._tracker.cancel([attempt])

    def _obey(self) -> None:
        """Carry out the requests of users."""
        # Only drivers that were active at the time of the request are named in it.
        if self._lock.name in self._store.ledger.stopped:
            raise StoppedError(
                "the search was cancelled from another shell; to go on, run the same command again"
            )
        unwanted: list[Attempt] = []
        for kind, trial, number in self._store.ledger.requests():
            if kind == "cancel":
                unwanted.append(self._store.attempt(trial, number))
            else:
                self._retry(trial, number)
        self._tracker.cancel(unwanted)

    def _retry(self, trial: str, number: int) -> None:
        record = self._store.ledger.trials.get(trial)
        if record is None or trial not in self._numbers or record.attempt != number:
            return
        if not (record.state.final or record.state is TrialState.RUNNING):
            # A request by a user starts the counting anew.
            self._failures[trial] = self._losses[trial] = 0
            self._try_again(trial)

    def _try_again(self, trial: str) -> None:
        number = self._numbers[trial]
        if number not in self._again:
            # Behind all others: a trial that failed may fail again.
            self._again.add(number)
            self._todo.append(number)

    def _look_around(self) -> None:
        self._store.refresh()
        if self._store.was_cut:
            with self._store.locked():
                self._recover()
        elif self._store.orphans():
            with self._store.locked():
                self._tracker.take_over(self._store.orphans(), self._lock.name)

    def _take_in(self, record: TrialRecord) -> None:
        """Handle the end of an attempt, ours or another driver's.

        The trial is tried again if that is allowed.
        """
        if record.id not in self._numbers:
            return
        self._race.judge(record)
        self._observer.ended(record, self.progress)
        if record.state in {
            TrialState.FAILED,
            TrialState.LOST,
            TrialState.CANCELLED,
        } and self._may_try_again(record):
            self._try_again(record.id)

    def _may_try_again(self, record: TrialRecord) -> bool:
        if record.state is TrialState.CANCELLED:
            # Without a request, another driver was interrupted: carry its trial on.
            return self._store.latest(record) not in self._tracker.unwanted
        # Losses are counted apart: a lost trial was killed from outside, it did not
        # fail. A time limit or a lack of memory will strike again.
        lost = record.interrupted in _LOST or (
            record.state is TrialState.LOST and not record.interrupted
        )
        goes_on = lost or record.interrupted == Interruption.TIME_LIMIT.value
        if goes_on and self._spec.resumes and self._store.latest(record).has_progressed(self._spec):
            self._losses[record.id] = self._failures[record.id] = 0
            return True
        counter, limit = (self._losses, _LOSSES) if lost else (self._failures, self._spec.attempts)
        counter[record.id] += 1
        return counter[record.id] < limit

    @property
    def total(self) -> int:
        """The number of trials: those asked for now, and all that were begun before."""
        return len(self._proposer) + self._outside - self._spared

    def progress(self) -> SearchProgress:
        """The progress of the search."""
        return SearchProgress(
            self.total, self._store.ledger.counts(), self._store.queued(), self._race.best
        )
