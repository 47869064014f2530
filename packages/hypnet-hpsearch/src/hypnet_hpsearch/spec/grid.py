"""Grids of configurations, and the conditions that make exceptions from them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from hypnet_core.errors import ConfigError, did_you_mean, listed
from hypnet_hpsearch.spec.values import sameness, text_of, value_of

__all__ = ["Cell", "Condition", "Grid", "KnownTexts", "expand"]

Cell: TypeAlias = tuple[str, ...]
"""One configuration: the canonical text of each value, in the keys' order."""


@dataclass(frozen=True)
class Condition:
    """An exception from a grid.

    Configurations with certain values are searched with others instead.

    Attributes:
        when: For each key the values that match; all keys must match.
        then: For each key the values to search instead.
        optional: Skip the condition if the grid lacks one of its keys, rather than
            refuse it.
    """

    when: Mapping[str, Sequence[Any]]
    then: Mapping[str, Sequence[Any]]
    optional: bool = False

    def reason_to_skip(self, number: int, keys: Sequence[str]) -> str:
        """Why the condition does not apply to these keys; empty if it does."""
        missing = [key for key in (*self.when, *self.then) if key not in keys]
        if not (missing and self.optional):
            return ""
        return f"condition {number} is skipped: the grid has no {listed(map(repr, missing))}"


class Grid:
    """All combinations of the values of some keys, or a list of configurations.

    The cells of a plain grid are computed on demand, so a grid of $10^6$ cells takes no
    more memory than its values. The last key varies fastest, as in `itertools.product`.

    Args:
        values: For each key its values.

    Raises:
        ConfigError: A key has no values, or the same value twice.

    Example:
        >>> grid = Grid({"lr": [0.1, 0.2], "opt": ["sgd"]})
        >>> grid.keys, len(grid), grid.cell(1)
        (('lr', 'opt'), 2, ('0.2', '"sgd"'))
    """

    def __init__(self, values: Mapping[str, Sequence[Any]]) -> None:
        self.keys = tuple(values)
        self.axes = tuple(_axis(key, some) for key, some in values.items())
        self._explicit: list[Cell] | None = None

    @classmethod
    def of(cls, keys: Sequence[str], cells: Iterable[Cell]) -> Self:
        """A grid of exactly these cells."""
        grid = cls({})
        grid.keys, grid._explicit = tuple(keys), list(cells)
        return grid

    def __len__(self) -> int:
        return math.prod(map(len, self.axes)) if self._explicit is None else len(self._explicit)

    def __iter__(self) -> Iterator[Cell]:
        return itertools.product(*self.axes) if self._explicit is None else iter(self._explicit)

    def cell(self, number: int) -> Cell:
        """The cell with a number, from 0."""
        if self._explicit is not None:
            return self._explicit[number]
        cell = []
        # Digits of a mixed-radix number, the last key first.
        for axis in reversed(self.axes):
            number, place = divmod(number, len(axis))
            cell.append(axis[place])
        return tuple(reversed(cell))


def _axis(key: str, values: Sequence[Any]) -> tuple[str, ...]:
    seen: dict[Hashable, str] = {}
    for value in values:
        text = text_of(value, f"grid: {key!r}")
        # Different spellings of one value, such as 1 and 1.0, would be two trials.
        if seen.setdefault(sameness(value, text), text) is not text:
            raise ConfigError(f"grid: {key!r} lists {text[:40]} twice")
    if not seen:
        raise ConfigError(f"grid: {key!r} has no values")
    return tuple(seen.values())


def expand(grid: Grid, conditions: Sequence[Condition]) -> tuple[Grid, list[str]]:
    """Apply conditions to a grid in order.

    Each condition sees the configurations that its predecessors left. A configuration
    that matches is replaced by all combinations of the values of `then`; the others
    stay. Configurations that become equal are merged. A condition does not apply twice:
    if a later one produces configurations that it would match, they stay as they are,
    and a remark says so.

    Args:
        grid: The grid.
        conditions: In the order in which they apply.

    Returns:
        The configurations, and remarks about conditions that have no effect or
        contradict each other.

    Raises:
        ConfigError: A condition names a key that the grid lacks, or has no values for a
            key.
    """
    if not conditions:
        return grid, []
    known = KnownTexts(dict(zip(grid.keys, grid.axes, strict=True)))
    remarks: list[str] = []
    applied: list[_Applied] = []
    # A dict is an ordered set: equal configurations merge, and the order stays.
    cells = dict.fromkeys(grid)
    for number, condition in enumerate(conditions, 1):
        reason = condition.reason_to_skip(number, grid.keys)
        if reason:
            remarks.append(reason)
            continue
        step = _Applied(number, known, condition, grid.keys)
        before, cells = cells, step.apply(cells)
        remarks += step.remarks(before, cells)
        applied.append(step)
    for step in applied[:-1]:
        remarks += step.remarks_at_the_end(cells)
    return Grid.of(grid.keys, cells), remarks


