"""The contracts of proposers: they determine the trials of a search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from hypnet_hpsearch.spec.trials import PlannedTrial
from hypnet_hpsearch.state.store import Store

__all__ = ["AdaptiveProposer", "Proposer"]


class Proposer(ABC):
    """The trials of a search.

    Known trials have numbers, from 0. This contract is enough if all trials are known
    in advance; a sampler that learns from results is an `AdaptiveProposer`. A proposer
    keeps no state on disk: it must be able to continue from the ledger of a search,
    which other drivers write too.

    Attributes:
        remarks: Remarks about the search's conditions, for the user.
    """

    remarks: list[str]

    @abstractmethod
    def __len__(self) -> int:
        """The number of trials of the search, known or not."""

    @abstractmethod
    def order(self) -> Iterator[int]:
        """The numbers of the known trials, in the order in which they are started."""

    @abstractmethod
    def ids(self) -> Iterator[tuple[int, str]]:
        """The number and the id of each known trial, in the same order."""

    @abstractmethod
    def trial(self, number: int) -> PlannedTrial:
        """The known trial with a number."""

    @abstractmethod
    def first(self) -> PlannedTrial:
        """The first trial of a search that has no results yet."""

    @abstractmethod
    def repetitions(self, options: Mapping[str, Any]) -> list[PlannedTrial]:
        """The trials of one configuration: one for each seed of the search.

        Args:
            options: All options of one of them.
        """


class AdaptiveProposer(Proposer):
    """The trials of a search whose sampler learns from results.

    A trial gets its number when it becomes known. The driver keeps the proposer
    informed, and asks for another trial when there is room to run it.
    """

    @abstractmethod
    def missing(self) -> int:
        """The number of trials that are not known yet."""

    @abstractmethod
    def follow(self, store: Store) -> list[tuple[int, str]]:
        """Learn from the state of the search.

        Args:
            store: The search.

        Returns:
            The numbers and ids of the trials that have become known since the last
            call.
        """

    @abstractmethod
    def propose(self, store: Store) -> PlannedTrial | None:
        """Propose a trial that was not known before.

        Args:
            store: The search.

        Returns:
            The trial, which is known from now on; `None` if there is none, or none
            until another trial has ended.
        """

    @abstractmethod
    def verdict(self, store: Store, trial: str) -> tuple[int, float] | None:
        """Decide whether a running trial should end early.

        Args:
            store: The search.
            trial: The trial's id.

        Returns:
            The step and the value of its last report if it should end; `None` if it
            should go on.
        """
