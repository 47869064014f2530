"""The directory of a search: what was asked for, who does what, and what came of it.

| path | holds |
| --- | --- |
| `search.json` | the search, resolved, and the fingerprint of its identity |
| `journal.jsonl` | claims, jobs and ends, one event per line |
| `drivers/NAME` | one file per driver at work, locked as long as that lives |
| `trials/ID/NUMBER/` | one attempt each; see `hypnet_hpsearch.state.attempts` |
| `results.csv` | the results, best first |

The attempts' directories are the truth. The journal makes it quick to read; what it
lost is found again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from hypnet_core.errors import RunError, listed
from hypnet_core.runs import make_directory, read_json, write_atomic
from hypnet_hpsearch.propose.grid import PlannedTrial
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.attempts import Attempt
from hypnet_hpsearch.state.journal import Journal
from hypnet_hpsearch.state.ledger import Ledger, TrialRecord, TrialState
from hypnet_hpsearch.state.locks import is_present

__all__ = ["Event", "Store", "end_event"]

_FORMAT = 1
_SPEC = "search.json"

Event: TypeAlias = Mapping[str, Any]


class Store:
    """A search's directory.

    Args:
        directory: It must hold a search; see `Store.create`.

    Attributes:
        directory: The directory.
        header: What `search.json` holds.
        ledger: What is known about the trials, as of the latest `refresh()`.
        was_cut: Whether the journal was cut or replaced while it was in use, so that
            `recovered()` may find more.

    Raises:
        RunError: The directory holds no search, or one that is damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.trials = directory / "trials"
        path = directory / _SPEC
        if not path.exists():
            raise RunError(f"{directory} holds no search: there is no {_SPEC}")
        self.header: dict[str, Any] = read_json(path)
        if (
            not isinstance(self.header, dict)
            or self.header.get("format") != _FORMAT
            or "spec" not in self.header
        ):
            raise RunError(f"{path} is damaged, or was written by another version")
        self.journal = Journal(directory / "journal.jsonl")
        self.ledger = Ledger()
        self.was_cut = False

    @classmethod
    def create(cls, directory: Path, spec: SearchSpec, total: int) -> Store:
        """Begin a search, or go on with the one that the directory holds.

        Args:
            directory: A new or empty directory, or one that holds this search.
            spec: The search. What is not part of its identity may differ from before;
                the new settings are kept.
            total: How many trials there are to run.

        Raises:
            RunError: The directory holds another search or something else, or cannot be
                written.
        """
        path = directory / _SPEC
        if not path.exists():
            make_directory(directory)
            # Look again: another driver may have begun the same search just now.
            if any(entry.name[0] != "." for entry in directory.iterdir()) and not path.exists():
                raise RunError(
                    f"{directory} is not empty and holds no search: choose another directory"
                )
        if path.exists():
            _check_same(cls(directory).header, spec, directory)
        header = {
            "format": _FORMAT,
            "fingerprint": spec.fingerprint(),
            "trials": total,
            "spec": spec.model_dump(mode="json"),
        }
        if not path.exists() or read_json(path) != header:
            write_atomic(path, json.dumps(header, indent=2, ensure_ascii=False) + "\n")
        return cls(directory)

    def set_total(self, total: int) -> None:
        """Note how many trials there are after all.

        Raises:
            RunError: `search.json` cannot be written.
        """
        if self.header["trials"] == total:
            return
        self.header["trials"] = total
        write_atomic(
            self.directory / _SPEC, json.dumps(self.header, indent=2, ensure_ascii=False) + "\n"
        )

    @property
    def spec(self) -> SearchSpec:
        """The search that the directory holds."""
        return SearchSpec(**self.header["spec"])

    @property
    def damaged(self) -> int:
        """How many lines of the journal could not be read."""
        return self.journal.damaged + self.ledger.damaged

    def attempt(self, trial: str, number: int) -> Attempt:
        """One attempt's directory."""
        return Attempt(self.trials, trial, number)

    def refresh(self) -> None:
        """Take in what drivers have written since the last call."""
        restarted, events = self.journal.news()
        if restarted:
            self.ledger, self.was_cut = Ledger(), True
        self.ledger.add(events)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the journal's lock, with everything taken in that others have written."""
        with self.journal.locked():
            self.refresh()
            yield

    def write(self, events: Sequence[Event]) -> None:
        """Add events to the journal, and to the ledger; the caller holds the lock."""
        if events:
            self.journal.append(events)
            self.refresh()

    def begin(
        self, trial: PlannedTrial, driver: str, content: Callable[[Attempt], Mapping[str, Any]]
    ) -> tuple[list[Event], Attempt | None]:
        """Claim a trial that has no result and is nobody else's; the caller holds the lock, and writes the events.

        Args:
            trial: The trial.
            driver: Who claims it.
            content: What to write down about the attempt.

        Returns:
            The events, and the new attempt; `None` if the trial is not to be had.
        """
        record = self.ledger.trials.get(trial.id)
        if record is not None and (record.state is TrialState.RUNNING or record.state.final):
            return [], None
        attempt = self.attempt(trial.id, 1 if record is None else record.attempt + 1)
        if not attempt.create(content(attempt)):  # the journal has lost what is on disk
            return list(self.recovered_attempts(trial.id, attempt.number)), None
        options = trial.options if record is None or not record.options else None
        return [_claim(attempt, driver, options)], attempt

    def take_over(self, record: TrialRecord, driver: str) -> Event:
        """The event that makes somebody else's running attempt this driver's."""
        return _claim(self.attempt(record.id, record.attempt), driver, None)

    def running_of(self, driver: str) -> list[TrialRecord]:
        """The running trials that a driver has claimed."""
        return [
            record
            for record in map(self.ledger.trials.__getitem__, self.ledger.running)
            if record.driver == driver
        ]

    def orphans(self) -> list[TrialRecord]:
        """The running trials whose driver is dead."""
        running = [self.ledger.trials[trial] for trial in self.ledger.running]
        dead = {
            driver
            for driver in {record.driver for record in running}
            if not is_present(self.directory, driver)
        }
        return [record for record in running if record.driver in dead]

    def recovered(self) -> Iterator[Event]:
        """Events for those trials that the journal knows nothing of although they are on disk."""
        self.was_cut = False
        names: list[str] = []
        with suppress(FileNotFoundError):
            names = sorted(os.listdir(self.trials))  # noqa: PTH208  # a path object for each of a million is too much
        for name in names:
            record = self.ledger.trials.get(name)
            if record is None:
                yield from self.recovered_attempts(name)
            elif not record.options:
                yield from self._recovered_options(record)

    def glimpse(self) -> None:
        """Refresh, for somebody who only looks: take in also what is on disk but in no journal yet.

        Nothing is written.
        """
        with self.journal.quiet():
            self.refresh()
            self.ledger.add(list(self.recovered()))
            self.ledger.add(list(self._ends_of_orphans()))

    def _ends_of_orphans(self) -> Iterator[Event]:
        for record in self.orphans():
            attempt = self.attempt(record.id, record.attempt)
            result = attempt.result()
            if result is None and not attempt.is_alive() and not self._may_wait(attempt):
                result = {
                    "state": TrialState.LOST.value,
                    "reason": "its driver was killed, and it wrote no result",
                }
            if result is not None:
                yield end_event(attempt, result)

    def _may_wait(self, attempt: Attempt) -> bool:
        """Whether an attempt that was never started may still wait: a batch system keeps the jobs of a driver that is dead."""
        return (
            self.header["spec"]["scheduler"].get("name") != "local" and not attempt.errors.exists()
        )

    def _recovered_options(self, record: TrialRecord) -> Iterator[Event]:
        for number in range(1, record.attempt + 1):
            options = self.attempt(record.id, number).content().get("options")
            if options:
                yield {
                    "event": "options",
                    "trial": record.id,
                    "attempt": number,
                    "options": options,
                }
                return

    def recovered_attempts(self, trial: str, first: int = 1) -> Iterator[Event]:
        """Events for the attempts at a trial that are on disk, from the number `first` on."""
        number = first
        while (attempt := self.attempt(trial, number)).path.is_dir():
            yield _claim(attempt, "", attempt.content().get("options"))
            result = attempt.result()
            if result is not None:
                yield end_event(attempt, result)
            number += 1


