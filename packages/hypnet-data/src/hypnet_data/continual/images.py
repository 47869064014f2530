"""The usual task sequences of images: split and permuted datasets."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import only, with_defaults
from hypnet_core.tasks import Split, Task, TaskSequence
from hypnet_data.continual.permuting import permuted_tasks
from hypnet_data.continual.splitting import split_tasks
from hypnet_data.holdout import hold_out_stratified
from hypnet_data.images.cifar import CifarOptions, cifar10, cifar100
from hypnet_data.images.digits import digits
from hypnet_data.images.mnist import MnistOptions, mnist
from hypnet_data.options import (
    CutoutOptions,
    DownloadOptions,
    InputOptions,
    LargeValidationOptions,
    PaddedPermutationOptions,
    PermutationOptions,
    SplitOptions,
    TargetOptions,
    ValidationOptions,
    VerifiedDownloadOptions,
)

# One-hot rows and validation images belong to the tasks, not to the whole dataset.
_WHOLE = {"one_hot": False, "validation_size": 0}


class SplitDigitsOptions(SplitOptions, InputOptions, total=False):
    """Options of the split small digits."""


class SplitMnistOptions(
    ValidationOptions, SplitOptions, InputOptions, VerifiedDownloadOptions, total=False
):
    """Options of split MNIST."""


class SplitCifarOptions(
    ValidationOptions, TargetOptions, CutoutOptions, DownloadOptions, total=False
):
    """Options of split CIFAR."""


class PermutedMnistOptions(
    LargeValidationOptions, PermutationOptions, VerifiedDownloadOptions, total=False
):
    """Options of permuted MNIST."""


def split_digits(
    *, validation_size: int = 36, **options: Unpack[SplitDigitsOptions]
) -> TaskSequence:
    """Five tasks of two handwritten digits each (0 and 1, 2 and 3, …), 8x8 pixels.

    By default, each task has about 250 training images, 36 for validation and about 72
    for testing. See `digits` for the images and their preprocessing.

    Args:
        validation_size: Number of validation images of each task; 0 for no validation
            split.
        **options: See `SplitDigitsOptions`.

    Raises:
        ConfigError: A digit does not exist or appears twice, there are too few digits
            for so many tasks, or a size is not possible.
    """
    chosen = with_defaults(SplitDigitsOptions, options)
    return split_tasks(
        digits(validation_size=0, **only(InputOptions, chosen)),
        validation_size=validation_size,
        hold_out=hold_out_stratified,
        **only(SplitOptions, chosen),
    )


def split_mnist(**options: Unpack[SplitMnistOptions]) -> TaskSequence:
    """Five tasks of two MNIST digits each (0 and 1, 2 and 3, …).

    By default, each task has about 12,000 training and 2,000 test images, and none for
    validation. See `mnist` for the images, their preprocessing and their files (12 MB).

    Args:
        **options: See `SplitMnistOptions`.

    Raises:
        ConfigError: A digit does not exist or appears twice, there are too few digits
            for so many tasks, or a size is not possible.
        DataError: A file is missing, damaged or holds something else, and cannot be
            downloaded.
    """
    chosen = with_defaults(SplitMnistOptions, options)
    whole = only(MnistOptions, {**chosen, **_WHOLE})
    return split_tasks(
        mnist(**whole),
        validation_size=chosen["validation_size"],
        **only(SplitOptions, chosen),
    )


def split_cifar(
    *,
    tasks: int = 6,
    classes_per_task: int = 10,
    full_out_dim: bool = False,
    target_padding: int = 0,
    **options: Unpack[SplitCifarOptions],
) -> TaskSequence:
    """CIFAR-10, then slices of CIFAR-100: six tasks of ten classes each.

    The first task is all of CIFAR-10, the second one has the labels 0 to 9 of
    CIFAR-100, and so on. The ids of CIFAR-100 follow those of CIFAR-10: its first image
    has the id 60,000. See `cifar10` and `cifar100` for the images, their preprocessing
    and their files (170 MB each).

    Args:
        tasks: Number of tasks, at most 11 of ten classes.
        classes_per_task: Number of labels per task; a divisor of ten. CIFAR-10 gives
            the first tasks, CIFAR-100 all others.
        full_out_dim: Whether each task keeps all classes of its dataset, and so the
            original labels.
        target_padding: Number of classes without samples to append to the classes of
            each task.
        **options: See `SplitCifarOptions`.

    Raises:
        ConfigError: The number of tasks or a size is not possible.
        DataError: An archive is missing, damaged or holds something else, and cannot be
            downloaded.

    References:
        F. Zenke, B. Poole and S. Ganguli, *Continual Learning Through Synaptic
        Intelligence*, ICML, 2017, arXiv:1703.04200.
    """
    chosen = with_defaults(SplitCifarOptions, options)
    if classes_per_task < 1 or 10 % classes_per_task:
        raise ConfigError(f"classes_per_task must be 1, 2, 5 or 10, got {classes_per_task}")
    # Of ten classes each, CIFAR-10 and CIFAR-100 have 11 slices.
    of_ten = 10 // classes_per_task
    if not 1 <= tasks <= 11 * of_ten:
        raise ConfigError(
            f"tasks must be between 1 and {11 * of_ten}, as there are 110 classes, got {tasks}"
        )
    whole = only(CifarOptions, {**chosen, **_WHOLE})
    # All of CIFAR-10 comes first; CIFAR-100 is read only if tasks remain.
    made: list[Task] = []
    for load, here, first_id in (
        (cifar10, min(tasks, of_ten), 0),
        # CIFAR-10 has 60,000 images, so ids of both stay distinct.
        (cifar100, tasks - of_ten, 60_000),
    ):
        if here < 1:
            continue
        made += split_tasks(
            _renumbered(load(**whole), first_id),
            classes_per_task=classes_per_task,
            tasks=here,
            full_out_dim=full_out_dim,
            target_padding=target_padding,
            validation_size=chosen["validation_size"],
            one_hot=chosen["one_hot"],
        )
    return TaskSequence("split_cifar", tuple(_named(made)))


def _named(tasks: list[Task]) -> list[Task]:
    return [
        replace(task, spec=task.spec.model_copy(update={"name": f"split_cifar_{number}"}))
        for number, task in enumerate(tasks)
    ]


def _renumbered(task: Task, first_id: int) -> Task:
    """The same task with all ids increased."""

    def moved(split: Split) -> Split:
        # The store is replaced, not copied: only its first id differs.
        samples = replace(split.samples, first_id=split.samples.first_id + first_id)
        return replace(split, samples=samples)

    return task.map(moved)


def permuted_digits(
    *,
    validation_size: int = 180,
    normalize: bool = False,
    **options: Unpack[PaddedPermutationOptions],
) -> TaskSequence:
    """Ten tasks of the same small digits, with the pixels in another order in each.

    See `digits` for the images.

    Args:
        validation_size: Number of validation images; 0 for no validation split.
        normalize: Whether to subtract the mean (0.3050) and divide by the standard
            deviation (0.3759).
        **options: See `PaddedPermutationOptions`.

    Raises:
        ConfigError: A size is not possible.
    """
    whole = digits(validation_size=validation_size, normalize=normalize)
    return permuted_tasks(whole, **options)


def permuted_mnist(
    *,
    padding: int = 2,
    normalize: bool = False,
    **options: Unpack[PermutedMnistOptions],
) -> TaskSequence:
    """Ten tasks of the same MNIST digits, with the pixels in another order in each.

    With the default padding, images have 32x32 pixels. A hundred tasks need hardly more
    memory than one. See `mnist` for the images and their files (12 MB).

    Args:
        padding: Number of black pixels to add on each side of an image before it is
            permuted.
        normalize: Whether to subtract the training images' mean (0.1307) and divide by
            their standard deviation (0.3081).
        **options: See `PermutedMnistOptions`.

    Raises:
        ConfigError: A size is not possible.
        DataError: A file is missing, damaged or holds something else, and cannot be
            downloaded.

    References:
        I. J. Goodfellow, M. Mirza, D. Xiao, A. Courville and Y. Bengio, *An Empirical
        Investigation of Catastrophic Forgetting in Gradient-Based Neural Networks*,
        2013, arXiv:1312.6211.
    """
    chosen = with_defaults(PermutedMnistOptions, options)
    # One-hot rows belong to the tasks, not to the whole dataset.
    whole = only(MnistOptions, {**chosen, "one_hot": False, "normalize": normalize})
    return permuted_tasks(mnist(**whole), padding=padding, **only(PermutationOptions, chosen))
