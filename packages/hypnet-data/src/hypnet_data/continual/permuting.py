"""Task sequences that permute the inputs of a classification dataset, differently in each task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.tasks import Task, TaskSequence, Transform
from hypnet_data.continual.parts import parts_of
from hypnet_data.transforms import ClassIndex, OneHot, Permute, Shift


def permuted_tasks(
    task: Task,
    *,
    name: str | None = None,
    tasks: int = 10,
    permutations: Sequence[Any] | None = None,
    first_unpermuted: bool = False,
    padding: int = 0,
    target_padding: int = 0,
    separate_heads: bool = False,
    one_hot: bool = False,
    seed: int = 0,
) -> TaskSequence:
    """Make a sequence of tasks of one, each with its pixels in another order.

    Samples are stored once and as they were, however many tasks there are: a
    permutation is applied to each batch, together with the padding. Samples keep their
    ids. The pixels of all channels move together.

    Args:
        task: What to permute: images `(C, H, W)` or vectors `(F,)`.
        name: Name of the sequence, and of the tasks (with `_0`, `_1`, … behind it); by
            default `permuted_` and the task's own.
        tasks: How many tasks.
        permutations: The permutation of each task, in place of `tasks` and `seed`:
            place `i` of the result comes from place `permutation[i]` of the padded
            image, row by row. `None` leaves a task as it is.
        first_unpermuted: Whether the first task is left as it is.
        padding: Pixels that are put around each image before it is permuted; black
            ones.
        target_padding: Number of classes without samples to put behind the others.
        separate_heads: Whether each task has outputs of its own: class `k` of task `t`
            becomes class `t * classes + k` of all.
        one_hot: Whether targets are one-hot rows instead of class indices.
        seed: What permutations are drawn from. The permutation of a task does not
            depend on how many tasks there are.

    Raises:
        ConfigError: A size is not possible, a permutation is none, or the task cannot
            be permuted.
    """
    whole, classes = parts_of(task), task.spec.classes
    shape = _padded(task.spec.in_shape, padding)
    places = shape[-1] * shape[-2] if len(shape) == 3 else shape[-1]
    if permutations is None:
        orders = _drawn(tasks, places, seed)
    else:
        orders = [
            None if order is None else _checked(order, places, number)
            for number, order in enumerate(permutations)
        ]
    if not orders:
        raise ConfigError("permutations must hold one per task, but there is none")
    if first_unpermuted:
        orders[0] = None
    if target_padding < 0:
        raise ConfigError(f"target_padding must not be negative, got {target_padding}")
    name = name or f"permuted_{task.spec.name}"
    outputs = classes * (len(orders) if separate_heads else 1) + target_padding
    made = []
    for number, order in enumerate(orders):
        targets: list[Transform] = [ClassIndex()]
        if separate_heads:
            targets.append(Shift(number * classes))
        if one_hot:
            targets.append(OneHot(outputs))
        step = Permute.of(task.spec.in_shape, order, padding=padding, fill=_black(task))
        inputs = [] if order is None and not padding else [step]
        parts = whole.transformed(inputs).relabelled(targets)
        spec = task.spec.model_copy(
            update={"name": f"{name}_{number}", "in_shape": shape, "out_shape": (outputs,)}
        )
        made.append(Task(spec, parts.train, parts.test, parts.val))
    return TaskSequence(name, tuple(made))


def _padded(shape: tuple[int, ...], padding: int) -> tuple[int, ...]:
    if padding < 0:
        raise ConfigError(f"padding must not be negative, got {padding}")
    if padding and len(shape) != 3:
        raise ConfigError(
            f"only images can be padded, but inputs have shape {list(shape)}: set padding=0"
        )
    if len(shape) not in {1, 3}:
        raise ConfigError(
            "only images (C, H, W) and vectors (F,) can be permuted, but inputs have shape"
            f" {list(shape)}"
        )
    return (shape[0], shape[1] + 2 * padding, shape[2] + 2 * padding) if len(shape) == 3 else shape


def _drawn(tasks: int, places: int, seed: int) -> list[Tensor | None]:
    if tasks < 1:
        raise ConfigError(f"tasks must be at least 1, got {tasks}")
    if seed < 0:
        raise ConfigError(f"seed must not be negative, got {seed}")
    return [
        torch.from_numpy(np.random.default_rng([seed, number]).permutation(places))
        for number in range(tasks)
    ]


def _checked(order: Any, places: int, number: int) -> Tensor:
    given = torch.as_tensor(order)
    if given.shape != (places,) or not torch.equal(given.sort().values, torch.arange(places)):
        raise ConfigError(f"permutation {number} must hold each number from 0 to {places - 1} once")
    return given.to(torch.int64)


def _black(task: Task) -> tuple[float, ...]:
    """What a black pixel has become, channel by channel."""
    if task.spec.normalization is None:
        return (0.0,)
    black = tuple(-mean / std for mean, std in zip(*task.spec.normalization, strict=True))
    return black[:1] if all(math.isclose(value, black[0]) for value in black) else black
