"""The trials of a search: their options and ids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from hypnet_hpsearch.spec.grid import Cell
from hypnet_hpsearch.spec.spec import SEED, SearchSpec
from hypnet_hpsearch.spec.values import text_of, value_of

__all__ = ["PlannedTrial", "TrialMaker"]

_LONG = 80


@dataclass(frozen=True)
class PlannedTrial:
    """One trial of a search.

    Attributes:
        id: Hash of the target and all options: a configuration has the same id in
            whatever order it is written.
        options: All options, those of the base first.
    """

    id: str
    options: dict[str, Any]


class TrialMaker:
    """Makes trials of cells.

    Args:
        spec: The search.
        keys: The keys of the cells.
    """

    def __init__(self, spec: SearchSpec, keys: Sequence[str]) -> None:
        self._base, self._keys = spec.base, tuple(keys)
        identity = spec.identity()
        target = {
            name: identity[name]
            for name in ("experiment", "command", "style", "summary")
            if name in identity
        }
        # `id_of` is called for every cell of a grid, so prepare all that can be here:
        # the hash of the target, and a template of the options.
        self._start = blake2b(json.dumps(target, sort_keys=True).encode(), digest_size=8)
        base = {key: _short(text_of(value, f"base: {key!r}")) for key, value in spec.base.items()}
        # Sorted by key: neither the order of writing matters, nor whether an option is
        # in the base or in the grid.
        every = sorted([*base, *keys])
        self._form = ",".join(
            f"{json.dumps(key)}:{base.get(key, '')}".replace("%", "%%") + "%s" * (key not in base)
            for key in every
        )
        self._places = [keys.index(key) for key in every if key not in base]

    def trial(self, cell: Cell) -> PlannedTrial:
        """The trial with these values, in the order of the keys."""
        searched = zip(self._keys, map(value_of, cell), strict=True)
        return PlannedTrial(self.id_of(cell), {**self._base, **dict(searched)})

    def of(self, options: Mapping[str, Any]) -> PlannedTrial:
        """The trial with some options; those of the base are known.

        Raises:
            KeyError: An option is missing.
        """
        return self.trial(tuple(text_of(options[key], key) for key in self._keys))

    def repetitions(self, options: Mapping[str, Any], seeds: Sequence[int]) -> list[PlannedTrial]:
        """The trials with some options and with each of some seeds.

        Args:
            options: Options that a trial of this maker has.
            seeds: The seeds.

        Raises:
            KeyError: An option is missing.
        """
        return [self.of({**options, SEED: seed}) for seed in seeds]

    def id_of(self, cell: Cell) -> str:
        """The id of the trial with these values."""
        parts = tuple([_short(cell[place]) for place in self._places])
        found = self._start.copy()
        found.update((self._form % parts).encode())
        return found.hexdigest()


def _short(text: str) -> str:
    """A text, or a digest of a long one; no JSON begins with `#`."""
    if len(text) < _LONG:
        return text
    return "#" + blake2b(text.encode(), digest_size=16).hexdigest()
