"""Image datasets cut by their labels, under their familiar names."""

from __future__ import annotations

from pathlib import Path

from hypnet_core.tasks.task import TaskSequence
from hypnet_data.continual.split import split_tasks
from hypnet_data.holdout import stratified
from hypnet_data.images.digits import digits
from hypnet_data.images.mnist import mnist


def split_digits(
    *,
    classes_per_task: int = 2,
    tasks: int | None = None,
    order: tuple[int, ...] | None = None,
    labels: tuple[tuple[int, ...], ...] | None = None,
    full_out_dim: bool = False,
    target_padding: int = 0,
    validation_size: int = 36,
    one_hot: bool = False,
    augmentation: bool = False,
    normalize: bool | None = None,
) -> TaskSequence:
    """Five tasks of two handwritten digits each (0 and 1, 2 and 3, …), of 8x8 pixels; see `digits`.

    By default, each task has about 250 training images, 36 for validation and about 72 for testing.

    Args:
        classes_per_task: How many digits each task has.
        tasks: How many tasks; by default as many as the digits give.
        order: Digits in the order in which they are dealt out to tasks; by default 0 to 9.
        labels: The digits of each task, in place of `classes_per_task` and `order`. Tasks may share digits.
        full_out_dim: Whether each task keeps all ten classes, and thereby the labels as they are.
        target_padding: Number of classes without images to put behind the others.
        validation_size: Number of validation images of each task; 0 for no validation split.
        one_hot: Whether targets are one-hot rows instead of class indices.
        augmentation: Whether training images are shifted at random by up to one pixel; all inputs are then normalised as well.
        normalize: Whether to subtract the mean (0.3050) and divide by the standard deviation (0.3759); by default exactly
            with augmentation.

    Raises:
        ConfigError: A digit does not exist or stands twice, there are too few for so many tasks, or a size is not possible.
    """
    whole = digits(validation_size=0, augmentation=augmentation, normalize=normalize)
    return split_tasks(
        whole,
        classes_per_task=classes_per_task,
        tasks=tasks,
        order=order,
        labels=labels,
        full_out_dim=full_out_dim,
        target_padding=target_padding,
        validation_size=validation_size,
        hold_out=stratified,
        one_hot=one_hot,
    )


def split_mnist(
    *,
    classes_per_task: int = 2,
    tasks: int | None = None,
    order: tuple[int, ...] | None = None,
    labels: tuple[tuple[int, ...], ...] | None = None,
    full_out_dim: bool = False,
    target_padding: int = 0,
    validation_size: int = 0,
    one_hot: bool = False,
    augmentation: bool = False,
    normalize: bool | None = None,
    data_dir: Path | None = None,
    download: bool = True,
    mirrors: tuple[str, ...] | None = None,
    verify: bool = True,
) -> TaskSequence:
    """Five tasks of two MNIST digits each (0 and 1, 2 and 3, …); see `mnist`.

    By default, each task has about 12,000 training and 2,000 test images, and none for validation.

    Args:
        classes_per_task: How many digits each task has.
        tasks: How many tasks; by default as many as the digits give.
        order: Digits in the order in which they are dealt out to tasks; by default 0 to 9.
        labels: The digits of each task, in place of `classes_per_task` and `order`. Tasks may share digits.
        full_out_dim: Whether each task keeps all ten classes, and thereby the labels as they are.
        target_padding: Number of classes without images to put behind the others.
        validation_size: Number of validation images of each task, the first ones of its training images; 0 for no validation split.
        one_hot: Whether targets are one-hot rows instead of class indices.
        augmentation: Whether training images are shifted at random by up to four pixels; all inputs are then normalised as well.
        normalize: Whether to subtract the training images' mean (0.1307) and divide by their standard deviation (0.3081); by default
            exactly with augmentation.
        data_dir: Folder of downloaded data; by default `$HYPNET_DATA`, else `~/.cache/hypnet`.
        download: Whether missing or damaged files may be downloaded (12 MB).
        mirrors: Addresses of folders to download from, tried in turn; by default those that torchvision knows.
        verify: Whether every archive must have MNIST's published MD5 checksum, downloaded or found. Without, other data in the same
            format is taken as well, as long as it is whole.

    Raises:
        ConfigError: A digit does not exist or stands twice, there are too few for so many tasks, or a size is not possible.
        DataError: A file is missing, damaged or holds something else, and cannot be downloaded.
    """
    whole = mnist(
        validation_size=0,
        augmentation=augmentation,
        normalize=normalize,
        data_dir=data_dir,
        download=download,
        mirrors=mirrors,
        verify=verify,
    )
    return split_tasks(
        whole,
        classes_per_task=classes_per_task,
        tasks=tasks,
        order=order,
        labels=labels,
        full_out_dim=full_out_dim,
        target_padding=target_padding,
        validation_size=validation_size,
        one_hot=one_hot,
    )
