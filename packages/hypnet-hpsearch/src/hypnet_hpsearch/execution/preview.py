"""Previews of what a run of a search would do."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from hypnet_hpsearch.propose.base import Proposer
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.spec.trials import PlannedTrial
from hypnet_hpsearch.state.store import Store

__all__ = ["Preview"]


class Preview:
    """The effects of a run of a search.

    Args:
        proposer: The trials of the search.
        spec: The search.
        store: Its directory, if it exists.

    Attributes:
        reused: The number of finished trials that belong to the search.
        outside: The number of trials in the directory that do not.
    """

    def __init__(self, proposer: Proposer, spec: SearchSpec, store: Store | None) -> None:
        self._proposer, self._spec = proposer, spec
        self._records = {} if store is None else store.ledger.trials
        self.outside = 0 if store is None else len(store.ledger.outside)
        self.reused = sum(record.state.final for record in self._records.values())

    def __len__(self) -> int:
        """The number of trials that would be run."""
        if self._spec.adapts or self._spec.sampler_name == "random":
            return max(0, len(self._proposer) - self.reused)
        return sum(1 for _ in self._open())

    def trials(self) -> Iterator[PlannedTrial]:
        """The trials that would be run; only the first if the sampler learns."""
        if self._spec.adapts:
            return iter([self._proposer.first()] if len(self) else [])
        return islice(self._open(), len(self))

    def _open(self) -> Iterator[PlannedTrial]:
        for number, name in self._proposer.ids():
            record = self._records.get(name)
            if record is None or not record.state.final:
                yield self._proposer.trial(number)
