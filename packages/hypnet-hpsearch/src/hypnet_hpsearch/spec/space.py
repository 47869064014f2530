"""Search spaces of samplers that do not run a whole grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Self, TypeAlias

from hypnet_core.errors import ConfigError
from hypnet_hpsearch.spec.grid import Cell, Condition, Grid, KnownTexts
from hypnet_hpsearch.spec.ranges import RangeSpec
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.spec.values import text_of

__all__ = ["Choose", "Domain", "Space", "conditions_of", "drawn", "key_of"]

Domain: TypeAlias = tuple[str, ...] | RangeSpec
"""The canonical texts of some values, or a range."""

Choose: TypeAlias = Callable[[str, Domain], str]
"""Chooses the text of a value, given the name of the choice and its domain."""

_PATIENCE = 20  # draws without news per known configuration


@dataclass
class _Resolved:
    """A condition: the texts that match, and the choices that replace each key's."""

    when: dict[str, frozenset[str]]
    then: dict[str, tuple[str, tuple[str, ...]]]
    matched: bool = False


class Space:
    """A space of lists and ranges, from which configurations are chosen value by value.

    Conditions apply to each configuration as they do to a grid: in order, each to the
    result of its predecessors. Where a grid would be searched with all values of
    `then`, one of them is chosen. A value that a condition replaces is not chosen at
    all.

    Args:
        grid: The lists.
        ranges: The ranges, by key.
        conditions: In the order in which they apply.

    Attributes:
        keys: Those of the lists, then those of the ranges.

    Raises:
        ConfigError: A condition names an unknown key, or compares a range of real
            numbers with a value.
    """

    def __init__(
        self, grid: Grid, ranges: Mapping[str, RangeSpec], conditions: Sequence[Condition]
    ) -> None:
        self.keys = (*grid.keys, *ranges)
        self.domains: dict[str, Domain] = {**dict(zip(grid.keys, grid.axes, strict=True)), **ranges}
        self._skipped: list[str] = []
        known = KnownTexts(
            {
                key: () if isinstance(domain, RangeSpec) else domain
                for key, domain in self.domains.items()
            }
        )
        self._conditions: dict[int, _Resolved] = {}
        for number, condition in enumerate(conditions, 1):
            reason = condition.reason_to_skip(number, self.keys)
            if reason:
                self._skipped.append(reason)
            else:
                self._conditions[number] = self._resolved(number, condition, known)

    @classmethod
    def of(cls, spec: SearchSpec) -> Self:
        """The space of a search."""
        return cls(Grid(spec.grid), spec.ranges, conditions_of(spec))

    def _resolved(self, number: int, condition: Condition, known: KnownTexts) -> _Resolved:
        for key in condition.when:
            domain = self.domains.get(key)
            if isinstance(domain, RangeSpec) and not domain.integer:
                raise ConfigError(
                    f"condition {number}: {key!r} is a range of real numbers, which no single value"
                    " can match"
                )
        when, then = (
            known.resolved(
                number,
                part,
                {key: [self._whole(key, one) for one in some] for key, some in values.items()},
            )
            for part, values in (("when", condition.when), ("then", condition.then))
        )
        return _Resolved(
            {key: frozenset(texts) for key, texts in when.items()},
            {key: (f"{key} (condition {number})", texts) for key, texts in then.items()},
        )

    def _whole(self, key: str, value: Any) -> Any:
        """The value, as an integer if the key has a range of integers."""
        domain = self.domains.get(key)
        whole = (
            isinstance(domain, RangeSpec)
            and domain.integer
            and isinstance(value, float)
            and value.is_integer()
        )
        return int(value) if whole else value

    def remarks(self) -> list[str]:
        """Conditions without effect, judging by the configurations so far."""
        unused = [number for number, condition in self._conditions.items() if not condition.matched]
        return [
            *self._skipped,
            *(f"condition {number} matches none of the configurations drawn" for number in unused),
        ]

    def contains(self, options: Mapping[str, Any]) -> bool:
        """Whether some options are a configuration of this space."""

        def choose(name: str, domain: Domain) -> str:
            value = options[key_of(name)]
            text = text_of(value, name)
            fits = domain.contains(value) if isinstance(domain, RangeSpec) else text in domain
            if not fits:
                raise ValueError(name)
            return text

        try:
            cell = self.sample(choose)
        except (KeyError, ValueError):
            return False
        return all(
            text_of(options.get(key), key) == text
            for key, text in zip(self.keys, cell, strict=True)
        )

    def sample(self, choose: Choose) -> Cell:
        """Choose a configuration."""
        sources: dict[str, tuple[str, Domain]] = {
            key: (key, domain) for key, domain in self.domains.items()
        }
        chosen: dict[str, str] = {}

        def value(key: str) -> str:
            if key not in chosen:
                name, domain = sources[key]
                # A sampler need not know of an option without alternatives.
                if not isinstance(domain, RangeSpec) and len(domain) == 1:
                    chosen[key] = domain[0]
                else:
                    chosen[key] = choose(name, domain)
            return chosen[key]

        for condition in self._conditions.values():
            if all(value(key) in texts for key, texts in condition.when.items()):
                condition.matched = True
                for key, source in condition.then.items():
                    chosen.pop(key, None)
                    sources[key] = source
        return tuple(map(value, self.keys))


def key_of(name: str) -> str:
    """The key of a choice, which may be one that a condition makes."""
    return name.partition(" (condition ")[0]


def conditions_of(spec: SearchSpec) -> list[Condition]:
    """The conditions of a search."""
    return [Condition(part.when, part.then, part.optional) for part in spec.conditions]


def drawn(space: Space, seed: int, count: int) -> tuple[list[Cell], list[str]]:
    """Draw different configurations at random.

    A value depends only on the seed, the number of the draw and its key. The number of
    draws, the other keys and the version of Python do not matter, so a larger count
    begins with the same configurations.

    Args:
        space: The space.
        seed: The seed.
        count: How many are wanted.

    Returns:
        The configurations, fewer if the space is smaller; and remarks.
    """
    cells: dict[Cell, None] = {}
    number = misses = 0
    # Give up when draws bring nothing new: the space may be smaller than the count.
    while len(cells) < count and misses <= 100 + _PATIENCE * len(cells):
        before = len(cells)
        cells[space.sample(_Draw(seed, number))] = None
        misses = 0 if len(cells) > before else misses + 1
        number += 1
    remarks = space.remarks()
    if len(cells) < count:
        remarks.append(f"there are only {len(cells)} configurations to draw, not {count}")
    return list(cells), remarks


class _Draw:
    """The random choices of one draw."""

    def __init__(self, seed: int, number: int) -> None:
        self._name = f"{seed}:{number}:"

    def __call__(self, name: str, domain: Domain) -> str:
        # A hash rather than a generator: no draw depends on the draws before it.
        digest = blake2b((self._name + name).encode(), digest_size=8).digest()
        place = (int.from_bytes(digest) >> 11) * 2.0**-53  # as many bits as a float holds
        return (
            text_of(domain.at(place), name)
            if isinstance(domain, RangeSpec)
            else domain[int(place * len(domain))]
        )
