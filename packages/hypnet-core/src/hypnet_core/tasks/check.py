"""Checks of the samples of a task, before anything is trained on them."""

from __future__ import annotations

import torch
from torch import Tensor

from hypnet_core.errors import DataError
from hypnet_core.protocols import BatchLike, SplitLike, TaskLike
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks.split import Split
from hypnet_core.tasks.stream import Batchable
from hypnet_core.tasks.task import splits_of

_SIZE = 32
"""Samples in the batch that is checked."""


def check_task(task: TaskLike) -> None:
    """Check the first samples of each split, and all labels that are in memory.

    Global random states stay as they are.

    Raises:
        DataError: A split is empty, shapes are not those of the spec, inputs are not
            floating point or not finite, or a target does not fit the kind of task.
    """
    for name, split in splits_of(task).items():
        where = f"the {name} samples of task {task.spec.name!r}"
        if not len(split):
            raise DataError(f"{where}: there are none")
        batch = _first(split)
        _check_inputs(batch, task.spec, where)
        _check_targets(batch.y, task.spec, where)
        if isinstance(split, Split):
            _check_labels(split.targets, task.spec, where)


def _first(split: SplitLike) -> BatchLike:
    size = min(_SIZE, len(split))
    # A generator of its own, so that augmentation does not advance the global one.
    generator = torch.Generator().manual_seed(0)
    # Without `batches`, which may start worker processes for a whole pass.
    if isinstance(split, Batchable):
        return split.batch(torch.arange(size), generator=generator)
    return next(iter(split.batches(size, generator=generator)))


def _check_inputs(batch: BatchLike, spec: TaskSpec, where: str) -> None:
    x = batch.x
    if not x.is_floating_point():
        raise DataError(
            f"{where}: inputs are {_dtype(x)}, expected floating point; convert them in a transform"
        )
    frames = tuple(x.shape[1:2]) if spec.sequence else ()
    wanted = (len(batch), *frames, *spec.in_shape)
    if tuple(x.shape) != wanted:
        raise DataError(
            f"{where}: inputs of {len(batch)} samples have the shape {list(x.shape)}, expected"
            f" {list(wanted)}"
        )
    if not bool(x.isfinite().all()):
        raise DataError(f"{where}: inputs are NaN or infinite")


def _check_targets(y: Tensor, spec: TaskSpec, where: str) -> None:
    if y.is_floating_point():
        # A sequence has one target, or one per frame.
        if tuple(y.shape[-len(spec.out_shape) :]) != spec.out_shape:
            raise DataError(
                f"{where}: targets of {len(y)} samples have the shape {list(y.shape)}, expected"
                f" {[len(y), *spec.out_shape]}"
            )
        if not bool(y.isfinite().all()):
            raise DataError(f"{where}: targets are NaN or infinite")
    elif spec.kind != "classification":
        raise DataError(f"{where}: targets are {_dtype(y)}, expected floating point for regression")
    elif y.ndim != 1 + spec.sequence and y.ndim != 1:
        raise DataError(
            f"{where}: labels of {len(y)} samples have the shape {list(y.shape)}, expected"
            f" {[len(y)]}"
        )


def _check_labels(y: Tensor, spec: TaskSpec, where: str) -> None:
    if spec.kind != "classification" or y.is_floating_point():
        return
    low, high = (int(bound) for bound in torch.aminmax(y))
    if low < 0 or high >= spec.classes:
        raise DataError(
            f"{where}: the label {low if low < 0 else high} is not one of {spec.classes} classes,"
            f" expected 0 to {spec.classes - 1}"
        )


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
