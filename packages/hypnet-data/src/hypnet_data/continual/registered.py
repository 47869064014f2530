"""Task sequences made from any registered classification dataset."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias, Unpack

from pydantic import Field

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import DatasetChoice
from hypnet_core.tasks import Task, TaskSequence
from hypnet_data.continual.permuting import permuted_tasks
from hypnet_data.continual.splitting import split_tasks
from hypnet_data.options import PaddedPermutationOptions, SplitOptions

Data: TypeAlias = Annotated[DatasetChoice, Field(validate_default=True)]
"""A registered dataset; a bare name stands for the dataset with its default options."""

_DIGITS: Any = "digits"  # validated to a choice, like a name in a configuration


def split(
    *, data: Data = _DIGITS, validation_size: int | None = None, **options: Unpack[SplitOptions]
) -> TaskSequence:
    """Any classification dataset, split by its labels into tasks.

    For example: `hypnet run hypercl data=split data.data=fashion_mnist`. Samples are
    stored once, however many tasks there are.

    Args:
        data: The dataset to split: its name, and beside it its options.
        validation_size: Number of training samples of each task that are held out for
            validation; by default each task gets its share of the dataset's own
            validation samples.
        **options: See `SplitOptions`.

    Raises:
        ConfigError: The dataset is not a classification task, a label does not exist or
            appears twice, there are too few labels for so many tasks, or a size is not
            possible.
        DataError: The dataset's files are missing or damaged, or a task has no training
            samples.
    """
    return split_tasks(_task(data), validation_size=validation_size, **options)


def permuted(*, data: Data = _DIGITS, **options: Unpack[PaddedPermutationOptions]) -> TaskSequence:
    """Any classification dataset, with its pixels in another order in each task.

    Samples are stored once and permuted batch by batch.

    Args:
        data: The dataset to permute: its name, and beside it its options.
        **options: See `PaddedPermutationOptions`.

    Raises:
        ConfigError: The dataset is not a classification task, or a size is not
            possible.
        DataError: The dataset's files are missing or damaged.
    """
    return permuted_tasks(_task(data), **options)


def _task(data: Any) -> Task:
    # In Python a bare name skips validation, which would make it a choice.
    choice = DatasetChoice.of(data)
    built = choice.build()
    if not isinstance(built, Task):
        raise ConfigError(
            f"{choice.name!r} is a {type(built).__name__}, not a single task: choose a dataset that"
            " is one task"
        )
    if built.spec.kind != "classification":
        raise ConfigError(
            f"{choice.name!r} is a {built.spec.kind} task: only classification tasks have labels to"
            " split or to share"
        )
    return built
