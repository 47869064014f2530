"""Task sequences over any classification dataset that is registered, whoever provides it."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import Field

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import DatasetChoice
from hypnet_core.tasks import Task, TaskSequence
from hypnet_data.continual.permuting import permuted_tasks
from hypnet_data.continual.splitting import split_tasks

Data: TypeAlias = Annotated[DatasetChoice, Field(validate_default=True)]
"""A dataset of the registry; a bare name is one with its default options."""


def split(
    *,
    data: Data = "digits",  # type: ignore[assignment] # a bare name is a choice
    classes_per_task: int = 2,
    tasks: int | None = None,
    order: tuple[int, ...] | None = None,
    labels: tuple[tuple[int, ...], ...] | None = None,
    full_out_dim: bool = False,
    target_padding: int = 0,
    separate_heads: bool = False,
    validation_size: int | None = None,
    one_hot: bool = False,
) -> TaskSequence:
    """Any classification dataset, cut by its labels into tasks that have some of its classes each.

    `hypnet run hypercl data=split data.data=fashion_mnist`, for example. Samples are
    stored once, however many tasks there are.

    Args:
        data: What to cut: a dataset's name, and beside it the dataset's options.
        classes_per_task: How many labels each task has.
        tasks: How many tasks; by default as many as the labels give, which must then
            come out even.
        order: Labels in the order in which they are dealt out to tasks; by default in
            increasing order.
        labels: The labels of each task, in place of `classes_per_task` and `order`.
            Tasks may share labels.
        full_out_dim: Whether each task keeps all classes of the whole, and thereby the
            labels as they are.
        target_padding: Number of classes without samples to put behind the others.
        separate_heads: Whether each task has outputs of its own, behind those of the
            tasks before it; otherwise they share them.
        validation_size: Number of training samples of each task that are held out for
            validation; by default each task gets its share of the dataset's own
            validation samples.
        one_hot: Whether targets are one-hot rows instead of class indices.

    Raises:
        ConfigError: The dataset is no classification task, a label does not exist or
            stands twice, there are too few for so many tasks, or a size is not
            possible.
        DataError: The dataset's files are missing or damaged, or a task has no training
            samples.
    """
    return split_tasks(
        _task(data),
        classes_per_task=classes_per_task,
        tasks=tasks,
        order=order,
        labels=labels,
        full_out_dim=full_out_dim,
        target_padding=target_padding,
        separate_heads=separate_heads,
        validation_size=validation_size,
        one_hot=one_hot,
    )


def permuted(
    *,
    data: Data = "digits",  # type: ignore[assignment] # a bare name is a choice
    tasks: int = 10,
    first_unpermuted: bool = False,
    padding: int = 0,
    target_padding: int = 0,
    separate_heads: bool = False,
    one_hot: bool = False,
    seed: int = 0,
) -> TaskSequence:
    """Any classification dataset, its pixels in another order in each task.

    Samples are stored once, and permuted batch by batch.

    Args:
        data: What to permute: a dataset's name, and beside it the dataset's options.
        tasks: How many tasks.
        first_unpermuted: Whether the first task is left as it is.
        padding: Pixels that are put around each image before it is permuted; black
            ones.
        target_padding: Number of classes without samples to put behind the others.
        separate_heads: Whether each task has outputs of its own, behind those of the
            tasks before it; otherwise they share them.
        one_hot: Whether targets are one-hot rows instead of class indices.
        seed: What permutations are drawn from. The permutation of a task does not
            depend on how many tasks there are.

    Raises:
        ConfigError: The dataset is no classification task, or a size is not possible.
        DataError: The dataset's files are missing or damaged.
    """
    return permuted_tasks(
        _task(data),
        tasks=tasks,
        first_unpermuted=first_unpermuted,
        padding=padding,
        target_padding=target_padding,
        separate_heads=separate_heads,
        one_hot=one_hot,
        seed=seed,
    )


def _task(data: Any) -> Task:
    choice = DatasetChoice(name=data) if isinstance(data, str) else data
    built = choice.build()
    if not isinstance(built, Task):
        raise ConfigError(
            f"{choice.name!r} is no single task, but a {type(built).__name__}: choose a dataset"
            " that is one task"
        )
    if built.spec.kind != "classification":
        raise ConfigError(
            f"{choice.name!r} is a {built.spec.kind} task: only classification tasks have labels to"
            " cut and to share"
        )
    return built
