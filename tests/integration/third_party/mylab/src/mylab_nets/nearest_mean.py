"""Classification by the nearest mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from hypnet_core.protocols import BatchLike
    from hypnet_core.tasks import Problem


class NearestMean:
    """Answers with the class whose mean input is nearest, and forgets nothing.

    The main network is not used.

    Args:
        problem: The problem.
        weight: Weight of the first sample of a class; later ones count 1.
    """

    scenarios = ("task", "class")

    def __init__(self, problem: Problem, *, weight: float = 1.0) -> None:
        self.problem = problem
        self.weight = weight
        self.task = 0
        x, _ = problem.tasks[0].train[0]
        self.sums = torch.zeros(problem.heads.out_features, x.numel(), device=problem.device)
        self.counts = torch.zeros(problem.heads.out_features, 1, device=problem.device)

    def begin(self, task: int) -> None:
        """Begin a task."""
        self.task = task

    def step(self, batch: BatchLike) -> dict[str, Tensor]:
        """Add the samples to the sums of their classes."""
        units = batch.y + self.problem.heads.units(self.task).start
        first = self.counts[units] == 0
        weights = torch.where(first, self.weight, 1.0)
        self.sums.index_add_(0, units, weights * batch.x.flatten(1))
        self.counts.index_add_(0, units, weights)
        outputs = self._outputs(batch.x)
        return {"loss": self.problem.loss(outputs, batch, self.task).detach()}

    def end(self, task: int) -> None:
        """End a task: nothing is left to do."""

    def predict(self, x: Tensor, task: int | None = None) -> Tensor:
        """Negative distances to the means."""
        return self.problem.answer(self._outputs(x), task, seen=self.task + 1)

    def _outputs(self, x: Tensor) -> Tensor:
        return -torch.cdist(x.flatten(1), self.sums / self.counts.clamp(min=1.0))

    def state_dict(self) -> dict[str, Any]:
        """The sums."""
        return {"task": self.task, "sums": self.sums, "counts": self.counts}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from a state."""
        self.task = state["task"]
        self.sums, self.counts = state["sums"].clone(), state["counts"].clone()
