"""Task sequences that split a classification dataset by its labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from hypnet_core.errors import ConfigError, DataError
from hypnet_core.plugins import with_defaults
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import Split, Task, TaskSequence, Transform
from hypnet_data.continual.targets import class_indices, relabelled, with_labels
from hypnet_data.holdout import HoldOut, hold_out_first
from hypnet_data.options import SplitOptions
from hypnet_data.transforms import OneHot, Relabel, Shift


def split_tasks(
    task: Task,
    *,
    name: str | None = None,
    validation_size: int | None = None,
    hold_out: HoldOut = hold_out_first,
    **options: Unpack[SplitOptions],
) -> TaskSequence:
    """Split a classification task into tasks with some of its classes each.

    Images are stored once, however many tasks there are: each task is an index view.
    Samples keep their ids. Class `k` of a task is the `k`-th of its labels.

    Args:
        task: The task to split; its splits are kept in memory (`Split`).
        name: Name of the sequence, and of the tasks (followed by `_0`, `_1`, …); by
            default `split_` and the task's own name.
        validation_size: Number of training samples of each task that are held out for
            validation; by default each task gets its share of the validation split of
            the whole, if there is one with its labels in it.
        hold_out: Chooses the samples that are held out.
        **options: See `hypnet_data.options.SplitOptions`.

    Raises:
        ConfigError: A label does not exist or appears twice, there are too few labels
            for so many tasks, a size is not possible, or the task cannot be split.
        DataError: A task has no training or no test samples.
    """
    chosen = with_defaults(SplitOptions, options)
    groups = label_groups(
        task.spec.classes,
        classes_per_task=chosen["classes_per_task"],
        tasks=chosen["tasks"],
        order=chosen["order"],
        labels=chosen["labels"],
    )
    # Both would be validation samples, and it would be unclear which are meant.
    if validation_size is not None and task.val is not None:
        raise ConfigError(
            f"{task.spec.name!r} has a validation split already: leave out validation_size, or"
            " build it without one"
        )
    _check(chosen)
    name = name or f"split_{task.spec.name}"
    made = []
    for number, group in enumerate(groups):
        targets, outputs, labels = _head(task, groups, number, chosen)
        spec = task.spec.model_copy(
            update={"name": f"{name}_{number}", "out_shape": (outputs,), "labels": labels}
        )
        splits = {key: with_labels(split, group) for key, split in task.views.items()}
        if validation_size:
            # Held out per task, so that each task has the same number.
            splits |= _held_out(splits["train"], validation_size, hold_out)
        made.append(_part(splits, group, targets, spec))
    return TaskSequence(name, tuple(made))


def _check(options: SplitOptions) -> None:
    if options["target_padding"] < 0:
        raise ConfigError(f"target_padding must not be negative, got {options['target_padding']}")
    if options["separate_heads"] and options["full_out_dim"]:
        raise ConfigError("separate_heads and full_out_dim exclude each other: choose one")


def _head(
    task: Task, groups: tuple[tuple[int, ...], ...], number: int, options: SplitOptions
) -> tuple[list[Transform], int, tuple[int, ...] | None]:
    """Target transforms, number of outputs and original labels of one task."""
    group = groups[number]
    if options["full_out_dim"]:
        targets: list[Transform] = []
        outputs, labels = task.spec.classes, None
    elif options["separate_heads"]:
        heads = tuple(label for other in groups for label in other)
        # The place within the group, then after the heads of earlier tasks.
        targets = [Relabel(group), Shift(sum(map(len, groups[:number])))]
        outputs, labels = len(heads), _labels_before(task, heads)
    else:
        targets = [Relabel(group)]
        outputs, labels = len(group), _labels_before(task, group)
    outputs += options["target_padding"]
    return [*targets, OneHot(outputs)] if options["one_hot"] else targets, outputs, labels


def _held_out(train: Split, count: int, hold_out: HoldOut) -> dict[str, Split]:
    """Training samples without those that are held out, which are for validation."""
    chosen = hold_out(class_indices(train), count)
    return {"train": train.subset(~chosen), "val": train.subset(chosen).unaugmented()}


def _part(
    splits: dict[str, Split],
    group: tuple[int, ...],
    targets: Sequence[Transform],
    spec: TaskSpec,
) -> Task:
    """One task of the sequence, relabelled; an empty validation split is left out."""
    for name, what in (("train", "training"), ("test", "test")):
        if not len(splits[name]):
            raise DataError(
                f"task {spec.name!r} has no {what} samples: there is none with label"
                f" {' or '.join(map(str, group))}"
            )
    # Validation may be empty where a task's classes are rare.
    ready = {name: relabelled(split, *targets) for name, split in splits.items() if len(split)}
    return Task(spec, ready["train"], ready["test"], ready.get("val"))


def label_groups(
    classes: int,
    *,
    classes_per_task: int = 2,
    tasks: int | None = None,
    order: Sequence[int] | None = None,
    labels: Sequence[Sequence[int]] | None = None,
) -> tuple[tuple[int, ...], ...]:
    """The labels of each task; see `split_tasks` for the options.

    Example:
        >>> label_groups(6, order=[5, 4, 3, 2, 1, 0])
        ((5, 4), (3, 2), (1, 0))

    Raises:
        ConfigError: The options contradict each other, or do not fit the number of
            classes.
    """
    if labels is not None:
        groups = tuple(tuple(group) for group in labels)
        if not groups:
            raise ConfigError("labels must name the labels of at least one task")
    else:
        dealt = tuple(range(classes)) if order is None else tuple(order)
        _check_labels(dealt, classes, "order")
        groups = _dealt_out(dealt, classes_per_task, tasks)
    for number, group in enumerate(groups):
        if not group:
            raise ConfigError(f"task {number} has no labels")
        _check_labels(group, classes, f"the labels of task {number}")
    if tasks is not None and not 1 <= tasks <= len(groups):
        raise ConfigError(
            f"tasks must be between 1 and {len(groups)}, as there are no more labels, got {tasks}"
        )
    return groups[:tasks]


def _dealt_out(
    labels: tuple[int, ...], size: int, tasks: int | None
) -> tuple[tuple[int, ...], ...]:
    if not 1 <= size <= len(labels):
        raise ConfigError(f"classes_per_task must be between 1 and {len(labels)}, got {size}")
    rest = len(labels) % size
    if tasks is None and rest:
        raise ConfigError(
            f"{len(labels)} labels cannot be dealt out evenly to tasks of {size}: set"
            f" tasks={len(labels) // size} to leave out {rest}, or choose another classes_per_task"
        )
    return tuple(labels[start : start + size] for start in range(0, len(labels) - rest, size))


def _check_labels(labels: tuple[int, ...], classes: int, where: str) -> None:
    for label in labels:
        if not 0 <= label < classes:
            raise ConfigError(
                f"there is no label {label} (in {where}): labels go from 0 to {classes - 1}"
            )
        if labels.count(label) > 1:
            raise ConfigError(f"label {label} appears twice in {where}")


def _labels_before(task: Task, group: tuple[int, ...]) -> tuple[int, ...]:
    """The labels of the original dataset, even if the task is itself a part of it."""
    before = task.spec.labels
    return group if before is None else tuple(before[label] for label in group)
