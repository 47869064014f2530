"""Remarks that the first result of a search allows: about its metric and its pruner."""

from __future__ import annotations

from collections.abc import Iterator

from hypnet_core.errors import did_you_mean, listed
from hypnet_hpsearch.spec.metrics import is_test_name, validation_of
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.attempts import reports_of
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState
from hypnet_hpsearch.state.store import Store

__all__ = ["Remarks"]


class Remarks:
    """Checks of the first result that a search has, for what would go wrong silently.

    Args:
        store: The search's directory.
        spec: The search.
    """

    def __init__(self, store: Store, spec: SearchSpec) -> None:
        self._store, self._spec = store, spec
        self._seen = False

    def at_start(self) -> Iterator[str]:
        """Remarks at the start of a driver."""
        for name, _ in self._spec.objectives:
            if is_test_name(name):
                yield (
                    f"the search selects by {name!r}, which is measured on test data by its name:"
                    " choose by a validation score, and look at the test score once"
                )
        if self._store.differing:
            yield self._about_changes()
        done = (one for one in self._store.ledger.trials.values() if one.state is TrialState.DONE)
        first = next(done, None)
        if first is not None:
            yield from self.about(first)

    def _about_changes(self) -> str:
        ledger = self._store.ledger
        final = sum(record.state.final for record in ledger.trials.values())
        outside = len(ledger.outside)
        others = f"; {outside} others do not, and are left aside" if outside else ""
        return (
            f"the search has changed in {listed(self._store.differing)}: {final} finished"
            f" trial{'s' * (final != 1)} still belong{'s' * (final == 1)} to it{others}"
        )

    def about(self, record: TrialRecord) -> Iterator[str]:
        """Remarks about a trial that has ended; only the first that is done counts."""
        if self._seen or record.state is not TrialState.DONE:
            return
        self._seen = True
        for name, _ in self._spec.objectives:
            validation = validation_of(name, record.numbers)
            if validation is not None:
                yield (
                    f"the search selects by {name!r} although trials report {validation!r}: a"
                    " configuration that is chosen by its test score looks better than it is; set"
                    f" metric = {validation!r}"
                )
        if self._spec.pruner is not None:
            yield from self._without_reports(record)

    def _without_reports(self, record: TrialRecord) -> Iterator[str]:
        attempt = self._store.latest(record)
        reports = reports_of(attempt, self._spec)
        reports.news()
        if reports.count:
            return
        file = f"{reports.path.name} of the trial {record.id}"
        if self._spec.command:
            yield (
                f"the pruner sees nothing: there is no report in {file} (expected at"
                f" {reports.path}); call hypnet_hpsearch.report(step, value)"
            )
        elif reports.keys:
            yield (
                f"the pruner sees nothing: {file} has no {reports.key!r}, but"
                f" {listed(map(repr, sorted(reports.keys)))}; name one of them as"
                f" 'report'{did_you_mean(reports.key, reports.keys)}"
            )
        else:
            yield f"the pruner sees nothing: there are no metrics in {file}"
