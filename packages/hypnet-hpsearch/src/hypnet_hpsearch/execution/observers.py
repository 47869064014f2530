"""Observers of a search: the driver tells them what happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from hypnet_hpsearch.state.ledger import TrialRecord, TrialState

__all__ = ["Inventory", "SearchObserver", "SearchProgress", "Watcher"]


@dataclass(frozen=True)
class Inventory:
    """The trials of a search at the time when a driver begins.

    Attributes:
        total: Number of trials.
        done: Those that have a result.
        failed: Those that failed; they are run again.
        interrupted: Those that were lost or cancelled, some perhaps before they began;
            they are run again.
        running: Those that another driver has started.
        missing: Those that were never begun.
        damaged: Lines of the journal that could not be read.
        pruned: Those that a pruner has ended; they are not run again.
        searched: The options in which trials may differ.
        directory: The directory of the search.
    """

    total: int
    done: int
    failed: int
    interrupted: int
    running: int
    missing: int
    damaged: int
    pruned: int = 0
    searched: tuple[str, ...] = ()
    directory: str = ""


@dataclass(frozen=True)
class SearchProgress:
    """The progress of a search.

    Attributes:
        total: Number of trials.
        counts: How many of them are in each state.
        queued: How many of the running ones have been submitted, but have not begun.
        best: The best trial so far.
    """

    total: int
    counts: Mapping[TrialState, int]
    queued: int
    best: TrialRecord | None


class SearchObserver(Protocol):
    """Receives the events of a driver; see `hypnet_hpsearch.execution.display`.

    Progress comes as a function, because counting a million trials takes time that an
    observer may not need to spend.
    """

    def started(self, inventory: Inventory) -> None:
        """The driver begins."""
        ...

    def ended(self, record: TrialRecord, progress: Callable[[], SearchProgress]) -> None:
        """An attempt at a trial has ended."""
        ...

    def working(self, progress: Callable[[], SearchProgress]) -> None:
        """The driver is still at work; called a few times a second."""
        ...

    def warned(self, message: str) -> None:
        """The driver has a warning for the user."""
        ...


class Watcher:
    """A base for observers: every event is ignored.

    Example:
        ```python
        class Failures(Watcher):
            def __init__(self):
                self.reasons = []

            def ended(self, record, progress):
                if record.reason:
                    self.reasons.append(record.reason)
        ```
    """

    def started(self, inventory: Inventory) -> None:
        """Ignore it."""

    def ended(self, record: TrialRecord, progress: Callable[[], SearchProgress]) -> None:
        """Ignore it."""

    def working(self, progress: Callable[[], SearchProgress]) -> None:
        """Ignore it."""

    def warned(self, message: str) -> None:
        """Ignore it."""
