"""A memory of samples of earlier tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hypnet_core.protocols import BatchLike
from hypnet_core.tasks import Batch, Problem

Selection = Literal["reservoir", "ring", "herding"]
"""Which samples are kept: a uniform draw from all that were seen (`reservoir`), the
last ones of each class (`ring`), or those whose mean feature is nearest to that of
their class (`herding`)."""


class Drawn(NamedTuple):
    """Samples of several tasks.

    Attributes:
        batch: The samples, with the labels of their own tasks.
        tasks: The number of each one's task, `[B]`.
    """

    batch: Batch
    tasks: Tensor


class Exemplars:
    """Samples of all tasks so far, at most `budget` of them, on the CPU.

    Each sample has a class among those of all tasks; for regression, the task itself
    stands for it.

    Args:
        problem: The problem.
        budget: The largest number of samples.
    """

    def __init__(self, problem: Problem, budget: int) -> None:
        self.problem = problem
        self.budget = budget
        self.seen = 0
        """Number of samples that were offered to the reservoir."""
        self._offered: dict[int, set[int]] = {}
        self.fields: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.fields["y"]) if self.fields else 0

    @property
    def nbytes(self) -> int:
        """Memory of the samples."""
        return sum(field.numel() * field.element_size() for field in self.fields.values())

    def fields_of(self, batch: BatchLike, task: int) -> dict[str, Tensor]:
        """The fields that are kept of a batch of one task."""
        size = len(batch)
        found = {
            "x": batch.x.detach().cpu(),
            "y": batch.y.detach().cpu(),
            "ids": batch.ids.detach().cpu(),
            "task": torch.full((size,), task),
            "class": torch.full((size,), task),
        }
        if self.problem.tasks[task].spec.kind == "classification" and found["y"].ndim <= 2:
            labels = found["y"]
            labels = labels.argmax(dim=-1) if labels.is_floating_point() else labels
            if labels.ndim == 1:
                found["class"] = labels + self.problem.heads.classes(task).start
        if batch.lengths is not None:
            found["lengths"] = batch.lengths.detach().cpu()
        return found

    def offer(self, batch: BatchLike, task: int) -> None:
        """Reservoir sampling: each sample so far is kept with equal probability.

        A sample is offered once, however many passes there are over the data.
        """
        found = self._new(self.fields_of(batch, task), task)
        count = len(found["y"])
        free = max(self.budget - len(self), 0)
        self._append({name: field[:free] for name, field in found.items()})
        # Sample number n takes a place among n, and stays if that is one of ours.
        numbers = self.seen + 1 + torch.arange(count)
        self.seen += count
        places = (torch.rand(count, dtype=torch.float64) * numbers).long()
        # A later sample may take the place of an earlier one of the same batch.
        taken = {int(places[row]): row for row in range(free, count)}
        chosen = [(place, row) for place, row in taken.items() if place < self.budget]
        if chosen:
            to, rows = torch.tensor(chosen).unbind(1)
            self._replace(to, {name: field[rows] for name, field in found.items()})

    def _new(self, found: dict[str, Tensor], task: int) -> dict[str, Tensor]:
        """The samples of a batch that were not offered before."""
        # Earlier tasks are over.
        self._offered = {task: self._offered.get(task, set())}
        known = self._offered[task]
        ids = found["ids"].tolist()
        rows = [row for row, one in enumerate(ids) if one not in known]
        known.update(ids)
        return found if len(rows) == len(ids) else {k: field[rows] for k, field in found.items()}

    def _replace(self, places: Tensor, found: Mapping[str, Tensor]) -> None:
        """Put samples in the places of others."""
        for name, field in self.fields.items():
            new = found[name].to(field.dtype)
            shape = [max(sizes) for sizes in zip(field.shape[1:], new.shape[1:], strict=True)]
            self.fields[name] = _padded(field, shape)
            self.fields[name][places] = _padded(new, shape)

    def keep_last(self, batch: BatchLike, task: int, quota: int) -> None:
        """Keep the last samples of each class, at most `quota` of each."""
        found = self.fields_of(batch, task)
        if self.fields:
            # A sample that comes again takes the place of its copy.
            again = torch.isin(self.fields["ids"], found["ids"]) & (self.fields["task"] == task)
            self.fields = {name: field[~again] for name, field in self.fields.items()}
        self._append(found)
        self.limit(quota, newest=True)

    def limit(self, quota: int, *, newest: bool) -> None:
        """Keep the first or newest `quota` samples of each class."""
        if not self.fields:
            return
        classes = self.fields["class"]
        keep = torch.zeros(len(self), dtype=torch.bool)
        for label in classes.unique():
            rows = (classes == label).nonzero().squeeze(1)
            keep[rows[-quota:] if newest else rows[:quota]] = True
        self.fields = {name: field[keep] for name, field in self.fields.items()}

    def add(self, fields: Mapping[str, Tensor]) -> None:
        """Add samples, as `fields_of` gives them."""
        self._append(dict(fields))

    def _append(self, found: dict[str, Tensor]) -> None:
        if not self.fields:
            self.fields = {name: field.clone() for name, field in found.items()}
        elif len(found["y"]):
            self.fields = {
                name: _joined(field, found[name].to(field.dtype))
                for name, field in self.fields.items()
            }

    def draw(self, size: int, *, before: int | None = None) -> Drawn | None:
        """A random batch.

        Args:
            size: Number of samples; fewer if there are fewer.
            before: Only samples of tasks before this one.

        Returns:
            The samples, on the problem's device; `None` if there are none.
        """
        if not self.fields:
            return None
        rows = torch.arange(len(self))
        if before is not None:
            rows = rows[self.fields["task"] < before]
        if not len(rows):
            return None
        rows = rows[torch.randperm(len(rows))[:size]]
        device = self.problem.device
        taken = {name: field[rows].to(device) for name, field in self.fields.items()}
        batch = Batch(taken["x"], taken["y"], taken["ids"], taken.get("lengths"))
        return Drawn(batch, taken["task"])

    def state_dict(self) -> dict[str, Any]:
        """All samples."""
        offered = {str(task): torch.tensor(sorted(ids)) for task, ids in self._offered.items()}
        return {"seen": self.seen, "fields": dict(self.fields), "offered": offered}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the samples of a state."""
        self.seen = state["seen"]
        self.fields = {name: field.cpu().clone() for name, field in state["fields"].items()}
        self._offered = {int(task): set(ids.tolist()) for task, ids in state["offered"].items()}