def end_event(
    attempt: Attempt, result: Mapping[str, Any], state: TrialState | None = None
) -> Event:
    """The event that an attempt has ended.

    Args:
        attempt: The attempt.
        result: What its `result.json` holds.
        state: How it ended, if the driver knows better than the result.
    """
    seconds = result["ended"] - result["started"] if {"ended", "started"} <= result.keys() else None
    return {
        "event": "end",
        "trial": attempt.trial,
        "attempt": attempt.number,
        "state": result.get("state") if state is None else state.value,
        "metric": result.get("metric"),
        "reason": result.get("reason"),
        "seconds": seconds,
        "ended": result.get("ended"),
        "time": time.time(),
    }


def _claim(attempt: Attempt, driver: str, options: Mapping[str, Any] | None) -> Event:
    event: dict[str, Any] = {
        "event": "claim",
        "trial": attempt.trial,
        "attempt": attempt.number,
        "driver": driver,
        "time": time.time(),
    }
    return event if options is None else {**event, "options": options}


def _check_same(header: Mapping[str, Any], spec: SearchSpec, directory: Path) -> None:
    if header.get("fingerprint") == spec.fingerprint():
        return
    old, new = SearchSpec(**header["spec"]).identity(), spec.identity()
    differing = sorted(_differences(old, new))
    raise RunError(
        f"{directory} holds another search, which differs in {listed(differing)}: choose another"
        " directory with --out, or make the search what it was"
    )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in old.keys() | new.keys():
        left, right = old.get(key), new.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            yield from _differences(left, right, f"{prefix}{key}.")
        elif left != right:
            yield f"{prefix}{key}"
