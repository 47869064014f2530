"""Image datasets cut by their labels or permuted, under their familiar names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypnet_core.errors import ConfigError
from hypnet_core.tasks import Split, Task, TaskSequence
from hypnet_data.continual.parts import parts_of
from hypnet_data.continual.permuting import permuted_tasks
from hypnet_data.continual.splitting import split_tasks
from hypnet_data.holdout import stratified
from hypnet_data.images.cifar import cifar10, cifar100
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
    separate_heads: bool = False,
    validation_size: int = 36,
    one_hot: bool = False,
    augmentation: bool = False,
    normalize: bool | None = None,
) -> TaskSequence:
    """Five tasks of two handwritten digits each (0 and 1, 2 and 3, …), of 8x8 pixels; see `digits`.

    By default, each task has about 250 training images, 36 for validation and about 72
    for testing.

    Args:
        classes_per_task: How many digits each task has.
        tasks: How many tasks; by default as many as the digits give.
        order: Digits in the order in which they are dealt out to tasks; by default 0 to
            9.
        labels: The digits of each task, in place of `classes_per_task` and `order`.
            Tasks may share digits.
        full_out_dim: Whether each task keeps all ten classes, and thereby the labels as
            they are.
        target_padding: Number of classes without images to put behind the others.
        separate_heads: Whether each task has outputs of its own, behind those of the
            tasks before it; otherwise they share them.
        validation_size: Number of validation images of each task; 0 for no validation
            split.
        one_hot: Whether targets are one-hot rows instead of class indices.
        augmentation: Whether training images are shifted at random by up to one pixel;
            all inputs are then normalised as well.
        normalize: Whether to subtract the mean (0.3050) and divide by the standard
            deviation (0.3759); by default exactly with augmentation.

    Raises:
        ConfigError: A digit does not exist or stands twice, there are too few for so
            many tasks, or a size is not possible.
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
        separate_heads=separate_heads,
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
    separate_heads: bool = False,
    validation_size: int = 0,
    one_hot: bool = False,
    augmentation: bool = False,
    normalize: bool | None = None,
    data_dir: Path | str | None = None,
    download: bool = True,
    mirrors: tuple[str, ...] | None = None,
    verify: bool = True,
) -> TaskSequence:
    """Five tasks of two MNIST digits each (0 and 1, 2 and 3, …); see `mnist`.

    By default, each task has about 12,000 training and 2,000 test images, and none for
    validation.

    Args:
        classes_per_task: How many digits each task has.
        tasks: How many tasks; by default as many as the digits give.
        order: Digits in the order in which they are dealt out to tasks; by default 0 to
            9.
        labels: The digits of each task, in place of `classes_per_task` and `order`.
            Tasks may share digits.
        full_out_dim: Whether each task keeps all ten classes, and thereby the labels as
            they are.
        target_padding: Number of classes without images to put behind the others.
        separate_heads: Whether each task has outputs of its own, behind those of the
            tasks before it; otherwise they share them.
        validation_size: Number of validation images of each task, the first ones of its
            training images; 0 for no validation split.
        one_hot: Whether targets are one-hot rows instead of class indices.
        augmentation: Whether training images are shifted at random by up to four
            pixels; all inputs are then normalised as well.
        normalize: Whether to subtract the training images' mean (0.1307) and divide by
            their standard deviation (0.3081); by default exactly with augmentation.
        data_dir: Folder of downloaded data; by default `$HYPNET_DATA`, else
            `~/.cache/hypnet`.
        download: Whether missing or damaged files may be downloaded (12 MB).
        mirrors: Addresses of folders to download from, tried in turn; by default those
            that torchvision knows.
        verify: Whether every archive must have MNIST's published MD5 checksum,
            downloaded or found. Without, other data in the same format is taken as
            well, as long as it is whole.

    Raises:
        ConfigError: A digit does not exist or stands twice, there are too few for so
            many tasks, or a size is not possible.
        DataError: A file is missing, damaged or holds something else, and cannot be
            downloaded.
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
        separate_heads=separate_heads,
        validation_size=validation_size,
        one_hot=one_hot,
    )


def split_cifar(
    *,
    tasks: int = 6,
    classes_per_task: int = 10,
    full_out_dim: bool = False,
    target_padding: int = 0,
    validation_size: int = 0,
    one_hot: bool = False,
    augmentation: bool = False,
    cutout: bool = False,
    normalize: bool | None = None,
    data_dir: Path | str | None = None,
    download: bool = True,
    mirrors: tuple[str, ...] | None = None,
) -> TaskSequence:
    """CIFAR-10, then slices of CIFAR-100: six tasks of ten classes each; see `cifar10` and `cifar100`.

    The first task is all of CIFAR-10, the second one has the labels 0 to 9 of
    CIFAR-100, and so on. Ids go on where those of CIFAR-10 end: the first image of
    CIFAR-100 has the id 60,000.

    Args:
        tasks: How many tasks, at most 11 of ten classes.
        classes_per_task: How many labels each task has. Ten must be a multiple of it:
            CIFAR-10 gives the first tasks, CIFAR-100 all others.
        full_out_dim: Whether each task keeps all classes of its dataset, and thereby
            the labels as they are.
        target_padding: Number of classes without images to put behind the others.
        validation_size: Number of validation images of each task; 0 for no validation
            split.
        one_hot: Whether targets are one-hot rows instead of class indices.
        augmentation: Whether training images are shifted at random by up to four pixels
            and mirrored; all inputs are then normalised as well.
        cutout: Whether augmentation makes a square blank as well: of 16x16 pixels in
            CIFAR-10, of 8x8 in CIFAR-100.
        normalize: Whether to subtract ImageNet's mean and divide by its standard
            deviation, channel by channel; by default exactly with augmentation.
        data_dir: Folder of downloaded data; by default `$HYPNET_DATA`, else
            `~/.cache/hypnet`.
        download: Whether missing or damaged archives may be downloaded (170 MB each).
        mirrors: Addresses of folders to download from, tried in turn; by default the
            authors'.

    Raises:
        ConfigError: There are not so many tasks, or a size is not possible.
        DataError: An archive is missing, damaged or holds something else, and cannot be
            downloaded.

    References:
        F. Zenke, B. Poole and S. Ganguli, *Continual Learning Through Synaptic
        Intelligence*, ICML, 2017, arXiv:1703.04200.
    """
    if classes_per_task < 1 or 10 % classes_per_task:
        raise ConfigError(f"classes_per_task must be 1, 2, 5 or 10, got {classes_per_task}")
    of_ten = 10 // classes_per_task
    if not 1 <= tasks <= 11 * of_ten:
        raise ConfigError(
            f"tasks must be between 1 and {11 * of_ten}, as there are 110 classes, got {tasks}"
        )
    made: list[Task] = []
    for load, here, first_id in (
        (cifar10, min(tasks, of_ten), 0),
        (cifar100, tasks - of_ten, 60_000),
    ):
        if here < 1:
            continue
        whole = load(
            validation_size=0,
            augmentation=augmentation,
            cutout=cutout,
            normalize=normalize,
            data_dir=data_dir,
            download=download,
            mirrors=mirrors,
        )
        made += split_tasks(
            _renumbered(whole, first_id),
            classes_per_task=classes_per_task,
            tasks=here,
            full_out_dim=full_out_dim,
            target_padding=target_padding,
            validation_size=validation_size,
            one_hot=one_hot,
        )
    named = (
        replace(task, spec=task.spec.model_copy(update={"name": f"split_cifar_{n}"}))
        for n, task in enumerate(made)
    )
    return TaskSequence("split_cifar", tuple(named))


def _renumbered(task: Task, first_id: int) -> Task:
    """The same task with larger ids; without a validation split."""

    def moved(split: Split) -> Split:
        return replace(
            split, samples=replace(split.samples, first_id=split.samples.first_id + first_id)
        )

    parts = parts_of(task).map(moved)
    return Task(task.spec, parts.train, parts.test)


def permuted_digits(
    *,
    tasks: int = 10,
    first_unpermuted: bool = False,
    padding: int = 0,
    target_padding: int = 0,
    separate_heads: bool = False,
    validation_size: int = 180,
    one_hot: bool = False,
    normalize: bool = False,
    seed: int = 0,
) -> TaskSequence:
    """Ten tasks of the same handwritten digits, of 8x8 pixels, with the pixels in another order in each; see `digits`.

    Args:
        tasks: How many tasks.
        first_unpermuted: Whether the first task is left as it is.
        padding: Pixels that are put around each image before it is permuted; black
            ones.
        target_padding: Number of classes without images to put behind the others.
        separate_heads: Whether each task has outputs of its own, behind those of the
            tasks before it; otherwise they share them.
        validation_size: Number of validation images; 0 for no validation split.
        one_hot: Whether targets are one-hot rows instead of class indices.
        normalize: Whether to subtract the mean (0.3050) and divide by the standard
            deviation (0.3759).
        seed: What permutations are drawn from. The permutation of a task does not
            depend on how many tasks there are.

    Raises:
        ConfigError: A size is not possible.
    """
    return permuted_tasks(
        digits(validation_size=validation_size, normalize=normalize),
        tasks=tasks,
        first_unpermuted=first_unpermuted,
        padding=padding,
        target_padding=target_padding,
        separate_heads=separate_heads,
        one_hot=one_hot,
        seed=seed,
    )


def permuted_mnist(
    *,
    tasks: int = 10,
    first_unpermuted: bool = False,
    padding: int = 2,
    target_padding: int = 0,
    separate_heads: bool = False,
    validation_size: int = 5000,
    one_hot: bool = False,
    normalize: bool = False,
    seed: int = 0,
    data_dir: Path | str | None = None,
    download: bool = True,
    mirrors: tuple[str, ...] | None = None,
    verify: bool = True,
) -> TaskSequence:
    """Ten tasks of the same MNIST digits, with the pixels in another order in each; see `mnist`.

    With the default padding, images are 32x32 pixels large. A hundred tasks need hardly
    more memory than one.

    Args:
        tasks: How many tasks.
        first_unpermuted: Whether the first task is left as it is.
        padding: Pixels that are put around each image before it is permuted; black
            ones.
        target_padding: Number of classes without images to put behind the others.
        separate_heads: Whether each task has outputs of its own, behind those of the
            tasks before it; otherwise they share them.
        validation_size: Number of validation images, the first ones of the training
            set; 0 for no validation split.
        one_hot: Whether targets are one-hot rows instead of class indices.
        normalize: Whether to subtract the training images' mean (0.1307) and divide by
            their standard deviation (0.3081).
        seed: What permutations are drawn from. The permutation of a task does not
            depend on how many tasks there are.
        data_dir: Folder of downloaded data; by default `$HYPNET_DATA`, else
            `~/.cache/hypnet`.
        download: Whether missing or damaged files may be downloaded (12 MB).
        mirrors: Addresses of folders to download from, tried in turn; by default those
            that torchvision knows.
        verify: Whether every archive must have MNIST's published MD5 checksum,
            downloaded or found. Without, other data in the same format is taken as
            well, as long as it is whole.

    Raises:
        ConfigError: A size is not possible.
        DataError: A file is missing, damaged or holds something else, and cannot be
            downloaded.

    References:
        I. J. Goodfellow, M. Mirza, D. Xiao, A. Courville and Y. Bengio, *An Empirical
        Investigation of Catastrophic Forgetting in Gradient-Based Neural Networks*,
        2013, arXiv:1312.6211.
    """
    whole = mnist(
        validation_size=validation_size,
        normalize=normalize,
        data_dir=data_dir,
        download=download,
        mirrors=mirrors,
        verify=verify,
    )
    return permuted_tasks(
        whole,
        tasks=tasks,
        first_unpermuted=first_unpermuted,
        padding=padding,
        target_padding=target_padding,
        separate_heads=separate_heads,
        one_hot=one_hot,
        seed=seed,
    )
