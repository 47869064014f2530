"""The problem that a method of continual learning is made for."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.protocols import BatchLike, OptimizerLike, TaskLike
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks.heads import Heads, Scenario
from hypnet_core.tasks.objectives import task_loss


class MakesOptimizers(Protocol):
    """A function that makes the optimiser of some parameters."""

    def __call__(
        self,
        parameters: Mapping[str, nn.Parameter],
        *,
        groups: Mapping[str, Collection[str]] | None = None,
    ) -> OptimizerLike:
        """Make an optimiser.

        Args:
            parameters: The parameters by name; those that need no gradient are left
                out.
            groups: Names of parameters, by the name that a user's options call them
                together, such as `embeddings`.
        """
        ...


def adam(
    parameters: Mapping[str, nn.Parameter],
    *,
    groups: Mapping[str, Collection[str]] | None = None,  # noqa: ARG001  one for all
) -> torch.optim.Optimizer:
    """Adam with its defaults, for all parameters alike."""
    return torch.optim.Adam([p for p in parameters.values() if p.requires_grad])


@dataclass(frozen=True)
class Problem:
    """The network, the tasks, and the means to learn them.

    Attributes:
        module: The main network, as it starts, with as many outputs as `heads` asks
            for, on `device`. A method may train it, copy it or wrap it.
        tasks: The tasks, in order.
        heads: Which outputs belong to which task.
        scenario: What is known about the task of a test sample.
        optimizer: Makes an optimiser for named parameters, as the user configured it.
        device: Where to compute.
        seed: Seed of what a method draws when it is made.
        make: Makes another network like `module`, on `device`, that starts from other
            random numbers; `None` if the module was given, so that there is no other.

    Raises:
        SpecError: Heads and tasks differ in number or size.

    Example:
        >>> from hypnet_core.tasks import Split, Task
        >>> shapes = {"kind": "classification", "in_shape": (4,), "out_shape": (2,)}
        >>> split = Split.of(torch.zeros(2, 4), [0, 1])
        >>> tasks = [Task(TaskSpec(name=name, **shapes), split, split) for name in "ab"]
        >>> problem = Problem(nn.Linear(4, 4), tasks, Heads(kind="multi", sizes=(2, 2)))
        >>> problem.answer(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), 1)
        tensor([[3., 4.]])
    """

    module: nn.Module
    tasks: Sequence[TaskLike]
    heads: Heads
    scenario: Scenario = "task"
    optimizer: MakesOptimizers = adam
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seed: int = 0
    make: Callable[[], nn.Module] | None = None

    def __post_init__(self) -> None:
        sizes = tuple(math.prod(spec.out_shape) for spec in self.specs)
        if sizes != self.heads.sizes:
            raise SpecError(f"heads of {self.heads.sizes} do not fit tasks of {sizes} outputs")

    @property
    def specs(self) -> tuple[TaskSpec, ...]:
        """The specification of each task."""
        return tuple(task.spec for task in self.tasks)

    def parameters(self) -> dict[str, nn.Parameter]:
        """The parameters of the module that are trained, by name."""
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad}

    def loss(
        self, outputs: Tensor, batch: BatchLike, task: int, *, now: int | None = None
    ) -> Tensor:
        """Mean loss of a batch of one task: cross-entropy or the mean squared error.

        Args:
            outputs: All outputs of the network: `[B, out_features]`, or `[B, T,
                out_features]`.
            batch: The samples, with the labels of the task itself.
            task: Number of the task.
            now: Number of the task that is being learned, if that is a later one: with
                growing heads, its outputs compete as well.
        """
        units, own = self.competing(task, now), self.heads.units(task)
        return task_loss(
            outputs[..., units.start : units.stop],
            batch,
            self.tasks[task].spec,
            first=own.start - units.start,
        )

    def competing(self, task: int, now: int | None = None) -> range:
        """The outputs over which the softmax of a task's samples runs, see `loss`."""
        later = task if now is None or self.heads.kind != "growing" else max(task, now)
        return self.heads.competing(later)

    def answer(self, outputs: Tensor, task: int | None, *, seen: int | None = None) -> Tensor:
        """The outputs that answer for a task, as `Method.predict` returns them.

        Args:
            outputs: All outputs of the network.
            task: Number of the task; `None` if it is unknown.
            seen: Number of tasks that were begun; all by default.

        Raises:
            SpecError: The task is unknown, and outputs mean different things in
                different tasks.
        """
        if task is not None:
            units = self.heads.units(task)
        elif self.heads.kind == "single" and self.scenario == "class":
            raise SpecError(
                "one head for all tasks cannot tell their classes apart: choose heads=growing"
            )
        else:
            units = range(self.heads.units((seen or len(self.tasks)) - 1).stop)
            if self.heads.kind == "single":
                units = range(self.heads.out_features)
        return outputs[..., units.start : units.stop]
