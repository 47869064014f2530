"""CIFAR-10 and CIFAR-100: colour images of 32x32 pixels."""

from __future__ import annotations

from typing import Unpack

from hypnet_core.plugins import only, with_defaults
from hypnet_core.tasks import Split, Task
from hypnet_data._io.files import data_directory
from hypnet_data._io.pickled import read_batches
from hypnet_data._io.prepared import prepared
from hypnet_data._io.published import CIFAR
from hypnet_data.images.classification import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    array_split,
    held_out,
    image_task,
)
from hypnet_data.options import (
    CutoutOptions,
    DownloadOptions,
    LargeValidationOptions,
    TargetOptions,
)

# ImageNet's mean and standard deviation, as in hypnettorch, so that results can be
# compared.
PREPROCESSING = Preprocessing(
    mean=IMAGENET_MEAN, std=IMAGENET_STD, padding=4, flips=True, cutout=16
)
PREPROCESSING_100 = Preprocessing(
    mean=IMAGENET_MEAN, std=IMAGENET_STD, padding=4, flips=True, cutout=8
)


class CifarOptions(
    LargeValidationOptions, TargetOptions, CutoutOptions, DownloadOptions, total=False
):
    """Options of CIFAR-10 and CIFAR-100."""


def cifar10(**options: Unpack[CifarOptions]) -> Task:
    """CIFAR-10: 50,000 training and 10,000 test photographs, 32x32, ten classes.

    Inputs are `(3, 32, 32)` between 0 and 1; images stay bytes in memory (184 MB).
    Augmentation shifts images by up to four pixels and mirrors them; cutout blanks out
    a square of 16x16 pixels. Inputs are normalised by ImageNet's statistics.

    The archive is expected at torchvision's place, `DATA_DIR/cifar-10-python.tar.gz`;
    it is downloaded (170 MB), with a message, if it is missing or damaged. The arrays
    in it are kept in `DATA_DIR/prepared` (184 MB), and the archive may be deleted then.
    Its pickles are only opened if they have the published checksums.

    Args:
        **options: See `CifarOptions`.

    Raises:
        DataError: The archive is missing, damaged or holds something else, and cannot
            be downloaded.
        ConfigError: `validation_size` leaves no training images, or cutout is requested
            without augmentation.

    References:
        A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009. T.
        DeVries and G. W. Taylor, *Improved Regularization of Convolutional Neural
        Networks with Cutout*, 2017, arXiv:1708.04552.
    """
    return _cifar("cifar10", 10, PREPROCESSING, options)


def cifar100(**options: Unpack[CifarOptions]) -> Task:
    """CIFAR-100: 50,000 training and 10,000 test photographs, a hundred classes.

    Inputs are `(3, 32, 32)` between 0 and 1; images stay bytes in memory (184 MB). The
    archive is `DATA_DIR/cifar-100-python.tar.gz` (169 MB). Cutout blanks out a square
    of 8x8 pixels; all else is as for `cifar10`.

    Args:
        **options: See `CifarOptions`.

    Raises:
        DataError: The archive is missing, damaged or holds something else, and cannot
            be downloaded.
        ConfigError: `validation_size` leaves no training images, or cutout is requested
            without augmentation.

    References:
        A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009.
    """
    return _cifar("cifar100", 100, PREPROCESSING_100, options)


def _cifar(
    name: str,
    classes: int,
    preprocessing: Preprocessing,
    options: CifarOptions,
) -> Task:
    chosen = with_defaults(CifarOptions, options)
    everything, test = _read(name, classes, only(DownloadOptions, chosen))
    return image_task(
        name,
        held_out(everything, test, chosen["validation_size"]),
        classes=classes,
        preprocessing=preprocessing,
        one_hot=chosen["one_hot"],
        **only(CutoutOptions, chosen),
    )


def _read(name: str, classes: int, options: DownloadOptions) -> tuple[Split, Split]:
    """The raw training and test images."""
    root, published = data_directory(options["data_dir"]), CIFAR[name]
    # A list of one, as `prepared` takes several.
    [source] = sources = published.archive.sources(root, mirrors=options["mirrors"])
    arrays = prepared(
        root / "prepared" / f"{name}.arrays",
        sources,
        lambda: read_batches(source.path, published, classes=classes),
        download=options["download"],
    )
    train = array_split(arrays["train_x"], arrays["train_y"])
    return train, array_split(arrays["test_x"], arrays["test_y"], first_id=len(train))
