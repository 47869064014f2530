"""Task sequences that permute the inputs of a classification dataset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import with_defaults
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import Split, Task, TaskSequence, Transform
from hypnet_data.continual.targets import relabelled
from hypnet_data.options import PaddedPermutationOptions
from hypnet_data.transforms import OneHot, Permute, Shift


def permuted_tasks(
    task: Task,
    *,
    name: str | None = None,
    permutations: Sequence[Any] | None = None,
    **options: Unpack[PaddedPermutationOptions],
) -> TaskSequence:
    """Make a sequence of tasks from one, each with its pixels in another order.

    Samples are stored once and unchanged, however many tasks there are: each batch is
    permuted and padded in one step. Samples keep their ids. The pixels of all channels
    move together. With separate heads, class `k` of task `t` becomes class `t * classes
    + k` of all.

    Args:
        task: The task to permute: images `(C, H, W)` or vectors `(F,)`.
        name: Name of the sequence, and of the tasks (followed by `_0`, `_1`, …); by
            default `permuted_` and the task's own name.
        permutations: The permutation of each task, instead of `tasks` and `seed`: place
            `i` of the result comes from place `permutation[i]` of the padded image, row
            by row. `None` leaves a task unpermuted.
        **options: See `hypnet_data.options.PaddedPermutationOptions`.

    Raises:
        ConfigError: A size is not possible, a permutation is invalid, or the task
            cannot be permuted.
    """
    chosen = with_defaults(PaddedPermutationOptions, options)
    classes, padding = task.spec.classes, chosen["padding"]
    shape = _padded(task.spec.in_shape, padding)
    orders = _orders(permutations, shape, chosen)
    target_padding, separate = chosen["target_padding"], chosen["separate_heads"]
    if target_padding < 0:
        raise ConfigError(f"target_padding must not be negative, got {target_padding}")
    name = name or f"permuted_{task.spec.name}"
    outputs = classes * (len(orders) if separate else 1) + target_padding
    made = []
    for number, order in enumerate(orders):
        # `Shift` needs class indices, so one-hot rows come last.
        heads: list[Transform] = [Shift(number * classes)] if separate else []
        targets = [*heads, OneHot(outputs)] if chosen["one_hot"] else heads
        step = Permute.of(task.spec.in_shape, order, padding=padding, fill=_black(task))
        # A task that is not changed costs nothing.
        inputs = [] if order is None and not padding else [step]
        spec = task.spec.model_copy(
            update={"name": f"{name}_{number}", "in_shape": shape, "out_shape": (outputs,)}
        )
        made.append(_changed(task, inputs, targets, spec))
    return TaskSequence(name, tuple(made))


def _changed(
    task: Task, inputs: Sequence[Transform], targets: Sequence[Transform], spec: TaskSpec
) -> Task:
    def change(split: Split) -> Split:
        return relabelled(split.with_transforms(*split.transforms, *inputs), *targets)

    return task.map(change, spec=spec)


def _orders(
    permutations: Sequence[Any] | None, shape: tuple[int, ...], options: PaddedPermutationOptions
) -> list[Tensor | None]:
    """The permutation of each task; `None` for a task that is not permuted."""
    # Pixels of all channels move together.
    places = shape[-1] * shape[-2] if len(shape) == 3 else shape[-1]
    if permutations is None:
        orders = _drawn(options["tasks"], places, options["seed"])
    else:
        orders = [
            None if order is None else _checked(order, places, number)
            for number, order in enumerate(permutations)
        ]
    if not orders:
        raise ConfigError("permutations must hold one per task, but there is none")
    if options["first_unpermuted"]:
        orders[0] = None
    return orders


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
    # Seeded by task, so that a task does not depend on the number of tasks.
    return [
        torch.from_numpy(np.random.default_rng([seed, number]).permutation(places))
        for number in range(tasks)
    ]


def _checked(order: Any, places: int, number: int) -> Tensor:
    given = torch.as_tensor(order)
    # Sorting shows duplicates and gaps at once.
    if given.shape != (places,) or not torch.equal(given.sort().values, torch.arange(places)):
        raise ConfigError(f"permutation {number} must hold each number from 0 to {places - 1} once")
    return given.to(torch.int64)


def _black(task: Task) -> tuple[float, ...]:
    """The value of a black pixel after normalisation, channel by channel."""
    if task.spec.normalization is None:
        return (0.0,)
    # Zero before normalisation.
    black = tuple(-mean / std for mean, std in zip(*task.spec.normalization, strict=True))
    # One number is enough where all channels agree, as in a grey image.
    return black[:1] if all(math.isclose(value, black[0]) for value in black) else black
