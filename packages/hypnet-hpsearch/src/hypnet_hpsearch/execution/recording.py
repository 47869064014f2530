"""Consequences of a driver's events: files that are kept up to date, and remarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from hypnet_hpsearch.execution.notices import Notices
from hypnet_hpsearch.execution.observers import Inventory, SearchObserver, SearchProgress
from hypnet_hpsearch.execution.remarks import Remarks
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState

if TYPE_CHECKING:
    from hypnet_hpsearch.propose.optuna.dashboard import StudyFile

__all__ = ["Recording"]

_FAILED = {TrialState.FAILED, TrialState.LOST}


class _Results(Protocol):
    """The file `results.csv`."""

    outdated: bool

    def update(self) -> None: ...


class Recording:
    """Passes events on, and keeps `results.csv` and the study of Optuna up to date.

    Args:
        observer: Receives the events, and remarks as warnings.
        results: The file `results.csv`.
        study: The study, if there is one.
        remarks: Checks of the first result.
        notices: Sends a notice of the first failure.
    """

    def __init__(
        self,
        observer: SearchObserver,
        results: _Results,
        study: StudyFile | None,
        remarks: Remarks,
        notices: Notices,
    ) -> None:
        self._observer, self._results, self._study = observer, results, study
        self._remarks, self._notices = remarks, notices
        self._has_failed = False
        self.warned = observer.warned

    def started(self, inventory: Inventory) -> None:
        """Pass the event on, with remarks about earlier results."""
        self._observer.started(inventory)
        for remark in self._remarks.at_start():
            self.warned(remark)

    def ended(self, record: TrialRecord, progress: Callable[[], SearchProgress]) -> None:
        """Mark the results as outdated, and pass the event on."""
        self._results.outdated = True
        self._observer.ended(record, progress)
        for remark in self._remarks.about(record):
            self.warned(remark)
        if record.state in _FAILED and not record.interrupted and not self._has_failed:
            self._has_failed = True
            self._notices.send("failure", f"the trial {record.id} failed: {record.reason}")

    def working(self, progress: Callable[[], SearchProgress]) -> None:
        """Write the files if they are outdated, and pass the event on."""
        self._results.update()
        self._notices.tell_problems()
        if self._study is not None:
            self._study.update()
            if self._study.problem:
                self.warned(self._study.problem)
                self._study = None
        self._observer.working(progress)
