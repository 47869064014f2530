"""The callbacks of the loop: metrics, validation, checkpoints, checks."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hypnet_core.errors import DivergedError
from hypnet_core.networks import HyperNetwork, Weights
from hypnet_core.protocols import Callback, LearningState
from hypnet_core.runs import Checkpoints, Progress
from hypnet_zoo.continual.learning import Learning


class Metrics(Callback):
    """Logs losses every so many steps, and shows progress.

    Args:
        learning: The loop.
        every: Steps between entries.
        log: Where metrics go: called as `log(step, metrics, task=number)`.
    """

    def __init__(
        self,
        learning: Learning,
        *,
        every: int,
        log: Callable[..., None] | None = None,
    ) -> None:
        self.learning = learning
        self.every = every
        self.shown: Progress | None = None
        """The progress bar."""
        self.log = log

    def end_step(self, state: LearningState, /) -> None:
        """Read the losses, which waits for a GPU, so not at every step."""
        if state.task_step % self.every and not state.ends_task:
            return
        self.learning.check_losses()
        values = {name: value.item() for name, value in state.losses.items()}
        if self.log is not None:
            self.log(state.step, values, task=state.task)
        if self.shown is None:
            return
        description = f"task {state.task + 1} of {len(state.tasks)}"
        self.shown.advance(state.step, description=description, **values)

    def end_task(self, state: LearningState, /) -> None:
        """Log the scores of all tasks so far, whose curves show what is forgotten."""
        if self.log is None:
            return
        name = "accuracy" if self.learning.higher_is_better else "mse"
        for split, label in (("test", "test"), ("val", "validation")):
            for number, score in enumerate(self.learning.scores[split][-1]):
                if score is None:
                    continue
                found = {f"{label}_{name}": score.value}
                if score.inferred is not None and split == "test":
                    found["test_inferred"] = score.inferred
                self.log(state.step, found, task=number)
            mean = self.learning.mean_score(split)
            if mean is not None:
                self.log(state.step, {f"{label}_{name}_mean": mean})


class Validation(Callback):
    """Validates every so many steps, and stops a task that no longer improves.

    The loop's options say how often (`validate_every`), and after how many validations
    without an improvement (`patience`): then the method of the best one is restored
    before the task ends. It comes before `Metrics`, which logs the last step of a task.

    Args:
        learning: The loop.
        log: Where scores go: called as `log(step, metrics, task=number)`.
        say: Called with a line of text when a task is stopped.
    """

    def __init__(
        self,
        learning: Learning,
        *,
        log: Callable[..., None] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.learning = learning
        self.every = learning.train.validate_every
        self.patience = learning.train.patience
        self.sign = 1.0 if learning.higher_is_better else -1.0
        self.log = log
        self.say = say
        self.stops: list[str] = []
        """A line of text for each task that was stopped."""
        self._forget()

    def _forget(self) -> None:
        self.score = -math.inf
        self.without_improvement = 0
        self.best: Any = None

    def begin_task(self, _state: LearningState, /) -> None:
        """Forget the task before."""
        self._forget()

    def end_step(self, state: LearningState, /) -> None:
        """Validate, if it is time to."""
        if not self.every or state.task_step % self.every:
            return
        # A loss that is NaN says more than predictions that are.
        self.learning.check_losses()
        score = state.validate()
        if score is None:
            return
        if self.log is not None:
            self.log(state.step, {"validation": score}, task=state.task)
        if self.patience is not None and self._no_longer_improves(score, state):
            state.stop_task()
            self.stops.append(f"task {state.task + 1}: stopped early at step {state.task_step}")
            if self.say is not None:
                self.say(self.stops[-1])

    def _no_longer_improves(self, score: float, state: LearningState) -> bool:
        if self.sign * score > self.score:
            self.score, self.without_improvement = self.sign * score, 0
            self.best = copy.deepcopy(dict(state.method.state_dict()))
        else:
            self.without_improvement += 1
        return self.without_improvement >= (self.patience or 0)

    def end_steps(self, state: LearningState, /) -> None:
        """Restore the method of the best validation, if there was one."""
        if self.best is not None:
            state.method.load_state_dict(self.best)

    def state_dict(self) -> Mapping[str, Any]:
        """Best score and method of the present task, and which tasks were stopped."""
        return {
            "stops": self.stops,
            "score": self.score,
            "without_improvement": self.without_improvement,
            "best": self.best,
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue with the best of before."""
        self.stops = list(state["stops"])
        self.score = state["score"]
        self.without_improvement = state["without_improvement"]
        self.best = state["best"]


