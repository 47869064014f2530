"""Tasks from what a user has: arrays, torch datasets, or tasks already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hypnet_core.errors import DataError, clipped
from hypnet_core.protocols import SplitLike, TaskLike
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import Split, Task

Samples: TypeAlias = Any
"""A pair of arrays `(x, y)`, a map-style torch dataset of such pairs, or a split."""


def as_tasks(given: Sequence[Any]) -> list[TaskLike]:
    """Make tasks.

    Args:
        given: Each a task, a pair `(train, test)`, or a mapping with `train`, `test`
            and, if there is one, `val`. Each of these parts is a pair of arrays `(x,
            y)`, a map-style torch dataset, or a split. Integer targets are classes,
            others numbers.

    Raises:
        DataError: Something else, or the samples do not fit together.

    Example:
        >>> x, y = np.zeros((4, 3), dtype=np.float32), np.array([0, 1, 0, 1])
        >>> as_tasks([{"train": (x, y), "test": (x, y)}])
        [<Task task_1: classification 3 -> 2, 4 train, 4 test>]
    """
    if not given:
        raise DataError("there are no tasks to learn")
    return [
        task if isinstance(task, TaskLike) else _task(task, number)
        for number, task in enumerate(given, 1)
    ]


def _task(given: Any, number: int) -> Task:
    name = f"task_{number}"
    parts = _parts(given, name)
    splits = {part: _split(samples, f"{name}, {part}") for part, samples in parts.items()}
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
    raise DataError(f"{name} is {clipped(repr(given))}: {advice}")


def _is_array(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray))


def _split(samples: Samples, name: str) -> Split:
    if isinstance(samples, Split):
        return samples
    if isinstance(samples, Dataset):
        return _of_arrays(*_stacked(samples, name))
    if isinstance(samples, (tuple, list)) and len(samples) == 2:
        return _of_arrays(*samples)
    raise DataError(
        f"{name}: expected a pair of arrays (x, y), or a dataset of such pairs, got"
        f" {clipped(repr(samples))}"
    )


def _of_arrays(x: Any, y: Any) -> Split:
    """A split; numbers `[N]` are targets of one output each."""
    y = torch.as_tensor(np.asarray(y)) if not isinstance(y, Tensor) else y
    return Split.of(x, y[:, None] if y.is_floating_point() and y.ndim == 1 else y)


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
        task if task.val is not None else _held_out(task, share, seed + number)
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
