"""Which trials a search has: their order, their options and their ids."""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from hypnet_hpsearch.spec.grid import Cell, Condition, Grid, expand
from hypnet_hpsearch.spec.space import Space, drawn
from hypnet_hpsearch.spec.spec import SEED, SearchSpec
from hypnet_hpsearch.spec.values import text_of, value_of

if TYPE_CHECKING:
    from hypnet_hpsearch.state.store import Store

__all__ = ["Plan", "PlannedTrial", "TrialHash", "space_of"]

_LONG = 80


@dataclass(frozen=True)
class PlannedTrial:
    """One trial of a plan.

    Attributes:
        id: Hash of the target and all options: the same configuration has the same id
            in whatever order it was written.
        options: All options, those of the base first.
    """

    id: str
    options: dict[str, Any]


class Plan:
    """All trials of a search. They are computed when they are asked for; none is kept.

    Args:
        spec: The search.

    Attributes:
        remarks: What is odd about the search's conditions.

    Raises:
        ConfigError: The grid or a condition is impossible.

    Example:
        >>> spec = SearchSpec(command=["sim", "{options}"], name="lr", grid={"lr": [0.1, 1.0]}, metric="loss", direction="minimize")
        >>> [plan.options for plan in map(Plan(spec).trial, Plan(spec).order())]
        [{'lr': 0.1}, {'lr': 1.0}]
    """

    def __init__(self, spec: SearchSpec) -> None:
        self._grid, self.remarks = _configurations(spec)
        self._seeds = tuple(str(seed) for seed in spec.seeds)
        self._keys = (*self._grid.keys, *([SEED] if self._seeds else []))
        self._hash = TrialHash(spec, self._keys)
        self._spec = spec

    def __len__(self) -> int:
        """How many trials there are to run."""
        everything = len(self._grid) * max(1, len(self._seeds))
        return (
            everything if self._spec.max_trials is None else min(everything, self._spec.max_trials)
        )

    def order(self) -> Iterator[int]:
        """The numbers of the trials to run, in the order in which they are started."""
        everything = len(self._grid) * max(1, len(self._seeds))
        numbers: Sequence[int] = range(everything)
        if self._spec.order == "shuffled":
            numbers = array("Q", numbers)
            random.Random(self._spec.order_seed).shuffle(numbers)  # noqa: S311  # nothing secret
        return iter(numbers[: len(self)])

    def ids(self) -> Iterator[tuple[int, str]]:
        """The number and the id of each trial to run, in order; fast."""
        if self._spec.order == "fixed":
            yield from zip(range(len(self)), map(self._hash, self._cells()), strict=False)
        else:
            for number in self.order():
                yield number, self._hash(self._cell(number))

    def trial(self, number: int) -> PlannedTrial:
        """The trial with a number."""
        cell = self._cell(number)
        searched = zip(self._keys, map(value_of, cell), strict=True)
        return PlannedTrial(self._hash(cell), {**self._spec.base, **dict(searched)})

    def missing(self) -> int:
        """How many trials are yet unknown: none."""
        return 0

    def follow(self, _: Store) -> list[tuple[int, str]]:
        """Trials that were not known before: none."""
        return []

    def propose(self, _: Store) -> PlannedTrial | None:
        """A trial that was not known before: there is none."""
        return None

    def verdict(self, _: str) -> tuple[int, float] | None:
        """Whether a running trial is to end: never."""
        return None

    def first(self) -> PlannedTrial:
        """The first trial."""
        return self.trial(next(self.order()))

    def _cells(self) -> Iterator[Cell]:
        if not self._seeds:
            return iter(self._grid)
        return ((*cell, seed) for cell in self._grid for seed in self._seeds)

    def _cell(self, number: int) -> Cell:
        if not self._seeds:
            return self._grid.cell(number)
        configuration, seed = divmod(number, len(self._seeds))
        return (*self._grid.cell(configuration), self._seeds[seed])


def space_of(spec: SearchSpec) -> Space:
    """What a search's sampler chooses from."""
    return Space(Grid(spec.grid), spec.ranges, _conditions(spec))


def _conditions(spec: SearchSpec) -> list[Condition]:
    return [Condition(part.when, part.then, part.optional) for part in spec.conditions]


def _configurations(spec: SearchSpec) -> tuple[Grid, list[str]]:
    """The configurations to run with each seed, and remarks."""
    if spec.sampler_name == "grid":
        return expand(Grid(spec.grid), _conditions(spec))
    space = space_of(spec)
    count = -(-(spec.max_trials or 0) // max(1, len(spec.seeds)))
    cells, remarks = drawn(space, spec.sampler_options.get("seed", 0), count)
    return Grid.of(space.keys, cells), remarks


class TrialHash:
    """Turns cells into ids.

    It is called once for every cell of a grid, so all that can be done before is.
    """

    def __init__(self, spec: SearchSpec, keys: Sequence[str]) -> None:
        identity = spec.identity()
        target = {
            name: identity[name]
            for name in ("experiment", "command", "style", "summary")
            if name in identity
        }
        self._start = blake2b(json.dumps(target, sort_keys=True).encode(), digest_size=8)
        base = {key: _short(text_of(value, f"base: {key!r}")) for key, value in spec.base.items()}
        # Sorted by key, so that neither the order of writing nor base or grid makes a
        # difference.
        every = sorted([*base, *keys])
        self._form = ",".join(
            f"{json.dumps(key)}:{base.get(key, '')}".replace("%", "%%") + "%s" * (key not in base)
            for key in every
        )
        self._places = [keys.index(key) for key in every if key not in base]

    def __call__(self, cell: Cell) -> str:
        """The id of the trial with these values, in the order of the keys."""
        parts = tuple([_short(cell[place]) for place in self._places])
        found = self._start.copy()
        found.update((self._form % parts).encode())
        return found.hexdigest()


def _short(text: str) -> str:
    return text if len(text) < _LONG else _digest(text)


def _digest(text: str) -> str:
    """A short stand-in for a long value; no JSON begins with `#`."""
    return "#" + blake2b(text.encode(), digest_size=16).hexdigest()
