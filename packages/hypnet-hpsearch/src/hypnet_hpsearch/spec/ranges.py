"""Ranges of numbers that samplers draw from."""

from __future__ import annotations

import math
from typing import Annotated, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["RangeSpec"]

Number: TypeAlias = int | Annotated[float, Field(allow_inf_nan=False)]

# Significant digits: enough for any range, and few enough to hide how the logarithms of
# two machines may differ.
_DIGITS = 12


class RangeSpec(BaseModel):
    """All numbers from `low` to `high`, both included.

    Attributes:
        low: The smallest number.
        high: The largest.
        log: Draw uniformly in the logarithm, so that every power of ten is equally
            likely.
        integer: Only integers.
        step: Only `low`, `low + step`, `low + 2 step`, …

    Example:
        >>> rate = RangeSpec(low=1e-4, high=1e-2, log=True)
        >>> rate.at(0.0), rate.at(0.5)
        (0.0001, 0.001)
        >>> width = RangeSpec(low=16, high=64, integer=True, step=16)
        >>> [width.at(place / 4) for place in range(4)]
        [16, 32, 48, 64]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: Number
    high: Number
    log: bool = False
    integer: bool = False
    step: Annotated[Number, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, but they are {self.low!r} and {self.high!r}")
        if self.log and self.low <= 0:
            raise ValueError(f"the logarithm needs low to be above 0, it is {self.low!r}")
        if self.log and self.step is not None:
            raise ValueError("'log' and 'step' exclude each other")
        if self.integer:
            for name in ("low", "high", "step"):
                value = getattr(self, name)
                if value is not None and value != int(value):
                    raise ValueError(
                        f"{name} must be an integer because 'integer' is true, is {value!r}"
                    )
        return self

    @property
    def count(self) -> int | None:
        """How many numbers there are to choose from; `None` for a continuous range."""
        if self.integer:
            return int((self.high - self.low) // (self.step or 1)) + 1
        return (
            None if self.step is None else math.floor((self.high - self.low) / self.step + 1e-9) + 1
        )

    def at(self, place: float) -> int | float:
        """The number at a position from 0 (the smallest) to just below 1."""
        if self.log:
            return self._at_in_logarithms(place)
        if self.count is None:
            return self._rounded(self.low + place * (self.high - self.low))
        return self._numbered(min(int(place * self.count), self.count - 1))

    def contains(self, value: object) -> bool:
        """Whether a value is one of the range's numbers.

        Example:
            >>> width = RangeSpec(low=16, high=64, integer=True, step=16)
            >>> width.contains(48), width.contains(50), width.contains("48")
            (True, False, False)
        """
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not self.low <= value <= self.high or (self.integer and not isinstance(value, int)):
            return False
        return self.step is None or self.nearest(value) == value

    def nearest(self, number: float) -> int | float:
        """The number of the range that is nearest; every sampler's numbers pass here.

        Example:
            >>> RangeSpec(low=0.0, high=1.0, step=0.3).nearest(0.8999999999999999)
            0.9
        """
        if self.count is None or self.log:
            return int(number) if self.integer else float(number)
        place = round((number - self.low) / (self.step or 1))
        return self._numbered(min(max(place, 0), self.count - 1))

    def _numbered(self, place: int) -> int | float:
        """The number with an index, of a range with steps."""
        number = self.low + place * (self.step or 1)
        return int(number) if self.integer else self._rounded(number)

    def _at_in_logarithms(self, place: float) -> int | float:
        # An integer stands for all numbers that round to it, at the ends too.
        margin = 0.5 if self.integer else 0.0
        low, high = math.log(self.low - margin), math.log(self.high + margin)
        number = math.exp(low + place * (high - low))
        return (
            int(min(max(round(number), self.low), self.high))
            if self.integer
            else self._rounded(number)
        )

    def _rounded(self, number: float) -> float:
        return min(max(float(f"{number:.{_DIGITS}g}"), float(self.low)), float(self.high))