class KnownTexts:
    """The texts of all values of each key: 1 in a condition finds 1.0 in the grid.

    Args:
        axes: For each key the texts of its values; none if any number is allowed.
    """

    def __init__(self, axes: Mapping[str, Sequence[str]]) -> None:
        self._axes = axes
        self._texts: dict[str, dict[Hashable, str]] = {}

    def resolved(
        self, number: int, part: str, values: Mapping[str, Sequence[Any]]
    ) -> dict[str, tuple[str, ...]]:
        """The texts of the values in one part of a condition.

        Raises:
            ConfigError: The part is empty, or a key is unknown or has no values.
        """
        if not values:
            raise ConfigError(f"condition {number}: {part!r} is empty")
        return {key: self._of_key(number, part, key, some) for key, some in values.items()}

    def _of_key(self, number: int, part: str, key: str, values: Sequence[Any]) -> tuple[str, ...]:
        where = f"condition {number}: {part} {key!r}"
        if key not in self._axes:
            raise ConfigError(
                f"condition {number} names {key!r}, which is not in the"
                f" grid{did_you_mean(key, self._axes)} (to search an option under a condition only,"
                " list its default value in the grid)"
            )
        if not values:
            raise ConfigError(f"{where} has no values")
        if key not in self._texts:
            self._texts[key] = {sameness(value_of(text), text): text for text in self._axes[key]}
        of_key = self._texts[key]
        texts = (text_of(value, where) for value in values)
        return tuple(
            dict.fromkeys(
                of_key.setdefault(sameness(value, text), text)
                for value, text in zip(values, texts, strict=True)
            )
        )


class _Applied:
    """A condition whose keys are resolved to positions in the cells of one grid."""

    def __init__(
        self, number: int, known: KnownTexts, condition: Condition, keys: Sequence[str]
    ) -> None:
        self.number = number
        when, then = (
            known.resolved(number, "when", condition.when),
            known.resolved(number, "then", condition.then),
        )
        self._when = [(keys.index(key), frozenset(texts)) for key, texts in when.items()]
        self._then = [(keys.index(key), texts) for key, texts in then.items()]
        self._matched = 0

    def _matches(self, cell: Cell) -> bool:
        return all(cell[place] in texts for place, texts in self._when)

    def apply(self, cells: Mapping[Cell, None]) -> dict[Cell, None]:
        places = [place for place, _ in self._then]
        replacements = list(itertools.product(*(texts for _, texts in self._then)))
        result: dict[Cell, None] = {}
        for cell in cells:
            if not self._matches(cell):
                result[cell] = None
                continue
            self._matched += 1
            # Positions that `then` does not name keep their values.
            changed = list(cell)
            for replacement in replacements:
                for place, text in zip(places, replacement, strict=True):
                    changed[place] = text
                result[tuple(changed)] = None
        return result

    def remarks(self, before: Mapping[Cell, None], after: Mapping[Cell, None]) -> list[str]:
        if not self._matched:
            return [f"condition {self.number} matches no configuration"]
        if before.keys() == after.keys():
            return [f"condition {self.number} changes nothing"]
        return []

    def remarks_at_the_end(self, cells: Mapping[Cell, None]) -> list[str]:
        allowed = [(place, frozenset(texts)) for place, texts in self._then]
        broken = sum(
            self._matches(cell) and any(cell[place] not in texts for place, texts in allowed)
            for cell in cells
        )
        if not broken:
            return []
        count = f"{broken} configuration{'s' * (broken > 1)}"
        remark = f"condition {self.number} is contradicted by later ones: {count} would match it"
        return [f"{remark} again and differ from it"]
