"""Membership of trials in a search, which may have changed since they were run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypnet_hpsearch.spec.space import Space
from hypnet_hpsearch.spec.spec import SEED, SearchSpec
from hypnet_hpsearch.spec.values import text_of

__all__ = ["Members"]


class Members:
    """The configurations that belong to a search, known or not.

    Args:
        spec: The search.

    Raises:
        ConfigError: Its grid, a range or a condition is invalid.

    Example:
        >>> spec = SearchSpec(
        ...     name="x",
        ...     command=["sim", "{options}"],
        ...     base={"steps": 5},
        ...     ranges={"lr": {"low": 0.0, "high": 1.0}},
        ...     max_trials=3,
        ...     metric="loss",
        ...     direction="minimize",
        ... )
        >>> members = Members(spec)
        >>> [members.contain({"steps": 5, "lr": lr}) for lr in (0.5, 2.0)]
        [True, False]
    """

    def __init__(self, spec: SearchSpec) -> None:
        self._space = Space.of(spec)
        self._base = {key: text_of(value, key) for key, value in spec.base.items()}
        self._seeds = frozenset(spec.seeds)
        self._keys = {*self._base, *self._space.keys, *([SEED] if spec.seeds else [])}

    def contain(self, options: Mapping[str, Any]) -> bool:
        """Whether a trial with these options belongs to the search."""
        if options.keys() != self._keys:
            return False
        if any(text_of(options[key], key) != text for key, text in self._base.items()):
            return False
        if self._seeds and options[SEED] not in self._seeds:
            return False
        return self._space.contains(options)
