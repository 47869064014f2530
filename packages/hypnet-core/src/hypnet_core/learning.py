"""The contracts of learning a sequence of tasks: methods, optimisers, callbacks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from hypnet_core.samples import BatchLike, TaskLike


@runtime_checkable
class OptimizerLike(Protocol):
    """The part of `torch.optim.Optimizer` that a method uses."""

    def zero_grad(self) -> None:
        """Forget all gradients."""

    def step(self) -> Any:
        """Take one step along the gradients."""

    def state_dict(self) -> dict[str, Any]:
        """The state, to be saved."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set the state."""


@runtime_checkable
class Method(Protocol):
    """Learns tasks one after the other, and predicts for all of them.

    A component of the kind `method` is called as `factory(problem, *, options)`, with a
    `hypnet_core.tasks.Problem`: the network, the tasks, the loss, and a function that
    makes optimisers. The loop (`hypnet_zoo.continual.learn`) calls, for
    each task in turn, `begin`, `step` for each batch, and `end`:

    ```python
    from hypnet_core.tasks import Problem


    class Finetune:
        scenarios = ("task", "domain", "class")

        def __init__(self, problem: Problem) -> None:
            self.problem, self.task = problem, 0

        def begin(self, task):
            self.task = task
            self.optimizer = self.problem.optimizer(self.problem.parameters())

        def step(self, batch):
            self.problem.module.train()
            self.optimizer.zero_grad()
            loss = self.problem.loss(self.problem.module(batch.x), batch, self.task)
            loss.backward()
            self.optimizer.step()
            return {"loss": loss.detach()}

        def end(self, task): ...

        def predict(self, x, task=None):
            self.problem.module.eval()
            return self.problem.answer(self.problem.module(x), task, seen=self.task + 1)

        def state_dict(self):
            return {
                "task": self.task,
                "module": self.problem.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }

        def load_state_dict(self, state):
            self.task = state["task"]
            self.problem.module.load_state_dict(state["module"])
            self.optimizer = self.problem.optimizer(self.problem.parameters())
            self.optimizer.load_state_dict(state["optimizer"])
    ```

    All randomness comes from torch's global generators, which the loop seeds and saves,
    or is part of the state.
    """

    @property
    def scenarios(self) -> Collection[str]:
        """Those of `task`, `domain` and `class` that it can do: a class attribute."""

    def begin(self, task: int) -> None:
        """Begin to learn a task.

        Args:
            task: Its number, from 0; one more than that of the task before.
        """

    def step(self, batch: BatchLike) -> Mapping[str, Tensor]:
        """Take one training step on samples of the present task.

        Returns:
            The losses by name, as scalars without a graph; `loss` is the task's own.
        """

    def end(self, task: int) -> None:
        """End a task: keep what protects it, such as importances or samples.

        Its data are `problem.tasks[task].train`. Data of other tasks are there as well,
        but only an upper bound such as `joint` looks at them.
        """

    def predict(self, x: Tensor, task: int | None = None) -> Tensor:
        """Outputs for some inputs, in evaluation mode.

        Args:
            x: Inputs `[B, *in_shape]`.
            task: The task that they belong to, which may be one that was not begun
                unless the method is `WeightsPerTask`; `None` if it is unknown.

        Returns:
            Outputs `[B, *out_shape]` of the task. Without one, `[B, classes]`: the
            classes that all tasks share, or those of all tasks so far in order.
        """

    def state_dict(self) -> Mapping[str, Any]:
        """All that is needed to continue, also in the middle of a task.

        Dictionaries, lists and tuples of tensors, numbers and text.
        """

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from a state; the method is newly made, for the same problem."""


@runtime_checkable
class WeightsPerTask(Protocol):
    """A method with weights of its own for each task, so that tasks can be inferred."""

    def predict_each(self, x: Tensor, tasks: Sequence[int]) -> Sequence[Tensor]:
        """Outputs by the weights of each of some tasks.

        Args:
            x: Inputs `[B, *in_shape]`.
            tasks: Numbers of tasks that were begun.

        Returns:
            For each task `[draws, B, *out_shape]`: as many draws of weights as the
            method has for it.
        """


@runtime_checkable
class InfersTasks(Protocol):
    """A method with weights per task that has its own way to infer the task."""

    def infer_task(self, x: Tensor) -> Tensor:
        """The tasks `[B]` that inputs `[B, *in_shape]` belong to, among those begun."""


@runtime_checkable
class ReportsSizes(Protocol):
    """A method that tells what it stores."""

    def sizes(self) -> Mapping[str, int]:
        """Sizes by name.

        `parameters` are those that are trained, `generated` those of the networks that
        it uses for all tasks together, `memory_bytes` what it keeps of earlier tasks.
        """


class LearningState(Protocol):
    """The state of the loop, as callbacks see it."""

    method: Method
    """The method."""
    tasks: Sequence[TaskLike]
    """All tasks."""
    task: int
    """Number of the present task, from 0."""
    epoch: int
    """Number of the present pass over its samples, from 0."""
    step: int
    """Training steps so far, of all tasks."""
    task_step: int
    """Training steps of the present task so far."""
    losses: Mapping[str, Tensor]
    """The losses of the last step, by name."""

    @property
    def ends_task(self) -> bool:
        """Whether the last step was the last one of the task."""

    def validate(self) -> float | None:
        """The validation score of the present task; `None` without such samples."""

    def stop_task(self) -> None:
        """End the present task after this step."""


class Callback:
    """Observes learning: subclass it, and define those methods that matter.

    A callback whose state must survive an interruption also has `state_dict` and
    `load_state_dict`. The state's values are those of checkpoints.
    """

    def begin_run(self, state: LearningState, /) -> None:
        """Called before the first task, or when an interrupted run goes on."""

    def begin_task(self, state: LearningState, /) -> None:
        """Called after the method has begun a task."""

    def begin_epoch(self, state: LearningState, /) -> None:
        """Called before the first step of a pass over the samples."""

    def begin_step(self, state: LearningState, /) -> None:
        """Called before a training step."""

    def end_step(self, state: LearningState, /) -> None:
        """Called after a training step."""

    def end_epoch(self, state: LearningState, /) -> None:
        """Called after the last step of a pass over the samples."""

    def end_steps(self, state: LearningState, /) -> None:
        """Called after the last step of a task, before the method ends it."""

    def end_task(self, state: LearningState, /) -> None:
        """Called after a task was learned, and all so far were scored."""

    def end_run(self, state: LearningState, /) -> None:
        """Called after the last task."""