class Checkpointing(Callback):
    """Saves the loop when a task ends, and within a task if that is asked for.

    It comes last, so that it saves what the other callbacks have done.

    Args:
        learning: The loop.
        checkpoints: Where they go, which knows when one is due.
        save: Called as `save(step, score)`.
    """

    def __init__(
        self,
        learning: Learning,
        checkpoints: Checkpoints,
        save: Callable[[int, float | None], None],
    ) -> None:
        self.learning = learning
        self.checkpoints = checkpoints
        self.save = save

    def end_step(self, state: LearningState, /) -> None:
        """Save within a task."""
        if not self.checkpoints.options.periodic or state.ends_task:
            return
        if self.checkpoints.is_due(state.step):
            self.learning.check_finite(self.learning.where)
            self.save(state.step, None)

    def end_task(self, state: LearningState, /) -> None:
        """Save after a task, with the mean validation score of the tasks so far."""
        # The last one always, from which other runs may start.
        if state.task + 1 < len(state.tasks) and not self.checkpoints.is_due(state.step):
            return
        # Nothing is selected by test scores: without validation the newest is the best.
        self.save(state.step, self.learning.mean_score("val"))


class Timing(Callback):
    """Measures the time of the training steps of this process.

    Elsewhere than on a CPU a step only queues its work. So one step in ten is timed
    there, from an idle device to an idle device; the others are not held up.

    Args:
        device: Where the steps compute.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.every = 1 if device.type == "cpu" else 10
        self.steps = 0
        self._seconds = 0.0
        self._timed = 0
        self._since = 0.0

    @property
    def _is_timed(self) -> bool:
        return (self.steps + 1) % self.every == 0  # not the first, which warms up

    def begin_step(self, _state: LearningState, /) -> None:
        """Start the clock."""
        if self._is_timed:
            _wait_for(self.device)
            self._since = time.perf_counter()

    def end_step(self, _state: LearningState, /) -> None:
        """Stop the clock."""
        if self._is_timed:
            _wait_for(self.device)
            self._seconds += time.perf_counter() - self._since
            self._timed += 1
        self.steps += 1

    @property
    def per_step(self) -> float | None:
        """Seconds per step; `None` before the first."""
        return self._seconds / self._timed if self._timed else None


def _wait_for(device: torch.device) -> None:
    """Wait until a device has done what was queued."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class FiniteChecks(Callback):
    """Finds the step and the tensor in which infinity or NaN arises; slow.

    Args:
        learning: The loop.
    """

    def __init__(self, learning: Learning) -> None:
        self.learning = learning
        parts = [part for part in vars(learning.method).values() if isinstance(part, nn.Module)]
        self.networks: list[nn.Module] = parts
        self._hooks: list[Any] = []

    def begin_step(self, _state: LearningState, /) -> None:
        """Watch all weights that hypernetworks generate."""
        for network in self.networks:
            for module in network.modules():
                if isinstance(module, HyperNetwork):
                    self._hooks.append(module.register_forward_hook(self._check_generated))

    def end_step(self, _state: LearningState, /) -> None:
        """Check losses, gradients and parameters.

        Raises:
            DivergedError: One of them is not finite.
        """
        while self._hooks:
            self._hooks.pop().remove()
        where = self.learning.where
        self.learning.check_losses()
        for network in self.networks:
            for name, parameter in network.named_parameters():
                if parameter.grad is not None and not _finite(parameter.grad):
                    raise DivergedError(f"the gradient of {name} became infinite or NaN in {where}")
        self.learning.check_finite(where)

    def _check_generated(self, _module: nn.Module, _inputs: Any, weights: Weights) -> None:
        if _finite(weights.flat):
            return
        where = f"task {self.learning.task + 1}, step {self.learning.task_step + 1}"
        names = [name for name in weights if not _finite(weights[name])]
        raise DivergedError(
            f"the generated weight {names[0]} became infinite or NaN in {where}"
            + (f", and {len(names) - 1} more tensors" if len(names) > 1 else "")
        )


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
