"""The splits of a task, changed all in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import SplitLike
from hypnet_core.tasks import Split, Task, Transform
from hypnet_data.holdout import HoldOut
from hypnet_data.transforms import ClassIndex


class Parts(NamedTuple):
    """Training, test and validation samples."""

    train: Split
    test: Split
    val: Split | None

    def map(self, step: Callable[[Split], Split]) -> Parts:
        """Do the same to every split."""
        return Parts(
            step(self.train), step(self.test), None if self.val is None else step(self.val)
        )

    def only(self, group: tuple[int, ...]) -> Parts:
        """The samples of some classes."""
        wanted = torch.tensor(group)
        return self.map(lambda split: split.subset(torch.isin(ClassIndex()(split.targets), wanted)))

    def held_out(self, count: int | None, hold_out: HoldOut) -> Parts:
        """The same with `count` training samples as the validation split."""
        if not count:
            return self
        chosen = hold_out(ClassIndex()(self.train.targets), count)
        return self._replace(
            train=self.train.subset(~chosen), val=self.train.subset(chosen).unaugmented()
        )

    def transformed(self, steps: Sequence[Transform]) -> Parts:
        """The same with more input transforms behind those that there are."""
        return self.map(lambda split: split.with_transforms(*split.transforms, *steps))

    def relabelled(self, steps: Sequence[Transform]) -> Parts:
        """The same with other target transforms on top of class indices."""
        return self.map(
            lambda split: split.with_target_transforms(
                *split.target_transforms, ClassIndex(), *steps
            )
        )


def parts_of(task: Task) -> Parts:
    """The splits of a task, as something that views can be made of.

    Raises:
        ConfigError: A split is of a class of its own.
    """
    val = None if task.val is None else _viewable(task, task.val)
    return Parts(_viewable(task, task.train), _viewable(task, task.test), val)


def _viewable(task: Task, split: SplitLike) -> Split:
    if not isinstance(split, Split):
        raise ConfigError(
            f"no task sequence can be made of {task.spec.name!r}: its samples are in a"
            f" {type(split).__name__}, not in a Split"
        )
    return split
