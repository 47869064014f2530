"""What a driver tells about its work, and whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from hypnet_hpsearch.state.ledger import TrialRecord, TrialState

__all__ = ["Progress", "Start", "Watcher"]


@dataclass(frozen=True)
class Start:
    """What a driver found when it began.

    Attributes:
        total: Trials in all.
        done: Those that have a result.
        failed: Those that failed; they are run again.
        interrupted: Those that were lost or cancelled, some perhaps before they began;
            they are run again.
        running: Those that run now, started by another driver.
        missing: Those that were never begun.
        damaged: Lines of the journal that could not be read.
        pruned: Those that a pruner has ended for good.
        searched: The options in which trials may differ.
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


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        total: Trials in all.
        counts: How many of them are in each state.
        queued: How many of the running ones wait for a slot, as far as this driver
            knows.
        best: The best trial so far.
    """

    total: int
    counts: Mapping[TrialState, int]
    queued: int
    best: TrialRecord | None


class Watcher(Protocol):
    """Is told what a driver does; see `hypnet_hpsearch.execution.display`."""

    def started(self, start: Start) -> None:
        """The search begins."""
        ...

    def ended(self, record: TrialRecord, progress: Callable[[], Progress]) -> None:
        """An attempt at a trial has ended."""
        ...

    def working(self, progress: Callable[[], Progress]) -> None:
        """The driver is still at work; told a few times a second."""
        ...

    def warned(self, message: str) -> None:
        """Something is odd."""
        ...
