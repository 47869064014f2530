"""CIFAR-10 and CIFAR-100: colour images of 32x32 pixels."""

from __future__ import annotations

from pathlib import Path

from hypnet_core.tasks import Split, Task
from hypnet_data._io.files import data_directory
from hypnet_data._io.pickled import read_batches
from hypnet_data._io.prepared import prepared
from hypnet_data._io.published import CIFAR
from hypnet_data.images.classification import Preprocessing, array_split, held_out, image_task

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Those of ImageNet, as in the predecessor, so that results can be compared."""

PREPROCESSING = Preprocessing(mean=MEAN, std=STD, padding=4, flips=True, cutout=16)
PREPROCESSING_100 = Preprocessing(mean=MEAN, std=STD, padding=4, flips=True, cutout=8)


def cifar10(
    *,
    validation_size: int = 5000,
    one_hot: bool = False,
    augmentation: bool = False,
    cutout: bool = False,
    normalize: bool | None = None,
    data_dir: Path | str | None = None,
    download: bool = True,
    mirrors: tuple[str, ...] | None = None,
) -> Task:
    """CIFAR-10, 50,000 training and 10,000 test photographs of 32x32 pixels in ten classes.

    Inputs are `(3, 32, 32)` between 0 and 1; images stay bytes in memory (184 MB). The
    archive is expected where torchvision puts it, `DATA_DIR/cifar-10-python.tar.gz`; it
    is downloaded (170 MB) if it is missing or damaged, with a message. What was read
    from it is kept in `DATA_DIR/prepared` (184 MB), and the archive may be deleted
    then. Its pickles are only opened if they have the published checksums.

    Args:
        validation_size: Number of validation images, the first ones of the training
            set; 0 for no validation split.
        one_hot: Whether targets are one-hot rows instead of class indices.
        augmentation: Whether training images are shifted at random by up to four pixels
            and mirrored; all inputs are then normalised as well.
        cutout: Whether augmentation makes a square of 16x16 pixels blank as well.
        normalize: Whether to subtract ImageNet's mean and divide by its standard
            deviation, channel by channel; by default exactly with augmentation.
        data_dir: Folder of downloaded data; by default `$HYPNET_DATA`, else
            `~/.cache/hypnet`.
        download: Whether a missing or damaged archive may be downloaded.
        mirrors: Addresses of folders to download from, tried in turn; by default the
            authors'.

    Raises:
        DataError: The archive is missing, damaged or holds something else, and cannot
            be downloaded.
        ConfigError: `validation_size` leaves nothing to learn from, or cutout is asked
            for without augmentation.

    References:
        A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009. T.
        DeVries and G. W. Taylor, *Improved Regularization of Convolutional Neural
        Networks with Cutout*, 2017, arXiv:1708.04552.
    """
    everything, test = _read("cifar10", 10, data_dir, mirrors, download=download)
    train, val = held_out(everything, validation_size)
    return image_task(
        "cifar10",
        train,
        test,
        val,
        classes=10,
        preprocessing=PREPROCESSING,
        one_hot=one_hot,
        augmentation=augmentation,
        normalize=normalize,
        cutout=cutout,
    )


def cifar100(
    *,
    validation_size: int = 5000,
    one_hot: bool = False,
    augmentation: bool = False,
    cutout: bool = False,
    normalize: bool | None = None,
    data_dir: Path | str | None = None,
    download: bool = True,
    mirrors: tuple[str, ...] | None = None,
) -> Task:
    """CIFAR-100, 50,000 training and 10,000 test photographs of 32x32 pixels in a hundred classes.

    Inputs are `(3, 32, 32)` between 0 and 1; images stay bytes in memory (184 MB). The
    archive is `DATA_DIR/cifar-100-python.tar.gz`; all else is as for `cifar10`.

    Args:
        validation_size: Number of validation images, the first ones of the training
            set; 0 for no validation split.
        one_hot: Whether targets are one-hot rows instead of class indices.
        augmentation: Whether training images are shifted at random by up to four pixels
            and mirrored; all inputs are then normalised as well.
        cutout: Whether augmentation makes a square of 8x8 pixels blank as well.
        normalize: Whether to subtract ImageNet's mean and divide by its standard
            deviation, channel by channel; by default exactly with augmentation.
        data_dir: Folder of downloaded data; by default `$HYPNET_DATA`, else
            `~/.cache/hypnet`.
        download: Whether a missing or damaged archive may be downloaded (169 MB).
        mirrors: Addresses of folders to download from, tried in turn; by default the
            authors'.

    Raises:
        DataError: The archive is missing, damaged or holds something else, and cannot
            be downloaded.
        ConfigError: `validation_size` leaves nothing to learn from, or cutout is asked
            for without augmentation.

    References:
        A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009.
    """
    everything, test = _read("cifar100", 100, data_dir, mirrors, download=download)
    train, val = held_out(everything, validation_size)
    return image_task(
        "cifar100",
        train,
        test,
        val,
        classes=100,
        preprocessing=PREPROCESSING_100,
        one_hot=one_hot,
        augmentation=augmentation,
        normalize=normalize,
        cutout=cutout,
    )


def _read(
    name: str,
    classes: int,
    data_dir: Path | str | None,
    mirrors: tuple[str, ...] | None,
    *,
    download: bool,
) -> tuple[Split, Split]:
    """The training and the test images, raw."""
    root, published = data_directory(data_dir), CIFAR[name]
    [source] = sources = published.archive.sources(root, mirrors=mirrors)
    arrays = prepared(
        root / "prepared" / f"{name}.arrays",
        sources,
        lambda: read_batches(source.path, published, classes=classes),
        download=download,
    )
    train = array_split(arrays["train_x"], arrays["train_y"])
    return train, array_split(arrays["test_x"], arrays["test_y"], first_id=len(train))
