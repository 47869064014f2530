"""Scores of a method on the tasks that it has learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hypnet_core.protocols import BatchLike, InfersTasks, Method, SplitLike, WeightsPerTask
from hypnet_core.tasks import Problem, sample_scores
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
    """Scores a method.

    Args:
        problem: The problem.
        method: The method.
        infer: How the task of a sample is found, for methods with weights per task.
        batch_size: Samples per step.
    """

    def __init__(
        self, problem: Problem, method: Method, *, infer: Infer, batch_size: int = 1000
    ) -> None:
        self.problem = problem
        self.method = method
        self.infer = infer
        self.batch_size = batch_size

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
        """
        spec, problem = self.problem.tasks[task].spec, self.problem
        # Sums stay on the device: one transfer at the end.
        total = torch.zeros((), dtype=torch.float64, device=problem.device)
        right = torch.zeros((), dtype=torch.float64, device=problem.device)
        count = rows = 0
        for batch in split.batches(self.batch_size, device=problem.device):
            outputs, tasks = self._answers(batch, task, seen)
            first = problem.heads.classes(task).start if problem.scenario == "class" else 0
            scores = sample_scores(outputs, batch, spec, first=first)
            total += scores.sum()
            count += len(scores)
            if tasks is not None:
                right += (tasks == task).sum()
                rows += len(tasks)
        factor = 100.0 if spec.kind == "classification" else 1.0
        inferred = 100.0 * float(right) / rows if rows else None
        return Score(factor * float(total) / count, inferred)

    def _answers(self, batch: BatchLike, task: int, seen: int) -> tuple[Tensor, Tensor | None]:
        """Outputs for a batch, and the tasks that were inferred."""
        if self.knows_task:
            return self.method.predict(batch.x, task), None
        if not isinstance(self.method, WeightsPerTask):
            return self.method.predict(batch.x, None), None
        each = self.method.predict_each(batch.x, range(seen))
        classification = self.problem.tasks[task].spec.kind == "classification"
        counted = None
        if batch.lengths is not None and each[0].ndim > 3:
            steps = torch.arange(batch.x.shape[1], device=batch.x.device)
            counted = steps < batch.lengths[:, None]
        if self.infer == "method" and isinstance(self.method, InfersTasks):
            tasks = self.method.infer_task(batch.x)
        else:
            tasks = infer(each, self.infer, classification=classification, counted=counted)
        return self._chosen([_mean(found, classification) for found in each], tasks), tasks

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


def _mean(outputs: Tensor, classification: bool) -> Tensor:
    """The mean prediction over draws: of probabilities as logits, or of numbers."""
    if len(outputs) == 1:
        return outputs[0]
    if classification:
        return outputs.log_softmax(dim=-1).logsumexp(dim=0)
    return outputs.mean(dim=0)
