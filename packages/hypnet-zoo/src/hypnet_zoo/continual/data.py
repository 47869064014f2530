"""Tasks from what a user has: arrays, torch datasets, or tasks already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hypnet_core.errors import DataError, clipped, safe_repr
from hypnet_core.protocols import SplitLike, TaskLike
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import Split, Task
from hypnet_zoo.continual.seeds import seed_of

Samples: TypeAlias = Any
"""A pair of arrays `(x, y)`, a map-style torch dataset of such pairs, or a split."""


def as_tasks(given: Iterable[Any]) -> list[TaskLike]:
    """Make tasks.

    Args:
        given: Each a task, a pair `(train, test)`, or a mapping with `train`, `test`
            and, if there is one, `val`. Each of these parts is a pair of arrays `(x,
            y)`, a map-style torch dataset, which is read into memory once, or a split.
            Integer targets are classes, others numbers.

    Labels of classes count from 0 in each task. If no two tasks have a label in common,
    they may also be numbers among all classes, such as 2 and 3 in the second task: then
    a task has the classes that appear in its samples, in order.

    Raises:
        DataError: Something else, or the samples do not fit together.

    Example:
        >>> x, y = np.zeros((4, 3), dtype=np.float32), np.array([0, 1, 0, 1])
        >>> as_tasks([{"train": (x, y), "test": (x, y)}])
        [<Task task_1: classification 3 -> 2, 4 train, 4 test>]
    """
    if isinstance(given, (Mapping, TaskLike)):
        raise DataError("tasks: expected a list of tasks, got one task: put it into a list")
    if not isinstance(given, Iterable):
        raise DataError(f"tasks: expected a list of tasks, got {clipped(safe_repr(given))}")
    given = list(given)
    if not given:
        raise DataError("there are no tasks to learn")
    own = {i: _task(one, i + 1) for i, one in enumerate(given) if not isinstance(one, TaskLike)}
    made = dict(zip(own, _from_zero(list(own.values())), strict=True))
    return [made.get(i, one) for i, one in enumerate(given)]


def _from_zero(tasks: Sequence[Task]) -> list[Task]:
    """Tasks whose labels count from 0, see `as_tasks`."""
    labels = [_labels(task) for task in tasks]
    if any(found and found[0] < 0 for found in labels):
        return list(tasks)  # which a later check refuses
    if all(found == tuple(range(len(found))) for found in labels):
        return list(tasks)
    if any(set(one) & set(other) for one, other in combinations(labels, 2)):
        # They count from 0, though some are missing. Whether classes of different
        # tasks are the same is unknown: with their labels, `scenario=class` asks.
        return [_relabelled(task, tuple(range(task.spec.out_shape[0]))) for task in tasks]
    return [_relabelled(task, found) for task, found in zip(tasks, labels, strict=True)]


def _labels(task: Task) -> tuple[int, ...]:
    """The labels in the samples of a task, in order; none in a regression."""
    if task.spec.kind != "classification":
        return ()
    found = torch.cat([split.targets.flatten() for split in task.views.values()])
    return tuple(found.unique().tolist())


def _relabelled(task: Task, labels: tuple[int, ...]) -> Task:
    spec = task.spec.model_copy(update={"out_shape": (len(labels),), "labels": labels})
    if task.spec.kind != "classification":
        return task
    if labels == tuple(range(len(labels))):
        return replace(task, spec=spec)
    step = _Places(labels)
    return task.map(
        lambda split: split.with_target_transforms(*split.target_transforms, step), spec=spec
    )


@dataclass(frozen=True)
class _Places:
    """Replaces labels by their places among sorted labels."""

    labels: tuple[int, ...]

    def __call__(self, values: Tensor, _generator: torch.Generator | None = None, /) -> Tensor:
        return torch.searchsorted(torch.tensor(self.labels, device=values.device), values)


def _task(given: Any, number: int) -> Task:
    name = f"task_{number}"
    parts = _parts(given, name)
    splits = {part: _split(samples, f"{name}, {part}") for part, samples in parts.items()}
    for part, split in splits.items():
        if not len(split):
            raise DataError(f"{name}, {part}: there are no samples")
    spec = _spec(splits, name)
    return Task(spec, splits["train"], splits["test"], splits.get("val"))


def _parts(given: Any, name: str) -> Mapping[str, Samples]:
    advice = 'give {"train": (x, y), "test": (x, y)}, or a pair (train, test)'
    if isinstance(given, Mapping):
        unknown = set(given) - {"train", "test", "val"}
        if unknown or not {"train", "test"} <= set(given):
            raise DataError(f"{name} has the parts {sorted(map(str, given))}: {advice}")
        return given
    if isinstance(given, (tuple, list)) and len(given) == 2 and not _is_array(given[0]):
        return {"train": given[0], "test": given[1]}
    if isinstance(given, (tuple, list)) and len(given) == 2:
        raise DataError(f"{name} has no test samples: {advice}")
    raise DataError(f"{name} is {clipped(safe_repr(given))}: {advice}")


def _is_array(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray))


def _split(samples: Samples, name: str) -> Split:
    if isinstance(samples, Split):
        return samples
    if isinstance(samples, Dataset):
        samples = _stacked(samples, name)
    if isinstance(samples, (tuple, list)) and len(samples) == 2:
        try:
            return _columns(Split.of(*samples))
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
    raise DataError(
        f"{name}: expected a pair of arrays (x, y), or a dataset of such pairs, got"
        f" {clipped(safe_repr(samples))}"
    )


def _columns(split: Split) -> Split:
    """One number per sample may come as `[N]`: an input or a target of one number."""
    x, y = (
        values[:, None] if values.ndim == 1 and values.is_floating_point() else values
        for values in (split.samples.x, split.samples.y)
    )
    return replace(split, samples=replace(split.samples, x=x, y=y))


def _stacked(dataset: Dataset[Any], name: str) -> tuple[Tensor, Tensor]:
    """All samples of a map-style dataset, in memory."""
    size = len(dataset) if hasattr(dataset, "__len__") else 0
    if not size:
        raise DataError(f"{name}: the dataset has no length, or no samples")
    pairs = [dataset[i] for i in range(size)]
    try:
        x = torch.stack([torch.as_tensor(np.asarray(x)) for x, _ in pairs])
        y = torch.stack([torch.as_tensor(np.asarray(y)) for _, y in pairs])
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{name}: samples must be pairs of tensors or numbers, all of one shape: {error}"
        ) from error
    return x, y


def _spec(splits: Mapping[str, Split], name: str) -> TaskSpec:
    x, y = splits["train"][0]
    if y.is_floating_point():
        return TaskSpec(
            name=name, kind="regression", in_shape=tuple(x.shape), out_shape=tuple(y.shape)
        )
    classes = 1 + max(int(split.targets.max()) for split in splits.values())
    return TaskSpec(name=name, kind="classification", in_shape=tuple(x.shape), out_shape=(classes,))


def with_validation(tasks: Sequence[TaskLike], share: float, seed: int) -> list[TaskLike]:
    """Hold out validation samples where a task has none.

    Args:
        tasks: The tasks.
        share: Share of the training samples that is held out.
        seed: Seed of the choice.
    """
    return [
        task if task.val is not None else _held_out(task, share, seed_of(seed, number, 1))
        for number, task in enumerate(tasks)
    ]


def _held_out(task: TaskLike, share: float, seed: int) -> TaskLike:
    train: SplitLike = task.train
    # Splits of other kinds cannot be cut, and one sample cannot be shared.
    if not share or not isinstance(train, Split) or len(train) < 2:
        return task
    count = min(max(1, round(share * len(train))), len(train) - 1)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    chosen, rest = order[:count].sort().values, order[count:].sort().values
    # Validation sees samples as the test does.
    return Task(task.spec, train.subset(rest), task.test, train.subset(chosen).unaugmented())
