"""The directory of a search: its description, its events and its trials.

| path | holds |
| --- | --- |
| `search.json` | the search, resolved, and the fingerprint of its identity |
| `journal.jsonl` | claims, jobs and ends, one event per line |
| `drivers/NAME` | one file per active driver, locked while the driver is alive |
| `trials/ID/NUMBER/` | one attempt each; see `hypnet_hpsearch.state.attempts` |
| `results.csv` | the results, best first |

The attempts' directories are the source of truth. The journal makes them quick to read;
anything it has lost is recovered from them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypnet_core.errors import RunError, did_you_mean
from hypnet_core.runs import make_directory
from hypnet_hpsearch.spec.members import Members
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.spec.trials import PlannedTrial
from hypnet_hpsearch.state.attempts import Attempt
from hypnet_hpsearch.state.events import (
    ClaimEvent,
    EndEvent,
    Event,
    claim_event,
    end_event,
    options_event,
)
from hypnet_hpsearch.state.header import (
    SEARCH_FILE,
    changes,
    header_of,
    read_header,
    write_header,
)
from hypnet_hpsearch.state.journal import Journal
from hypnet_hpsearch.state.ledger import Ledger, TrialRecord, TrialState
from hypnet_hpsearch.state.locks import is_present
from hypnet_hpsearch.trial.records import AttemptRecord

__all__ = ["Store"]


class Store:
    """The directory of a search.

    Args:
        directory: It must hold a search; see `Store.create`.
        header: The description to use instead of that in `search.json`.

    Attributes:
        directory: The directory.
        header: The content of `search.json`.
        ledger: The state of the trials, as of the latest `refresh()`.
        was_cut: Whether the journal was truncated or replaced while it was in use, so
            that `recovered()` may find more.
        differing: The fields in which the search has just been changed.

    Raises:
        RunError: The directory holds no search, or one that is damaged.
    """

    def __init__(self, directory: Path, header: dict[str, Any] | None = None) -> None:
        self.directory = directory
        self.trials = directory / "trials"
        self.header = read_header(directory) if header is None else header
        self.journal = Journal(directory / "journal.jsonl")
        # Checking each trial takes time, which most searches need not spend.
        self._members = Members(self.spec).contain if self.header.get("changed") else None
        self.ledger = Ledger(self._members)
        self.was_cut = False
        self.differing: list[str] = []

    @classmethod
    def create(
        cls, directory: Path, spec: SearchSpec, total: int, *, may_grow: bool = True
    ) -> Store:
        """Begin a search, or continue the one that the directory holds.

        Args:
            directory: A new or empty directory, or one that holds this search.
            spec: The search. It may differ from before; the new values are kept. Trials
                that do not belong to it any more are left aside.
            total: The number of trials.
            may_grow: Whether the configurations of an existing search may differ.

        Raises:
            RunError: The directory holds another search or something else, or cannot be
                written.
        """
        path = directory / SEARCH_FILE
        if not path.exists():
            make_directory(directory)
            # Look again: another driver may have begun the same search just now.
            if any(entry.name[0] != "." for entry in directory.iterdir()) and not path.exists():
                raise RunError(
                    f"{directory} is not empty and holds no search: choose another directory"
                )
        before = read_header(directory) if path.exists() else None
        differing = [] if before is None else changes(before, spec, directory, may_grow=may_grow)
        was_changed = before is not None and bool(before.get("changed"))
        header = header_of(spec, total, changed=was_changed or bool(differing))
        if before != header:
            write_header(directory, header)
        store = cls(directory)
        store.differing = differing
        return store

    @classmethod
    def glimpsed(cls, directory: Path) -> Store:
        """A store for a process that only reads; see `glimpse()`."""
        store = cls(directory.absolute())
        store.glimpse()
        return store

    @classmethod
    def previewed(cls, directory: Path, spec: SearchSpec, total: int) -> Store | None:
        """The store as it would be if a search was run there; nothing is written.

        Returns:
            The store; `None` if the directory holds no search yet.

        Raises:
            RunError: The directory holds another search.
        """
        if not (directory / SEARCH_FILE).exists():
            return None
        before = read_header(directory)
        differing = changes(before, spec, directory)
        changed = bool(before.get("changed")) or bool(differing)
        store = cls(directory.absolute(), header_of(spec, total, changed=changed))
        store.differing = differing
        store.glimpse()
        return store

    def set_total(self, total: int) -> None:
        """Change the number of trials.

        Raises:
            RunError: `search.json` cannot be written.
        """
        if self.header["trials"] != total:
            self.header["trials"] = total
            write_header(self.directory, self.header)

    @property
    def spec(self) -> SearchSpec:
        """The search that the directory holds."""
        return SearchSpec(**self.header["spec"])

    @property
    def damaged(self) -> int:
        """The number of lines of the journal that could not be read."""
        return self.journal.damaged + self.ledger.damaged

    def attempt(self, trial: str, number: int) -> Attempt:
        """The directory of an attempt."""
        return Attempt(self.trials, trial, number)

    def latest(self, record: TrialRecord) -> Attempt:
        """The directory of a trial's latest attempt."""
        return self.attempt(record.id, record.attempt)

    def matching(self, names: Iterable[str]) -> list[TrialRecord]:
        """The trials with some ids, which may be abbreviated to a unique prefix.

        Raises:
            RunError: There is no such trial, or several.
        """
        trials = self.ledger.trials
        records: dict[str, TrialRecord] = {}
        for name in names:
            found = [trial for trial in trials if trial.startswith(name)] if name else []
            if len(found) > 1:
                raise RunError(f"{self.directory}: {len(found)} trials begin with {name!r}")
            if not found:
                raise RunError(
                    f"{self.directory}: there is no trial {name!r}{did_you_mean(name, trials)}"
                )
            records[found[0]] = trials[found[0]]
        return list(records.values())

    def refresh(self) -> None:
        """Read the events that drivers have written since the last call."""
        restarted, events = self.journal.news()
        # The ledger is a function of the events, so it is rebuilt from them.
        if restarted:
            self.ledger, self.was_cut = Ledger(self._members), True
        self.ledger.add(events)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the journal's lock, after reading all that others have written."""
        with self.journal.locked():
            self.refresh()
            yield

    def write(self, events: Sequence[Event]) -> None:
        """Add events to the journal and the ledger; the caller holds the lock."""
        if events:
            self.journal.append(events)
            self.refresh()

    def begin(
        self, trial: PlannedTrial, driver: str, record_of: Callable[[Attempt], AttemptRecord]
    ) -> tuple[list[Event], Attempt | None]:
        """Claim a trial that has no result and no other driver.

        The caller holds the lock and writes the events.

        Args:
            trial: The trial.
            driver: Name of the driver that claims it.
            record_of: Makes the content of `attempt.json`.

        Returns:
            The events, and the new attempt; `None` if the trial is not available.
        """
        record = self.ledger.trials.get(trial.id)
        if record is not None and (record.state is TrialState.RUNNING or record.state.final):
            return [], None
        attempt = self.attempt(trial.id, 1 if record is None else record.attempt + 1)
        if not attempt.create(record_of(attempt)):  # the journal has lost an attempt
            return list(self.recovered_attempts(trial.id, attempt.number)), None
        # Options are written once per trial, to keep the journal small.
        options = trial.options if record is None or not record.options else None
        return [claim_event(attempt, driver, options)], attempt

    def queued(self) -> int:
        """The number of running trials whose latest attempt has not begun yet."""
        return sum(not self.latest(record).has_begun for record in self.ledger.running_trials())

    def take_over(self, record: TrialRecord, driver: str) -> ClaimEvent:
        """The event by which a driver takes over another driver's running attempt."""
        return claim_event(self.latest(record), driver, None)

    def running_of(self, driver: str) -> list[TrialRecord]:
        """The running trials that a driver has claimed."""
        return [record for record in self.ledger.running_trials() if record.driver == driver]

    def orphans(self) -> list[TrialRecord]:
        """The running trials whose driver is dead."""
        running = self.ledger.running_trials()
        # Test each driver once: a driver may have thousands of trials.
        dead = {
            driver
            for driver in {record.driver for record in running}
            if not is_present(self.directory, driver)
        }
        return [record for record in running if record.driver in dead]

    def recovered(self) -> Iterator[Event]:
        """Events of trials that are on disk, but not in the journal."""
        self.was_cut = False
        for name in _names_in(self.trials):
            record = self.ledger.trials.get(name)
            if name in self.ledger.outside:
                continue
            if record is None:
                yield from self.recovered_attempts(name)
            elif not record.options:
                yield from self._recovered_options(record)

    def recovered_attempts(self, trial: str, first: int = 1) -> Iterator[ClaimEvent | EndEvent]:
        """Events of the attempts at a trial that are on disk, from `first` on."""
        number = first
        while (attempt := self.attempt(trial, number)).path.is_dir():
            yield claim_event(attempt, "", attempt.options())
            result = attempt.result()
            if result is not None:
                yield end_event(attempt, result)
            number += 1

    def _recovered_options(self, record: TrialRecord) -> Iterator[Event]:
        for number in range(1, record.attempt + 1):
            attempt = self.attempt(record.id, number)
            options = attempt.options()
            if options:
                yield options_event(attempt, options)
                return

    def glimpse(self) -> None:
        """Refresh, for a process that only reads.

        This also takes in results that are on disk but not yet in the journal. Nothing
        is written.
        """
        with self.journal.quiet():
            self.refresh()
            self.ledger.add(list(self.recovered()))
            self.ledger.add(list(self._ends_of_orphans()))

    def _ends_of_orphans(self) -> Iterator[EndEvent]:
        is_local = self.header["spec"]["scheduler"].get("name") == "local"
        for record in self.orphans():
            attempt = self.latest(record)
            result = attempt.result()
            if result is None and not attempt.is_alive() and not self._may_wait(attempt):
                # A batch system may have ended it, and knows that; its word is missing
                # here.
                result = (attempt.unseen() if is_local else None) or attempt.lost(
                    "its driver was killed, and it wrote no result"
                )
            if result is not None:
                yield end_event(attempt, result)

    def _may_wait(self, attempt: Attempt) -> bool:
        """Whether an attempt that never started may still be queued.

        A batch system keeps the jobs of a dead driver.
        """
        return (
            self.header["spec"]["scheduler"].get("name") != "local" and not attempt.errors.exists()
        )


def _names_in(directory: Path) -> list[str]:
    """Names in a directory, sorted; none if it does not exist."""
    try:
        # A path object for each of a million trials would be too slow.
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries)
    except FileNotFoundError:
        return []
