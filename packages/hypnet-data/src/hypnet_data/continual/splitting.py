"""Task sequences that cut a classification dataset by its labels."""

from __future__ import annotations

from collections.abc import Sequence

from hypnet_core.errors import ConfigError, DataError
from hypnet_core.tasks import Task, TaskSequence, Transform
from hypnet_data.continual.parts import parts_of
from hypnet_data.holdout import HoldOut, first
from hypnet_data.transforms import OneHot, Relabel, Shift


def split_tasks(
    task: Task,
    *,
    name: str | None = None,
    classes_per_task: int = 2,
    tasks: int | None = None,
    order: Sequence[int] | None = None,
    labels: Sequence[Sequence[int]] | None = None,
    full_out_dim: bool = False,
    target_padding: int = 0,
    separate_heads: bool = False,
    validation_size: int | None = None,
    hold_out: HoldOut = first,
    one_hot: bool = False,
) -> TaskSequence:
    """Cut a classification task into a sequence of tasks that have some of its classes each.

    Images are stored once, however many tasks there are: each task is an index view.
    Samples keep their ids. Class `k` of a task is the `k`-th of its labels.

    Args:
        task: What to cut; its splits are kept in memory (`Split`).
        name: Name of the sequence, and of the tasks (with `_0`, `_1`, … behind it); by
            default `split_` and the task's own.
        classes_per_task: How many labels each task has.
        tasks: How many tasks; by default as many as the labels give, which must then
            come out even.
        order: Labels in the order in which they are dealt out; by default in increasing
            order.
        labels: The labels of each task, in place of `classes_per_task` and `order`.
            Tasks may share labels.
        full_out_dim: Whether each task keeps all classes of the whole, and thereby the
            labels as they are.
        target_padding: Number of classes without samples to put behind the others.
        separate_heads: Whether each task has outputs of its own: the classes of a task
            come behind those of the tasks before it. Otherwise all tasks share the same
            outputs.
        validation_size: Number of training samples of each task that are held out for
            validation; by default each task gets its share of the whole's validation
            split, if there is one with its labels in it.
        hold_out: Which samples are held out.
        one_hot: Whether targets are one-hot rows instead of class indices.

    Raises:
        ConfigError: A label does not exist or stands twice, there are too few labels
            for so many tasks, a size is not possible, or the task cannot be cut.
        DataError: A task has no samples to learn from, or to be tested on.
    """
    whole = parts_of(task)
    classes = task.spec.classes
    groups = label_groups(
        classes, classes_per_task=classes_per_task, tasks=tasks, order=order, labels=labels
    )
    if target_padding < 0:
        raise ConfigError(f"target_padding must not be negative, got {target_padding}")
    if validation_size is not None and whole.val is not None:
        raise ConfigError(
            f"{task.spec.name!r} has a validation split already: leave out validation_size, or"
            " build it without one"
        )
    if separate_heads and full_out_dim:
        raise ConfigError("separate_heads and full_out_dim exclude each other: choose one")
    name = name or f"split_{task.spec.name}"
    made, heads = [], tuple(label for group in groups for label in group)
    for number, group in enumerate(groups):
        outputs = (
            classes if full_out_dim else len(heads) if separate_heads else len(group)
        ) + target_padding
        targets: list[Transform] = [] if full_out_dim else [Relabel(group)]
        if separate_heads:
            targets.append(Shift(sum(map(len, groups[:number]))))
        if one_hot:
            targets.append(OneHot(outputs))
        parts = whole.only(group).held_out(validation_size, hold_out).relabelled(targets)
        spec = task.spec.model_copy(
            update={
                "name": f"{name}_{number}",
                "out_shape": (outputs,),
                "labels": (
                    None
                    if full_out_dim
                    else _labels_before(task, heads if separate_heads else group)
                ),
            }
        )
        for what, split in (("training", parts.train), ("test", parts.test)):
            if not len(split):
                raise DataError(
                    f"task {spec.name!r} has no {what} samples: there is none with label"
                    f" {' or '.join(map(str, group))}"
                )
        made.append(
            Task(spec, parts.train, parts.test, parts.val or None)
        )  # an empty split is none
    return TaskSequence(name, tuple(made))


def label_groups(
    classes: int,
    *,
    classes_per_task: int = 2,
    tasks: int | None = None,
    order: Sequence[int] | None = None,
    labels: Sequence[Sequence[int]] | None = None,
) -> tuple[tuple[int, ...], ...]:
    """Which labels each task has; see `split_tasks` for the options.

    Example:
        >>> label_groups(6, order=[5, 4, 3, 2, 1, 0])
        ((5, 4), (3, 2), (1, 0))

    Raises:
        ConfigError: The options do not fit together, or do not fit the number of
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
            raise ConfigError(f"label {label} stands twice in {where}")


def _labels_before(task: Task, group: tuple[int, ...]) -> tuple[int, ...]:
    """The labels of the original dataset, also if the task is itself a part of it."""
    before = task.spec.labels
    return group if before is None else tuple(before[label] for label in group)
