"""Requests to the drivers of a search: cancel trials, stop, retry."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hypnet_core.errors import RunError
from hypnet_core.protocols import BatchScheduler, Scheduler
from hypnet_hpsearch.execution.jobs import key_of
from hypnet_hpsearch.state.events import Event, end_event, request_event, stop_event
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState
from hypnet_hpsearch.state.locks import DriverLock, present
from hypnet_hpsearch.state.store import Store

__all__ = ["Cancelled", "cancel", "retry"]

_POLL = 0.05  # seconds between two looks


@dataclass(frozen=True)
class Cancelled:
    """The outcome of `cancel`.

    Attributes:
        trials: The trials that were cancelled, without those that ended by themselves
            at the last moment.
        drivers: The number of drivers that were stopped.
    """

    trials: list[str]
    drivers: int


def cancel(
    store: Store, scheduler: Scheduler, names: Sequence[str] = (), *, patience: float = 90.0
) -> Cancelled:
    """End trials that run or wait, whichever driver has started them.

    The call waits until they have ended.

    Args:
        store: The search.
        scheduler: Ends the jobs of drivers that are dead.
        names: Ids of the trials. Without any, all of them end, and the drivers stop.
        patience: Seconds to wait.

    Raises:
        RunError: A trial is unknown or not running; or one does not end.
    """
    with store.locked():
        chosen = store.matching(names) if names else store.ledger.running_trials()
        for record in chosen:
            if record.state is not TrialState.RUNNING:
                raise RunError(f"the trial {record.id} is not running: it is {record.state.value}")
        drivers = present(store.directory)
        # Without a driver there is nobody to read a request.
        requests = chosen if drivers else []
        events: list[Event] = [request_event("cancel", record) for record in requests]
        if drivers and not names:
            events.append(stop_event(drivers))
        store.write(events)
    _cancel_orphans(
        store, scheduler, {record.id for record in chosen if record.driver not in drivers}, patience
    )
    attempts = {record.id: record.attempt for record in chosen}
    # Requests are asynchronous: the drivers act on them in their next round.
    _wait(store, attempts, drivers if not names else [], patience)
    ended = [
        trial for trial in attempts if store.ledger.trials[trial].state is TrialState.CANCELLED
    ]
    return Cancelled(ended, 0 if names else len(drivers))


def _cancel_orphans(store: Store, scheduler: Scheduler, trials: set[str], patience: float) -> None:
    """End the trials of dead drivers, acting as their driver for a while."""
    if not trials:
        return
    lock = DriverLock(store.directory)
    try:
        with store.locked():
            mine = [record for record in store.orphans() if record.id in trials]
            store.write([store.take_over(record, lock.name) for record in mine])
        scheduler.cancel(_jobs(store, scheduler, mine))
        end = time.monotonic() + patience
        while mine and time.monotonic() < end:
            mine = [record for record in mine if not _concluded(store, record)]
            time.sleep(_POLL * bool(mine))
    finally:
        lock.release()


def _jobs(store: Store, scheduler: Scheduler, records: Iterable[TrialRecord]) -> list[str]:
    """The jobs of some trials; a batch system also finds those whose ids were lost."""
    jobs = [record.job for record in records if record.job]
    if isinstance(scheduler, BatchScheduler):
        keys = [key_of(store.latest(record)) for record in records if not record.job]
        jobs += scheduler.find(keys).values() if keys else []
    return jobs


def _concluded(store: Store, record: TrialRecord) -> bool:
    """Whether an attempt is over; its end is then in the journal."""
    attempt = store.latest(record)
    result = attempt.conclude("it was cancelled")
    if result is None:
        return False
    final = TrialState(result.get("state", "lost")).final
    with store.locked():
        store.write([end_event(attempt, result, None if final else TrialState.CANCELLED)])
    return True


def _wait(store: Store, attempts: dict[str, int], drivers: Sequence[str], patience: float) -> None:
    """Wait until attempts and drivers have ended."""
    end = time.monotonic() + patience
    while True:
        store.refresh()
        running = [
            record
            for record in store.ledger.running_trials()
            if attempts.get(record.id) == record.attempt
        ]
        left = set(drivers) & set(present(store.directory))
        if not running and not left:
            return
        if time.monotonic() > end:
            raise RunError(
                f"{len(running)} trials and {len(left)} drivers have not ended after {patience:.0f}"
                " seconds"
            )
        time.sleep(_POLL)


def retry(store: Store, names: Sequence[str] = ()) -> list[str]:
    """Ask for another attempt at trials that have failed, were lost or were cancelled.

    An active driver runs them again; without one, the next driver does.

    Args:
        store: The search.
        names: Ids of the trials; all such trials if there are none.

    Returns:
        Ids of the trials.

    Raises:
        RunError: A trial is unknown, is running, or has its result.
    """
    with store.locked():
        chosen = store.matching(names) if names else list(store.ledger.trials.values())
        again = [
            record
            for record in chosen
            if not (record.state.final or record.state is TrialState.RUNNING)
        ]
        if names and len(again) < len(chosen):
            other = next(record for record in chosen if record not in again)
            raise RunError(
                f"the trial {other.id} is {other.state.value}: only trials that have failed can be"
                " retried"
            )
        store.write([request_event("retry", record) for record in again])
    return [record.id for record in again]
