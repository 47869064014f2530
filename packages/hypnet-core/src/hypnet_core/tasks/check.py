"""Checks that samples are as the specification of their task says."""

from __future__ import annotations

import torch
from torch import Tensor

from hypnet_core.errors import DataError
from hypnet_core.protocols import BatchLike, SplitLike, TaskLike
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks.split import Split

_FEW = 32
"""Samples of a first batch: enough to see shapes and types, few enough for files."""


def check_batch(batch: BatchLike, spec: TaskSpec, *, name: str = "") -> None:
    """Check types, shapes, finiteness and labels of a batch.

    Args:
        batch: The batch.
        spec: The specification of its task.
        name: Where the batch comes from, for the error; by default the task's name.

    Raises:
        DataError: Inputs or targets have another type or shape than the specification
            says, are not finite, or a label is out of range.

    Example:
        >>> from hypnet_core.tasks import Split
        >>> shapes = {"in_shape": (1,), "out_shape": (2,)}
        >>> spec = TaskSpec(name="t", kind="classification", **shapes)
        >>> check_batch(Split.of([[0.0], [1.0]], [0, 2]).all(), spec, name="train")
        Traceback (most recent call last):
        hypnet_core.errors.DataError: train: there is a label 2, but the task has ...
    """
    where = name or repr(spec.name)
    _check_inputs(batch, spec, where)
    if spec.kind == "classification" and not batch.y.is_floating_point():
        _check_labels(batch.y, spec, where)
        if tuple(batch.y.shape) not in {(len(batch),), (len(batch), *_frames(batch, spec))}:
            raise DataError(
                f"{where}: labels have shape {list(batch.y.shape)}, should be {[len(batch)]}"
            )
    else:
        _check_targets(batch, spec, where)
    _check_lengths(batch, spec, where)


def check_task(task: TaskLike) -> None:
    """Check the first batch of each split of a task, and all labels in memory.

    Splits that are read from files read the files of that batch.

    Raises:
        DataError: A split has no samples, or they are not as the specification says;
            see `check_batch`.
    """
    for name, split in _named(task):
        if not len(split):
            raise DataError(f"{name}: there are no samples")
        _check_first_batch(split, task.spec, name)
        if isinstance(split, Split) and task.spec.kind == "classification":
            targets = split.subset(slice(0, 1)).targets
            # One-hot rows of all samples may not fit in memory.
            if not targets.is_floating_point():
                _check_labels(split.targets, task.spec, name)


def check_stored(task: TaskLike) -> None:
    """Check the first samples of each split that keeps them in memory.

    Raises:
        DataError: See `check_batch`.
    """
    for name, split in _named(task):
        if isinstance(split, Split) and split.in_memory and len(split):
            _check_first_batch(split, task.spec, name)


def _named(task: TaskLike) -> list[tuple[str, SplitLike]]:
    parts = (("training", task.train), ("test", task.test), ("validation", task.val))
    return [
        (f"the {what} samples of {task.spec.name!r}", split)
        for what, split in parts
        if split is not None
    ]


def _check_first_batch(split: SplitLike, spec: TaskSpec, name: str) -> None:
    # A generator of our own: a check must not change anybody's random numbers.
    generator = torch.Generator().manual_seed(0)
    few = split.subset(slice(0, _FEW)) if isinstance(split, Split) else split
    batch = next(iter(few.batches(min(_FEW, len(few)), generator=generator)))
    check_batch(batch, spec, name=name)


def _frames(batch: BatchLike, spec: TaskSpec) -> tuple[int, ...]:
    return tuple(batch.x.shape[1:2]) if spec.sequence else ()


def _check_inputs(batch: BatchLike, spec: TaskSpec, where: str) -> None:
    default = torch.get_default_dtype()
    if batch.x.dtype != default:
        raise DataError(
            f"{where}: inputs are {_type(batch.x)}, should be {_name(default)}: convert them"
            " before, or by a transform of the split"
        )
    expected = (len(batch), *_frames(batch, spec), *spec.in_shape)
    if tuple(batch.x.shape) != expected:
        raise DataError(
            f"{where}: inputs have shape {list(batch.x.shape)}, should be {list(expected)}: the"
            f" task's in_shape is {spec.in_shape}"
        )
    _check_finite(batch.x, "inputs", where)


def _check_targets(batch: BatchLike, spec: TaskSpec, where: str) -> None:
    default = torch.get_default_dtype()
    if batch.y.dtype != default:
        raise DataError(f"{where}: targets are {_type(batch.y)}, should be {_name(default)}")
    size, frames = len(batch), _frames(batch, spec)
    allowed = ((size, *spec.out_shape), (size, *frames, *spec.out_shape))
    if tuple(batch.y.shape) not in allowed:
        raise DataError(
            f"{where}: targets have shape {list(batch.y.shape)}, should be {list(allowed[-1])}: the"
            f" task's out_shape is {spec.out_shape}"
        )
    _check_finite(batch.y, "targets", where)
    if spec.kind == "classification":
        sums = batch.y.sum(-1)
        if not torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
            raise DataError(f"{where}: rows of targets must sum to 1, the first has {sums[0]:.6g}")


def _check_labels(labels: Tensor, spec: TaskSpec, where: str) -> None:
    if labels.dtype != torch.int64:
        raise DataError(f"{where}: labels are {_type(labels)}, should be int64")
    if not labels.numel():
        return
    low, high = (int(bound) for bound in torch.aminmax(labels))
    if low < 0 or high >= spec.classes:
        raise DataError(
            f"{where}: there is a label {low if low < 0 else high}, but the task has"
            f" {spec.classes} classes (0 to {spec.classes - 1})"
        )


def _check_lengths(batch: BatchLike, spec: TaskSpec, where: str) -> None:
    lengths = batch.lengths
    if not spec.sequence:
        if lengths is not None:
            raise DataError(f"{where}: there are lengths, but the task has no sequences")
        return
    if lengths is None:
        raise DataError(f"{where}: the samples are sequences, but have no lengths")
    if bool(((lengths < 1) | (lengths > batch.x.shape[1])).any()):
        raise DataError(
            f"{where}: lengths must lie between 1 and {batch.x.shape[1]}, got"
            f" {lengths.tolist()[:8]}"
        )


def _check_finite(values: Tensor, what: str, where: str) -> None:
    finite = values.isfinite()
    if not bool(finite.all()):
        first = values[~finite].flatten()[0].item()
        raise DataError(f"{where}: {what} are not finite, there is {first}")


def _type(values: Tensor) -> str:
    return _name(values.dtype)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
