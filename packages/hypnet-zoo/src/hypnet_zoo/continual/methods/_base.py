"""The common part of methods that train one network for all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypedDict

import torch
from pydantic import Field
from torch import Tensor, nn

from hypnet_core.errors import ConfigError, SpecError
from hypnet_core.protocols import BatchLike, OptimizerLike
from hypnet_core.tasks import Problem, mean_prediction
from hypnet_zoo.continual.methods._networks import SharedNetwork

ALL_SCENARIOS = ("task", "domain", "class")


class SharedOptions(TypedDict, total=False):
    """Options of methods with one network for all tasks."""

    statistics: Annotated[
        Literal["shared", "per_task"],
        Field(
            default="shared",
            description=(
                "Running statistics of batch norm: one set for all tasks, or one for each, which"
                " needs to know the task of a test sample."
            ),
        ),
    ]


class Base:
    """The common part of all methods: problem, present task and optimiser.

    Args:
        problem: The problem.
    """

    scenarios: ClassVar[tuple[str, ...]] = ALL_SCENARIOS
    has_hypernetwork: ClassVar[bool] = False
    """Whether `train.groups` may name the embeddings and θ of a hypernetwork."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.task = -1
        """Number of the present task; -1 before the first."""
        self._optimizer: OptimizerLike | None = None

    @property
    def seen(self) -> int:
        """Number of tasks that were begun."""
        return self.task + 1

    @property
    def optimizer(self) -> OptimizerLike:
        """The optimiser of the present task.

        Raises:
            SpecError: No task was begun.
        """
        if self._optimizer is None:
            raise SpecError("begin a task before the first step")
        return self._optimizer

    def begin(self, task: int) -> None:
        """Begin a task with a new optimiser."""
        self.task = task
        self._start()

    def _start(self) -> None:
        """Make the optimiser of the present task."""
        raise NotImplementedError

    def end(self, task: int) -> None:
        """End a task."""

    def state_dict(self) -> dict[str, Any]:
        """Number of the task, and state of its optimiser."""
        made = self._optimizer
        return {"task": self.task, "optimizer": None if made is None else made.state_dict()}

    def _load_optimizer(self, state: Mapping[str, Any]) -> None:
        """Make the optimiser of the task of a state, and set its state."""
        if state["optimizer"] is not None:
            self._start()
            self.optimizer.load_state_dict(state["optimizer"])


class PredictsByDraws(Base):
    """A method with several networks for each task, whose mean prediction answers."""

    @torch.no_grad()
    def predict(self, x: Tensor, task: int | None = None) -> Tensor:
        """The mean prediction for a task, which must be given."""
        if task is None:
            raise SpecError("the task must be given, or inferred")
        return mean_prediction(self.predict_each(x, [task])[0], self.problem.specs[task])

    def predict_each(self, x: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        """Outputs by the networks of each task, `[draws, B, *outputs]`."""
        raise NotImplementedError(f"{type(self).__name__} must implement predict_each()")


class OneNetwork(Base):
    """Learns all tasks with one network; subclasses add what protects earlier tasks.

    Args:
        problem: The problem.
        statistics: See `SharedOptions`.

    Raises:
        ConfigError: Statistics are kept for each task, but tasks are not known.
    """

    def __init__(
        self, problem: Problem, *, statistics: Literal["shared", "per_task"] = "shared"
    ) -> None:
        if statistics == "per_task" and problem.scenario != "task":
            raise ConfigError(
                "statistics=per_task needs to know the task of a sample, but the scenario is"
                f" {problem.scenario}: use statistics=shared"
            )
        super().__init__(problem)
        self.network = SharedNetwork(problem.module, statistics)
        self.model: nn.Module = self.network
        """The network that is trained, called with inputs and the number of a task."""

    def _start(self) -> None:
        trained = self._trained()
        self._optimizer = self.problem.optimizer(trained, groups=self._groups(trained))

    def _groups(self, trained: Mapping[str, nn.Parameter]) -> Mapping[str, list[str]]:
        """Names of parameters, by the name of their group."""
        return {"mainnet": list(trained)}

    def _trained(self) -> Mapping[str, nn.Parameter]:
        """The parameters that are trained, by name."""
        return dict(self.network.module.named_parameters())

    def step(self, batch: BatchLike) -> dict[str, Tensor]:
        """One step along the gradients of loss and penalty."""
        self.model.train()
        self.optimizer.zero_grad()
        outputs = self.model(batch.x, self.task)
        loss = self.loss(outputs, batch)
        penalty = self.penalty(outputs, batch)
        total = loss if self.loss_weight == 1.0 else self.loss_weight * loss
        (total if penalty is None else total + penalty).backward()
        self.take_step()
        found = {"loss": loss.detach()}
        return found if penalty is None else {**found, "penalty": penalty.detach()}

    def take_step(self) -> None:
        """Let the optimiser move the parameters."""
        self.optimizer.step()

    def loss(self, outputs: Tensor, batch: BatchLike) -> Tensor:
        """The loss of the outputs for a batch of the present task."""
        return self.problem.loss(outputs, batch, self.task)

    @property
    def loss_weight(self) -> float:
        """Weight of the present task's loss beside the penalty."""
        return 1.0

    def penalty(self, outputs: Tensor, batch: BatchLike) -> Tensor | None:
        """A loss that protects earlier tasks; `None` if there is nothing to protect.

        Args:
            outputs: The outputs for the batch, as they are for the present task.
            batch: Samples of the present task.
        """
        del outputs, batch
        return None

    @torch.no_grad()
    def predict(self, x: Tensor, task: int | None = None) -> Tensor:
        """Outputs of the task, or without one of all tasks so far."""
        self.model.eval()
        return self.problem.answer(self.model(x, task), task, seen=self.seen)

    def sizes(self) -> dict[str, int]:
        """Parameters, and the memory that is kept of earlier tasks."""
        parameters = sum(p.numel() for p in self.model.parameters())
        return {
            "parameters": parameters,
            "generated": parameters,
            "memory_bytes": self.memory_bytes(),
        }

    def memory_bytes(self) -> int:
        """Memory that is kept of earlier tasks."""
        return 0

    def state_dict(self) -> dict[str, Any]:
        """Network, optimiser and the number of the task."""
        return {**super().state_dict(), "network": dict(self.model.state_dict())}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from a state."""
        self.task = state["task"]
        self.model.load_state_dict(state["network"])
        self._load_optimizer(state)
