"""Trials that are known in advance: a whole grid, or configurations drawn at random."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hypnet_hpsearch.propose.base import Proposer
from hypnet_hpsearch.propose.seeded import seeded
from hypnet_hpsearch.spec.grid import Cell, Grid, expand
from hypnet_hpsearch.spec.space import Space, conditions_of, drawn
from hypnet_hpsearch.spec.spec import SEED, SearchSpec
from hypnet_hpsearch.spec.trials import PlannedTrial, TrialMaker

__all__ = ["GridProposer"]


class GridProposer(Proposer):
    """All trials of a search with the sampler `grid` or `random`.

    Trials are computed on demand and not kept, so that a grid may have millions.

    Args:
        spec: The search.

    Raises:
        ConfigError: The grid or a condition is invalid.

    Example:
        >>> spec = SearchSpec(
        ...     command=["sim", "{options}"],
        ...     name="lr",
        ...     grid={"lr": [0.1, 1.0]},
        ...     metric="loss",
        ...     direction="minimize",
        ... )
        >>> proposer = GridProposer(spec)
        >>> [proposer.trial(number).options for number in proposer.order()]
        [{'lr': 0.1}, {'lr': 1.0}]
    """

    def __init__(self, spec: SearchSpec) -> None:
        self._grid, self.remarks = _configurations(spec)
        self._seeds = tuple(str(seed) for seed in spec.seeds)
        keys = (*self._grid.keys, *([SEED] if self._seeds else []))
        self._maker = TrialMaker(spec, keys)
        self._spec = spec

    def __len__(self) -> int:
        limit = self._spec.max_trials
        return self._size if limit is None else min(self._size, limit)

    @property
    def _size(self) -> int:
        """The number of trials without any limit."""
        return len(self._grid) * max(1, len(self._seeds))

    def order(self) -> Iterator[int]:
        """The numbers of all trials, in the order in which they are started."""
        numbers: Sequence[int] = range(self._size)
        if self._spec.order == "shuffled":
            # Eight bytes per trial: a list of a million integers would take five times
            # as much.
            numbers = array("Q", numbers)
            seeded(self._spec.order_seed).shuffle(numbers)
        numbers = numbers[: len(self)]
        if self._spec.margin is None:
            return iter(numbers)
        # All first seeds come first, so that hopeless configurations run no others.
        return iter(sorted(numbers, key=lambda number: number % len(self._seeds)))

    def ids(self) -> Iterator[tuple[int, str]]:
        """The number and the id of each trial, in the same order."""
        if (
            self._spec.order == "fixed" and self._spec.margin is None
        ):  # iterating over cells is faster than computing each
            yield from zip(range(len(self)), map(self._maker.id_of, self._cells()), strict=False)
        else:
            for number in self.order():
                yield number, self._maker.id_of(self._cell(number))

    def trial(self, number: int) -> PlannedTrial:
        """The trial with a number."""
        return self._maker.trial(self._cell(number))

    def first(self) -> PlannedTrial:
        """The first trial."""
        return self.trial(next(self.order()))

    def repetitions(self, options: Mapping[str, Any]) -> list[PlannedTrial]:
        """The trials of one configuration."""
        return self._maker.repetitions(options, self._spec.seeds)

    def _cells(self) -> Iterator[Cell]:
        if not self._seeds:
            return iter(self._grid)
        return ((*cell, seed) for cell in self._grid for seed in self._seeds)

    def _cell(self, number: int) -> Cell:
        if not self._seeds:
            return self._grid.cell(number)
        configuration, seed = divmod(number, len(self._seeds))
        return (*self._grid.cell(configuration), self._seeds[seed])


def _configurations(spec: SearchSpec) -> tuple[Grid, list[str]]:
    """The configurations to run with each seed, and remarks."""
    if spec.sampler_name == "grid":
        return expand(Grid(spec.grid), conditions_of(spec))
    space = Space.of(spec)
    # Round up: the last configuration may not be run with all seeds.
    count = -(-(spec.max_trials or 0) // max(1, len(spec.seeds)))
    cells, remarks = drawn(space, spec.sampler_options.get("seed", 0), count)
    return Grid.of(space.keys, cells), remarks
