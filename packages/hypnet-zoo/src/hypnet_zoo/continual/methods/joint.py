"""Joint training: all data of all tasks so far, the upper bound."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import BatchLike, TaskLike
from hypnet_core.tasks import Batchable, Problem
from hypnet_zoo.continual.methods._base import OneNetwork, SharedOptions


class Joint(OneNetwork):
    """Trains one network on the data of all tasks so far: an upper bound.

    Each step adds one batch of every earlier task to that of the present task; the loss
    is the mean over tasks. It is no continual learning, since it keeps all data.

    Args:
        problem: The problem.
        **options: See `SharedOptions`.

    Raises:
        ConfigError: The samples of a task cannot be drawn at given indices.
    """

    def __init__(self, problem: Problem, **options: Unpack[SharedOptions]) -> None:
        super().__init__(problem, **options)
        self.samples = [_batchable(task) for task in problem.tasks]

    def loss(self, outputs: Tensor, batch: BatchLike) -> Tensor:
        """The mean loss over the tasks so far."""
        losses = [super().loss(outputs, batch)]
        for task in range(self.task):
            drawn = self._draw(task, len(batch))
            earlier = self.network(drawn.x, task)
            losses.append(self.problem.loss(earlier, drawn, task, now=self.task))
        return torch.stack(losses).mean()

    def _draw(self, task: int, size: int) -> BatchLike:
        split = self.samples[task]
        rows = torch.randint(len(split), (size,))
        return split.batch(rows, device=self.problem.device)

    def memory_bytes(self) -> int:
        """The samples of all tasks before, as they are trained on."""
        total = 0
        for task in self.problem.tasks[: max(self.task, 0)]:
            x, _ = task.train[0]
            total += len(task.train) * x.numel() * x.element_size()
        return total


def _batchable(task: TaskLike) -> Batchable:
    if not isinstance(task.train, Batchable):
        raise ConfigError(
            f"method: joint draws samples at given indices, which the {type(task.train).__name__}"
            f" of {task.spec.name} does not give"
        )
    return task.train
