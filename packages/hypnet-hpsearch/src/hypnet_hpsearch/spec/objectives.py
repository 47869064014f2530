"""Several objectives of a search, and constraints on its results."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from pydantic import AfterValidator, BeforeValidator

from hypnet_core.errors import ConfigError, did_you_mean
from hypnet_hpsearch.spec.values import flattened

__all__ = ["Constraint", "ConstraintsField", "Direction", "MetricsField", "parse_constraint"]

Direction: TypeAlias = Literal["maximize", "minimize"]
"""Whether a large value is good, or a small one."""

_DIRECTIONS: dict[str, Direction] = {
    "max": "maximize",
    "min": "minimize",
    "maximize": "maximize",
    "minimize": "minimize",
}
_FORM = re.compile(r"\s*(?P<name>\S.*?)\s*(?P<sign><=|>=)\s*(?P<bound>\S+)\s*")


class Constraint(NamedTuple):
    """A bound on a number of the summaries.

    Attributes:
        name: Name of the number.
        sign: `<=` or `>=`.
        bound: The bound.
    """

    name: str
    sign: str
    bound: float

    def violation(self, value: float) -> float:
        """How far a value lies beyond the bound; it fulfils it if that is not positive.

        Example:
            >>> parse_constraint("compression <= 1").violation(1.25)
            0.25
        """
        return value - self.bound if self.sign == "<=" else self.bound - value


@functools.cache
def parse_constraint(text: str) -> Constraint:
    """The constraint that a text describes.

    Raises:
        ConfigError: It does not have the form `NAME <= NUMBER` or `NAME >= NUMBER`.

    Example:
        >>> parse_constraint("final.accuracy>=90")
        Constraint(name='final.accuracy', sign='>=', bound=90.0)
    """
    found = _FORM.fullmatch(text)
    try:
        bound = math.nan if found is None else float(found["bound"])
    except ValueError:
        bound = math.nan
    if found is None or math.isnan(bound):
        raise ConfigError(
            f"constraints: {text!r} must have the form 'NAME <= NUMBER' or 'NAME >= NUMBER'"
        )
    return Constraint(found["name"], found["sign"], bound)


def _directions(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    found = {}
    for name, direction in flattened(value, "metrics").items():
        if direction not in _DIRECTIONS:
            raise ConfigError(
                f"metrics: {name!r} must be 'max' or 'min', is"
                f" {direction!r}{did_you_mean(str(direction), _DIRECTIONS)}"
            )
        found[name] = _DIRECTIONS[direction]
    return found


def _checked(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        parse_constraint(text)
    return texts


MetricsField: TypeAlias = Annotated[dict[str, Direction], BeforeValidator(_directions)]
"""Objectives by dotted name, with their directions."""

ConstraintsField: TypeAlias = Annotated[tuple[str, ...], AfterValidator(_checked)]
"""Constraints as text."""
