"""What one process asks of the drivers of a search: to cancel trials, to stop, to try again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hypnet_core.errors import RunError, did_you_mean
from hypnet_core.protocols import BatchScheduler, Scheduler
from hypnet_hpsearch.execution.jobs import key_of
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState
from hypnet_hpsearch.state.locks import Presence, present
from hypnet_hpsearch.state.store import Event, Store, end_event

__all__ = ["Cancelled", "cancel", "found", "retry"]

_POLL = 0.1


@dataclass(frozen=True)
class Cancelled:
    """What `cancel` has done.

    Attributes:
        trials: The trials that were cancelled; those that ended by themselves at the
            last moment are not among them.
        drivers: How many drivers were stopped.
    """

    trials: list[str]
    drivers: int


def found(store: Store, names: Iterable[str]) -> list[TrialRecord]:
    """The trials with some ids, of which the beginnings will do.

    Raises:
        RunError: There is no such trial, or several.
    """
    trials = store.ledger.trials
    records: dict[str, TrialRecord] = {}
    for name in names:
        matching = [trial for trial in trials if trial.startswith(name)] if name else []
        if len(matching) != 1:
            several = (
                f"{len(matching)} trials begin with {name!r}"
                if matching
                else f"there is no trial {name!r}"
            )
            raise RunError(
                f"{store.directory}: {several}{'' if matching else did_you_mean(name, trials)}"
            )
        records[matching[0]] = trials[matching[0]]
    return list(records.values())


def cancel(
    store: Store, scheduler: Scheduler, names: Sequence[str] = (), *, patience: float = 90.0
) -> Cancelled:
    """End trials that run or wait, whoever has started them, and wait until they have ended.

    Args:
        store: The search.
        scheduler: What ends the jobs of drivers that are dead.
        names: The trials' ids. Without any, all of them, and the drivers stop.
        patience: Seconds to wait.

    Raises:
        RunError: A trial is not known or does not run; or something does not end.
    """
    with store.locked():
        chosen = (
            found(store, names)
            if names
            else [store.ledger.trials[trial] for trial in store.ledger.running]
        )
        for record in chosen:
            if record.state is not TrialState.RUNNING:
                raise RunError(f"the trial {record.id} does not run: it is {record.state.value}")
        drivers = present(store.directory)
        events: list[Event] = [
            {"event": "cancel", "trial": record.id, "attempt": record.attempt}
            for record in chosen
            if drivers
        ]
        if drivers and not names:
            events.append({"event": "stop", "drivers": drivers})
        store.write(events)
    _cancel_orphans(
        store, scheduler, {record.id for record in chosen if record.driver not in drivers}, patience
    )
    attempts = {record.id: record.attempt for record in chosen}
    _wait(store, attempts, drivers if not names else [], patience)
    ended = [
        trial for trial in attempts if store.ledger.trials[trial].state is TrialState.CANCELLED
    ]
    return Cancelled(ended, 0 if names else len(drivers))


def _cancel_orphans(store: Store, scheduler: Scheduler, trials: set[str], patience: float) -> None:
    """End the trials of dead drivers, in their place."""
    if not trials:
        return
    presence = Presence(store.directory)
    try:
        with store.locked():
            mine = [record for record in store.orphans() if record.id in trials]
            store.write([store.take_over(record, presence.name) for record in mine])
        scheduler.cancel(_jobs(store, scheduler, mine))
        end = time.monotonic() + patience
        while mine and time.monotonic() < end:
            mine = [record for record in mine if not _concluded(store, record)]
            time.sleep(_POLL * bool(mine))
    finally:
        presence.end()


def _jobs(store: Store, scheduler: Scheduler, records: Iterable[TrialRecord]) -> list[str]:
    """The jobs of some trials; a batch system knows also those whose ids were never written down."""
    jobs = [record.job for record in records if record.job]
    if isinstance(scheduler, BatchScheduler):
        keys = [
            key_of(store.attempt(record.id, record.attempt)) for record in records if not record.job
        ]
        jobs += scheduler.find(keys).values() if keys else []
    return jobs


def _concluded(store: Store, record: TrialRecord) -> bool:
    attempt = store.attempt(record.id, record.attempt)
    result = attempt.conclude("it was cancelled")
    if result is None:
        return False
    final = TrialState(result.get("state", "lost")).final
    with store.locked():
        store.write([end_event(attempt, result, None if final else TrialState.CANCELLED)])
    return True


def _wait(store: Store, attempts: dict[str, int], drivers: Sequence[str], patience: float) -> None:
    end = time.monotonic() + patience
    while True:
        store.refresh()
        trials = store.ledger.trials
        running = [
            trial
            for trial, attempt in attempts.items()
            if trial in trials
            and trials[trial].state is TrialState.RUNNING
            and trials[trial].attempt == attempt
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
    """Have trials run again that have failed, were lost or were cancelled: by a driver at work, or else by the next.

    Args:
        store: The search.
        names: The trials' ids; all such trials if there are none.

    Returns:
        The trials' ids.

    Raises:
        RunError: A trial is not known, runs, or has its result.
    """
    with store.locked():
        chosen = found(store, names) if names else list(store.ledger.trials.values())
        again = [
            record
            for record in chosen
            if not (record.state.final or record.state is TrialState.RUNNING)
        ]
        if names and len(again) < len(chosen):
            other = next(record for record in chosen if record not in again)
            raise RunError(
                f"the trial {other.id} is {other.state.value}: only what has failed can be tried"
                " again"
            )
        store.write(
            [{"event": "retry", "trial": record.id, "attempt": record.attempt} for record in again]
        )
    return [record.id for record in again]
