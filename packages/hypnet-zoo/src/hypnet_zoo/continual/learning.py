"""The loop of continual learning: one for all methods, for Python and the command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypnet_core.errors import CheckpointError, DivergedError, error_line
from hypnet_core.protocols import Callback, Method, TaskLike, WeightsPerTask
from hypnet_core.runs import HasState, pack
from hypnet_core.tasks import Problem
from hypnet_zoo.continual.contract import check_losses
from hypnet_zoo.continual.measures import mean
from hypnet_zoo.continual.optimization import Optimization
from hypnet_zoo.continual.options import Train
from hypnet_zoo.continual.passes import Passes
from hypnet_zoo.continual.scoring import Score, Scorer
from hypnet_zoo.continual.seeds import random_state, seed_of, seeded, set_random_state


class Optimizations:
    """Makes the optimisers of the present task, and steps their schedules.

    Args:
        train: Options of training.
    """

    def __init__(self, train: Train) -> None:
        self.train = train
        self.made: list[Optimization] = []

    def __call__(
        self,
        parameters: Mapping[str, nn.Parameter],
        *,
        groups: Mapping[str, Collection[str]] | None = None,
    ) -> Optimization:
        """Make an optimiser, see `hypnet_core.tasks.MakesOptimizers`."""
        made = Optimization(parameters, self.train, groups=groups)
        self.made.append(made)
        return made

    @property
    def follow_score(self) -> bool:
        """Whether a schedule follows the validation score."""
        return any(one.follows_score for one in self.made)

    def end_epoch(self, error: float | None) -> None:
        """Let the schedules step that do so after each epoch."""
        for one in self.made:
            one.end_epoch(error)


class Learning:
    """Learns tasks in sequence: the state of the loop, which can be saved at any step.

    All randomness comes from `seed` and the number of a task.

    Args:
        problem: The problem.
        method: The method, made for this problem.
        train: Options of training.
        scorer: Scores the method.
        optimizations: What makes the problem's optimisers.
        callbacks: Observers.
        seed: Seed of all randomness.
        leave_out: For each task, whether the last batch of a pass is left out.
    """

    def __init__(
        self,
        problem: Problem,
        method: Method,
        train: Train,
        *,
        scorer: Scorer,
        optimizations: Optimizations,
        callbacks: Sequence[Callback] = (),
        seed: int = 0,
        leave_out: Sequence[bool] = (),
    ) -> None:
        self.problem = problem
        self.method = method
        self.train = train
        self.scorer = scorer
        self.optimizations = optimizations
        self.callbacks = list(callbacks)
        self.seed = seed
        self.tasks: Sequence[TaskLike] = problem.tasks
        self._leave_out = leave_out or (False,) * len(self.tasks)
        self.steps = [self._steps(task) for task in range(len(self.tasks))]
        """Training steps of each task."""
        self.scores: dict[str, list[list[Score | None]]] = {"val": [], "test": []}
        """For each split, row `t`: the scores of tasks `0` to `t` after task `t`, or
        `None` for a task without such samples."""
        self.ahead: dict[str, list[float]] = {"next": [], "first": []}
        """Test scores of all tasks but the first: just before each, at the start."""
        self.step = 0
        self._enter(0)

    def _enter(self, task: int) -> None:
        """Be before the first step of a task."""
        self.task, self.epoch, self.task_step = task, 0, 0
        self.losses: Mapping[str, Tensor] = {}
        self._begun = self._stopped = False
        self._random: Mapping[str, Any] | None = None
        self.passes: Passes | None = None

    @property
    def learned(self) -> int:
        """Number of tasks that were learned."""
        return len(self.scores["test"])

    @property
    def where(self) -> str:
        """The present step, for messages."""
        return f"task {self.task + 1}, step {self.task_step}"

    @property
    def ends_task(self) -> bool:
        """Whether the last step was the last one of the task."""
        return self._stopped or self.task_step >= self.steps[self.task]

    def stop_task(self) -> None:
        """End the present task after this step."""
        self._stopped = True

    def run(self) -> None:
        """Learn the remaining tasks."""
        # The generators of the caller are not touched.
        with seeded(self.seed):
            self._tell("begin_run")
            for task in range(self.learned, len(self.tasks)):
                self._learn(task)
            self._tell("end_run")

    def _learn(self, task: int) -> None:
        if not self._begun:
            self._begin(task)
        elif self._random is not None:  # goes on in the middle of a task
            set_random_state(self._random)
        while not self.ends_task:
            self._step()
        self._tell("end_steps")
        self.method.end(task)
        self.check_finite(f"task {task + 1}")
        self._score()
        self._tell("end_task")
        self._enter(task + 1)

    def _begin(self, task: int) -> None:
        self._enter(task)
        torch.manual_seed(seed_of(self.seed, task))
        self.optimizations.made.clear()
        self.method.begin(task)
        self.passes = self._passes(task)
        self._begun = True
        if not task:
            self.scorer.check(task)
            self._score_first()
        self._tell("begin_task")

    def _step(self) -> None:
        if self.passes is None:
            raise CheckpointError("the state of the loop names no training samples")
        if self.passes.begins_pass:
            self.epoch = self.passes.epoch
            self._tell("begin_epoch")
        batch = next(self.passes)
        self._tell("begin_step")
        self.losses = self.method.step(batch)
        check_losses(self.losses, self.scorer.name)
        self.step += 1
        self.task_step += 1
        if self.passes.ended_pass:
            self._end_epoch()
        self._tell("end_step")

    def _end_epoch(self) -> None:
        error = self.validation_error() if self.optimizations.follow_score else None
        self.optimizations.end_epoch(error)
        self._tell("end_epoch")

    def validate(self) -> float | None:
        """The validation score of the present task; `None` without such samples."""
        split = self.tasks[self.task].val
        if split is None:
            return None
        return self.scorer.score(self.task, split, seen=self.task + 1).value

    def validation_error(self) -> float | None:
        """Validation errors in percent, or the mean squared error: lower is better."""
        score = self.validate()
        if score is None or not self.higher_is_better:
            return score
        return 100.0 - score

    @property
    def higher_is_better(self) -> bool:
        """Whether scores are accuracies."""
        return self.tasks[0].spec.kind == "classification"

    @property
    def _looks_ahead(self) -> bool:
        """Whether tasks can be scored before they are learned."""
        return self.problem.scenario != "class" and not isinstance(self.method, WeightsPerTask)

    def _score_first(self) -> None:
        """Score all tasks but the first by the network as it starts."""
        if self._looks_ahead:
            later = range(1, len(self.tasks))
            self.ahead["first"] = [self._test(task, seen=1) for task in later]

    def _score(self) -> None:
        """Score all tasks so far, and the next one."""
        for name in ("val", "test"):
            splits = [getattr(task, name) for task in self.tasks[: self.task + 1]]
            row = [
                None if split is None else self.scorer.score(number, split, seen=self.task + 1)
                for number, split in enumerate(splits)
            ]
            self.scores[name].append(row)
        if self._looks_ahead and self.task + 1 < len(self.tasks):
            self.ahead["next"].append(self._test(self.task + 1, seen=self.task + 1))

    def _test(self, task: int, *, seen: int) -> float:
        return self.scorer.score(task, self.tasks[task].test, seen=seen).value

    def check_losses(self) -> None:
        """Refuse losses that are not finite.

        Raises:
            DivergedError: A loss is NaN or infinite.
        """
        for name, value in self.losses.items():
            if not bool(torch.isfinite(value)):
                raise DivergedError(
                    f"the {name} became {value.item()} in {self.where}: try a lower train.lr, or"
                    " train.clip_norm"
                )

    def check_finite(self, where: str) -> None:
        """Refuse a method whose state is not finite, before it is saved.

        Raises:
            DivergedError: A tensor is NaN or infinite.
        """
        tensors, _ = pack("method", self.method.state_dict())
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise DivergedError(
                    f"{name.removeprefix('method.')} became infinite or NaN in {where}: try a lower"
                    " train.lr, or train.clip_norm"
                )

    def _tell(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self)

    def mean_score(self, split: str) -> float | None:
        """The mean of the last scores on a split; `None` if there are none."""
        known = [score.value for score in self.scores[split][-1] if score is not None]
        return mean(known) if known else None

    def _passes(self, task: int) -> Passes:
        return Passes(
            self.tasks[task].train,
            self.train.batch_size,
            seed=seed_of(self.seed, task, 2),
            device=self.problem.device,
            drop_last=self._leave_out[task],
        )

    def _steps(self, task: int) -> int:
        if self.train.epochs is None:
            return self.train.iterations
        return self.train.epochs * self._passes(task).per_pass

    def _with_state(self) -> dict[str, HasState]:
        """Callbacks with a state, by class: others may come and go between them."""
        found: dict[str, HasState] = {}
        seen: Counter[str] = Counter()
        for callback in self.callbacks:
            if isinstance(callback, HasState):
                kind = type(callback).__qualname__
                found[f"{kind} {seen[kind]}"] = callback
                seen[kind] += 1
        return found

    def state_dict(self) -> dict[str, Any]:
        """The state: of the loop, the method, its data and the callbacks."""
        return {
            "learned": self.learned,
            "step": self.step,
            "task_step": self.task_step,
            # After its last score a task has ended, though it is still the present one.
            "in_task": self._begun and self.task == self.learned,
            "stopped": self._stopped,
            "scores": {
                name: [[None if score is None else tuple(score) for score in row] for row in rows]
                for name, rows in self.scores.items()
            },
            "ahead": self.ahead,
            "method": self.method.state_dict(),
            "passes": None if self.passes is None else self.passes.state_dict(),
            "random": random_state(),
            "callbacks": {key: one.state_dict() for key, one in self._with_state().items()},
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue where a state was saved.

        Raises:
            CheckpointError: The state does not fit the networks or the tasks.
        """
        try:
            self._load(state)
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"the checkpoint does not fit the networks of its configuration:"
                f" {error_line(error, RuntimeError)}"
            ) from error

    def _load(self, state: Mapping[str, Any]) -> None:
        self._enter(state["learned"])
        self.step = state["step"]
        self.scores = {
            name: [[None if score is None else Score(*score) for score in row] for row in rows]
            for name, rows in state["scores"].items()
        }
        self.ahead = dict(state["ahead"])
        self.optimizations.made.clear()
        self.method.load_state_dict(state["method"])
        for key, callback in self._with_state().items():
            # A callback that was not there before starts anew.
            if key in state["callbacks"]:
                callback.load_state_dict(state["callbacks"][key])
        if state["in_task"]:
            self._begun, self.task_step = True, state["task_step"]
            self._stopped, self._random = state["stopped"], state["random"]
            self.passes = self._passes(self.task)
            self.passes.load_state_dict(state["passes"])
            # The next pass begins with its first step, not with the last of this one.
            self.epoch = self.passes.epoch - self.passes.ended_pass