def _joined(first: Tensor, second: Tensor) -> Tensor:
    """Both, one after the other; shorter sequences and rows of classes end in zeros."""
    shape = [max(sizes) for sizes in zip(first.shape[1:], second.shape[1:], strict=True)]
    return torch.cat([_padded(first, shape), _padded(second, shape)])


def _padded(field: Tensor, shape: Sequence[int]) -> Tensor:
    """Zeros behind each sample, up to a shape."""
    missing = [wanted - size for wanted, size in zip(shape, field.shape[1:], strict=True)]
    if not any(missing):
        return field
    return F.pad(field, [size for own in reversed(missing) for size in (0, own)])


def herded(features: Tensor, count: int) -> Tensor:
    """Indices of samples whose running mean follows the mean of all, best first.

    Args:
        features: `[n, d]`, of one class; each is scaled to length 1.
        count: Number of samples to choose.

    References:
        S.-A. Rebuffi et al.: iCaRL. CVPR 2017, arXiv:1611.07725, algorithm 4.
    """
    scaled = torch.nn.functional.normalize(features.double(), dim=1)
    goal, total = scaled.mean(dim=0), torch.zeros_like(scaled[0])
    free = torch.ones(len(scaled), dtype=torch.bool, device=scaled.device)
    chosen: list[int] = []
    for number in range(1, min(count, len(scaled)) + 1):
        distances = (goal - (total + scaled) / number).square().sum(dim=1)
        best = int(distances.masked_fill(~free, torch.inf).argmin())
        free[best] = False
        total = total + scaled[best]
        chosen.append(best)
    return torch.tensor(chosen, dtype=torch.int64)
