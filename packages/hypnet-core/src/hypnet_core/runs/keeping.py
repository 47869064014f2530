"""Which checkpoints are written and which are kept."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator

from hypnet_core.errors import clipped

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Stamp:
    """One checkpoint of a folder.

    Attributes:
        path: The file.
        step: Training steps before it.
        time: When it was written, in seconds since 1970.
        score: How good it is; `None` if that is unknown.
        higher_is_better: Whether a larger score is better.
        size: Bytes of the file.
    """

    path: Path
    step: int
    time: float
    score: float | None
    higher_is_better: bool
    size: int


class CheckpointOptions(BaseModel):
    """When checkpoints are written, and which of them stay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: str = Field(
        "last",
        description=(
            'Which checkpoints stay: the "last", "all", or "best:3": the three with the best'
            " scores, and the last."
        ),
    )
    keep_every: str | None = Field(
        None,
        description='Also keep the best checkpoint of each such time span: "30m", "2h", "1d".',
    )
    every: str | None = Field(
        None, description='Least time between two checkpoints: "90s", "30m", "1h", "1d".'
    )
    every_steps: PositiveInt | None = Field(
        None, description="Least number of training steps between two checkpoints."
    )

    @field_validator("keep")
    @classmethod
    def _is_known(cls, text: str) -> str:
        if not re.fullmatch(r"last|all|best:[1-9]\d{0,5}", text):
            raise ValueError(f"{clipped(repr(text))}: write last, all, or best:3 for three")
        return text

    @field_validator("every", "keep_every")
    @classmethod
    def _is_a_duration(cls, text: str | None) -> str | None:
        if text is not None:
            seconds(text)
        return text

    def to_keep(self, stamps: Sequence[Stamp]) -> set[int]:
        """The steps of the checkpoints that stay.

        Args:
            stamps: All checkpoints, the last one written last.
        """
        if self.keep == "all":
            return {stamp.step for stamp in stamps}
        kept = {stamp.step for stamp in stamps[-1:]}
        ranked = sorted(stamps, key=rank)
        if self.keep != "last":
            kept |= {stamp.step for stamp in ranked[: int(self.keep.removeprefix("best:"))]}
        if self.keep_every is not None:
            # The first of each span in order of rank is its best.
            best: dict[int, int] = {}
            for stamp in ranked:
                best.setdefault(int(stamp.time // seconds(self.keep_every)), stamp.step)
            kept |= set(best.values())
        return kept

    @property
    def periodic(self) -> bool:
        """Whether checkpoints are due by time or by steps, even in mid-work."""
        return self.every is not None or self.every_steps is not None

    def is_due(self, step: int, now: float, last: Stamp) -> bool:
        """Whether the next checkpoint is due.

        Args:
            step: Training steps so far.
            now: The time, in seconds since 1970.
            last: The checkpoint before, or the start.
        """
        if not self.periodic:
            return True
        by_time = self.every is not None and now - last.time >= seconds(self.every)
        by_steps = self.every_steps is not None and step - last.step >= self.every_steps
        return by_time or by_steps


def rank(stamp: Stamp) -> tuple[float, int]:
    """Sort key: the best score first, none last, the newer of equals first."""
    if stamp.score is None or math.isnan(stamp.score):
        return (math.inf, -stamp.step)
    return (-stamp.score if stamp.higher_is_better else stamp.score, -stamp.step)


def seconds(text: str) -> float:
    """The seconds of a duration.

    Raises:
        ValueError: It is not a positive number with a unit.

    Example:
        >>> seconds("90s"), seconds("1.5h")
        (90.0, 5400.0)
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smhd])", text.strip())
    if found is None or not float(found[1]):
        raise ValueError(f"{clipped(repr(text))} is not a time span: write 90s, 30m, 1h or 2d")
    return float(found[1]) * _UNITS[found[2]]
