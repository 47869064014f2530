"""Scores of a method on the tasks that it has learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hypnet_core.errors import DivergedError, SpecError
from hypnet_core.protocols import BatchLike, InfersTasks, Method, SplitLike, WeightsPerTask
from hypnet_core.tasks import (
    Problem,
    answering_steps,
    at_targets,
    has_targets_per_step,
    mean_prediction,
    sample_scores,
)
from hypnet_zoo.continual.contract import check_outputs
from hypnet_zoo.continual.inference import Infer, infer

_NEVER = torch.finfo(torch.float32).min
"""Logit of classes that a task does not have."""


class Score(NamedTuple):
    """The score of a method on some samples.

    Attributes:
        value: Accuracy in percent, or the mean squared error.
        inferred: Percentage of samples whose task was inferred rightly; `None` if it
            was given, or is not inferred.
    """

    value: float
    inferred: float | None = None


class Scorer:
    """Scores a method, and checks what it predicts.

    Args:
        problem: The problem.
        method: The method.
        infer: How the task of a sample is found, for methods with weights per task.
        batch_size: Samples per step.
        name: Name of the method, for messages; that of its class by default.
    """

    def __init__(
        self,
        problem: Problem,
        method: Method,
        *,
        infer: Infer,
        batch_size: int = 1000,
        name: str = "",
    ) -> None:
        self.problem = problem
        self.method = method
        self.infer = infer
        self.batch_size = batch_size
        self.name = name or type(method).__name__

    @property
    def knows_task(self) -> bool:
        """Whether the method is told the task of a sample."""
        infers = isinstance(self.method, WeightsPerTask) and self.infer != "given"
        return self.problem.scenario == "task" and not infers

    @torch.no_grad()
    def check(self, task: int) -> None:
        """Infer the task of two samples, which tells whether the method allows it.

        Raises:
            ConfigError: The criterion needs several draws of weights, or classes.
            SpecError: The method predicts something else than is asked for.
        """
        if self.knows_task or not isinstance(self.method, WeightsPerTask):
            return
        split = self.problem.tasks[task].test
        generator = torch.Generator().manual_seed(0)
        size = min(2, len(split))
        batches = split.batches(size, generator=generator, device=self.problem.device)
        self._answers(next(iter(batches)), task, task + 1)

    @torch.no_grad()
    def score(self, task: int, split: SplitLike, *, seen: int) -> Score:
        """The score on samples of one task.

        Args:
            task: Number of the task.
            split: Its samples.
            seen: Number of tasks that were begun, among which tasks are inferred.

        Raises:
            SpecError: The method predicts something else than is asked for.
            DivergedError: A prediction is infinite or NaN.
        """
        spec, problem = self.problem.tasks[task].spec, self.problem
        # Sums stay on the device: one transfer at the end.
        total = torch.zeros((), dtype=torch.float64, device=problem.device)
        right = torch.zeros((), dtype=torch.float64, device=problem.device)
        spoilt = torch.zeros((), dtype=torch.bool, device=problem.device)
        count = rows = 0
        first = problem.heads.classes(task).start if problem.scenario == "class" else 0
        for batch in split.batches(self.batch_size, device=problem.device):
            outputs, tasks = self._answers(batch, task, seen)
            best = at_targets(outputs, batch, spec)
            if spec.kind == "classification":
                best = best.amax(dim=-1)  # other classes may have a probability of 0
            spoilt |= ~best.isfinite().all()
            scores = sample_scores(outputs, batch, spec, first=first)
            total += scores.sum()
            count += len(scores)
            if tasks is not None:
                right += (tasks == task).sum()
                rows += len(tasks)
        if bool(spoilt):
            raise DivergedError(f"{self._where(task)}: predictions are infinite or NaN")
        factor = 100.0 if spec.kind == "classification" else 1.0
        inferred = 100.0 * float(right) / rows if rows else None
        return Score(factor * float(total) / count, inferred)

    def _answers(self, batch: BatchLike, task: int, seen: int) -> tuple[Tensor, Tensor | None]:
        """Outputs for a batch, and the tasks that were inferred."""
        if not self.knows_task and isinstance(self.method, WeightsPerTask):
            return self._inferred(self.method, batch, task, seen)
        outputs = self.method.predict(batch.x, task if self.knows_task else None)
        self._check(outputs, batch, task, self._out_shape(task, seen))
        return outputs, None

    def _inferred(
        self, method: WeightsPerTask, batch: BatchLike, task: int, seen: int
    ) -> tuple[Tensor, Tensor]:
        """Outputs by the weights of the inferred tasks, and these tasks."""
        spec, specs = self.problem.specs[task], self.problem.specs[:seen]
        each = self._draws(method, batch, task, seen)
        counted = None
        if batch.lengths is not None and has_targets_per_step(batch, spec):
            steps = torch.arange(batch.x.shape[1], device=batch.x.device)
            counted = steps < batch.lengths[:, None]
        if self.infer == "method" and isinstance(method, InfersTasks):
            tasks = method.infer_task(batch.x)
            if tuple(tasks.shape) != (len(batch),) or bool(((tasks < 0) | (tasks >= seen)).any()):
                raise SpecError(
                    f"{self._where(task)}: infer_task must give one number from 0 to {seen - 1} for"
                    f" each of {len(batch)} samples"
                )
        else:
            classification = spec.kind == "classification"
            tasks = infer(each, self.infer, classification=classification, counted=counted)
        means = [mean_prediction(found, own) for found, own in zip(each, specs, strict=True)]
        return self._chosen(means, tasks), tasks

    def _draws(
        self, method: WeightsPerTask, batch: BatchLike, task: int, seen: int
    ) -> list[Tensor]:
        """The outputs that answer, by the weights of each task: `[draws, B, …]`."""
        spec = self.problem.specs[task]
        each = list(method.predict_each(batch.x, range(seen)))
        if len(each) != seen:
            raise SpecError(
                f"{self._where(task)}: predict_each gives {len(each)} outputs for {seen} tasks"
            )
        for number, found in enumerate(each):
            for draw in found:
                self._check(draw, batch, number, self.problem.specs[number].out_shape)
        return [torch.stack([answering_steps(draw, batch, spec) for draw in one]) for one in each]

    def _out_shape(self, task: int, seen: int) -> tuple[int, ...]:
        """Shape of the outputs for one sample of a task."""
        if self.knows_task or self.problem.scenario == "domain":
            return self.problem.specs[task].out_shape
        return (self.problem.heads.classes(seen - 1).stop,)

    def _check(
        self, outputs: Tensor, batch: BatchLike, task: int, out_shape: Sequence[int]
    ) -> None:
        sequence = self.problem.specs[task].sequence
        check_outputs(outputs, batch, out_shape, where=self._where(task), sequence=sequence)

    def _where(self, task: int) -> str:
        return f"the method {self.name}, task {task + 1}"

    def _chosen(self, outputs: Sequence[Tensor], tasks: Tensor) -> Tensor:
        """The outputs by the weights of the inferred task of each sample."""
        heads, placed = self.problem.heads, []
        # Tasks of fewer classes get logits that never win.
        width = max(found.shape[-1] for found in outputs)
        if self.problem.scenario == "class":
            width = heads.classes(len(outputs) - 1).stop
        for number, found in enumerate(outputs):
            start = heads.classes(number).start if self.problem.scenario == "class" else 0
            row = found.new_full((*found.shape[:-1], width), _NEVER)
            row[..., start : start + found.shape[-1]] = found
            placed.append(row)
        return torch.stack(placed)[tasks, torch.arange(len(tasks), device=tasks.device)]
