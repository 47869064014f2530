"""MNIST: handwritten digits of 28x28 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypnet_core.tasks.split import Split
from hypnet_core.tasks.task import Task
from hypnet_data.files import data_directory, obtain
from hypnet_data.holdout import first
from hypnet_data.images.classification import Preprocessing, image_task
from hypnet_data.images.idx import idx_split

PREPROCESSING = Preprocessing(mean=(0.1307,), std=(0.3081,), padding=4)


def mnist(
    *,
    validation_size: int = 5000,
    one_hot: bool = False,
    augmentation: bool = False,
    normalize: bool | None = None,
    data_dir: Path | None = None,
    download: bool = True,
    mirrors: tuple[str, ...] | None = None,
    verify: bool = True,
) -> Task:
    """MNIST, 60,000 training and 10,000 test images of handwritten digits, 28x28 grey pixels, in ten classes.

    The first `validation_size` training images are held out for validation. Inputs are `(1, 28, 28)` between 0 and 1; images stay
    bytes in memory (55 MB). Files are expected as torchvision lays them out: `DATA_DIR/MNIST/raw/train-images-idx3-ubyte.gz` and so
    on; what is missing or damaged is downloaded (12 MB), with a message. Archives are unpacked beside themselves once (55 MB).

    Args:
        validation_size: Number of validation images, the first ones of the training set; 0 for no validation split.
        one_hot: Whether targets are one-hot rows instead of class indices.
        augmentation: Whether training images are shifted at random by up to four pixels; all inputs are then normalised as well.
        normalize: Whether to subtract the training images' mean (0.1307) and divide by their standard deviation (0.3081); by default
            exactly with augmentation.
        data_dir: Folder of downloaded data; by default `$HYPNET_DATA`, else `~/.cache/hypnet`.
        download: Whether missing or damaged files may be downloaded.
        mirrors: Addresses of folders to download from, tried in turn; by default those that torchvision knows.
        verify: Whether every archive must have MNIST's published MD5 checksum, downloaded or found. Without, other data in the same
            format is taken as well, as long as it is whole.

    Raises:
        DataError: A file is missing, damaged or holds something else, and cannot be downloaded.
        ConfigError: `validation_size` leaves nothing to learn from.

    References:
        Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, *Gradient-Based Learning Applied to Document Recognition*, Proceedings of the
        IEEE 86 (11), 1998.
    """
    folder = data_directory(data_dir) / "MNIST" / "raw"
    everything, test = _read(folder, mirrors, download=download, verify=verify)
    in_val = first(everything.targets, validation_size)
    return image_task(
        "mnist",
        everything.subset(~in_val),
        test,
        everything.subset(in_val) if validation_size else None,
        classes=10,
        preprocessing=PREPROCESSING,
        one_hot=one_hot,
        augmentation=augmentation,
        normalize=normalize,
    )


def _read(folder: Path, mirrors: Sequence[str] | None, *, download: bool, verify: bool) -> tuple[Split, Split]:
    """The training and the test images, raw."""
    from torchvision.datasets import MNIST  # noqa: PLC0415 - torchvision takes a second to import

    train_images, train_labels, test_images, test_labels = (
        obtain(folder / name, MNIST.mirrors if mirrors is None else mirrors, md5=md5 if verify else None, download=download)
        for name, md5 in MNIST.resources  # images before labels, training before test
    )
    train = idx_split(train_images, train_labels, size=(28, 28), classes=10)
    test = idx_split(test_images, test_labels, size=(28, 28), classes=10, first_id=len(train))
    return train, test
