"""Jobs of a batch system: their ids, and its statements about them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from hypnet_core.jobs import JobState

__all__ = ["MARK", "JobId", "Seen", "in_parts", "words"]

_Item = TypeVar("_Item")

MARK = "hn:"
"""Prefix of the comment that our jobs are submitted with: `hn:TOKEN:KEY,KEY,…`."""


@dataclass(frozen=True)
class Seen:
    """A batch system's statement about a job.

    Attributes:
        state: State of the job.
        reason: More about it, in the system's own words.
        mark: The comment that it was submitted with; empty if the system does not tell.
    """

    state: JobState
    reason: str = ""
    mark: str = ""


class JobId(NamedTuple):
    """A job's id: the batch system's number, and a token.

    Batch systems reuse numbers. The token, which is also in the job's comment,
    distinguishes the job from a later one with the same number.
    """

    number: str
    token: str

    def __str__(self) -> str:
        return f"{self.number}:{self.token}"

    @classmethod
    def parse(cls, text: str) -> JobId | None:
        """The id that a text holds; `None` if it holds something else."""
        found = re.fullmatch(r"([0-9]+(?:_[0-9]+)?):([0-9a-f]{8})", text)
        return cls(*found.groups()) if found else None

    def may_have(self, mark: str) -> bool:
        """Whether a comment may be this job's.

        A site may replace comments by its own, so one without our prefix proves
        nothing.
        """
        return not mark.startswith(MARK) or mark.startswith(f"{MARK}{self.token}:")


def words(option: str) -> list[str]:
    """An option as words of a command line; its value may follow a space or `=`.

    Example:
        >>> words("-P project"), words("--comment=two words"), words("-x")
        (['-P', 'project'], ['--comment=two words'], ['-x'])
    """
    return [option] if "=" in option.split(maxsplit=1)[0] else option.split(maxsplit=1)


def in_parts(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    """Items in parts of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
