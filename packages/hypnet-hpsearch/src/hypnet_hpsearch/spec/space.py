"""What samplers that do not go through a whole grid choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeAlias

from hypnet_core.errors import ConfigError
from hypnet_hpsearch.spec.grid import Cell, Condition, Grid, KnownTexts
from hypnet_hpsearch.spec.ranges import RangeSpec
from hypnet_hpsearch.spec.values import text_of

__all__ = ["Choose", "Domain", "Space", "drawn"]

Domain: TypeAlias = tuple[str, ...] | RangeSpec
"""The texts of some values, or a range."""

Choose: TypeAlias = Callable[[str, Domain], str]
"""Chooses the text of a value, given the choice's name and what there is to choose from."""

_PATIENCE = 20


@dataclass
class _Exception:
    """A condition, resolved: the texts that match, and for each key the name of the choice and the texts to choose from instead."""

    when: dict[str, frozenset[str]]
    then: dict[str, tuple[str, tuple[str, ...]]]
    matched: bool = False


class Space:
    """Configurations of lists and ranges, one of which is chosen value by value.

    Conditions apply to each configuration as they do to a grid: one after the other,
    each to what its predecessors left. Where a grid would be searched with all values
    of `then`, one of them is chosen. A value that a condition replaces is not chosen at
    all.

    Args:
        grid: The lists.
        ranges: The ranges, by key.
        conditions: In the order in which they apply.

    Attributes:
        keys: Those of the lists, then those of the ranges.

    Raises:
        ConfigError: A condition names a key that there is not, or asks when a range of
            real numbers has a certain value.
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
        self._exceptions: dict[int, _Exception] = {}
        for number, condition in enumerate(conditions, 1):
            reason = condition.reason_to_skip(number, self.keys)
            if reason:
                self._skipped.append(reason)
            else:
                self._exceptions[number] = self._resolved(number, condition, known)

    def _resolved(self, number: int, condition: Condition, known: KnownTexts) -> _Exception:
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
        return _Exception(
            {key: frozenset(texts) for key, texts in when.items()},
            {key: (f"{key} (condition {number})", texts) for key, texts in then.items()},
        )

    def _whole(self, key: str, value: Any) -> Any:
        """The value, as an integer where the key has a range of them."""
        domain = self.domains.get(key)
        whole = (
            isinstance(domain, RangeSpec)
            and domain.integer
            and isinstance(value, float)
            and value.is_integer()
        )
        return int(value) if whole else value

    def remarks(self) -> list[str]:
        """What is odd about the conditions, as far as configurations have been chosen."""
        unused = [number for number, exception in self._exceptions.items() if not exception.matched]
        return [
            *self._skipped,
            *(f"condition {number} matches none of the configurations drawn" for number in unused),
        ]

    def sample(self, choose: Choose) -> Cell:
        """Choose a configuration."""
        sources: dict[str, tuple[str, Domain]] = {
            key: (key, domain) for key, domain in self.domains.items()
        }
        chosen: dict[str, str] = {}

        def value(key: str) -> str:
            if key not in chosen:
                name, domain = sources[key]
                single = not isinstance(domain, RangeSpec) and len(domain) == 1
                chosen[key] = domain[0] if single else choose(name, domain)  # type: ignore[index]
            return chosen[key]

        for exception in self._exceptions.values():
            if all(value(key) in texts for key, texts in exception.when.items()):
                exception.matched = True
                for key, source in exception.then.items():
                    chosen.pop(key, None)
                    sources[key] = source
        return tuple(map(value, self.keys))


def drawn(space: Space, seed: int, count: int) -> tuple[list[Cell], list[str]]:
    """Different configurations, drawn at random.

    A value depends on nothing but the seed, the number of the draw and its key: neither
    on how many are drawn, nor on other keys, nor on the version of Python. So a larger
    count begins with the same configurations.

    Args:
        space: What is drawn from.
        seed: The seed.
        count: How many are wanted.

    Returns:
        The configurations, fewer where there are no more; and remarks.
    """
    cells: dict[Cell, None] = {}
    number = misses = 0
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
    """Chooses at random."""

    def __init__(self, seed: int, number: int) -> None:
        self._name = f"{seed}:{number}:"

    def __call__(self, name: str, domain: Domain) -> str:
        digest = blake2b((self._name + name).encode(), digest_size=8).digest()
        place = (int.from_bytes(digest) >> 11) * 2.0**-53  # as many bits as a float holds
        return (
            text_of(domain.at(place), name)
            if isinstance(domain, RangeSpec)
            else domain[int(place * len(domain))]
        )
