"""MNIST and Fashion-MNIST: grey images of 28x28 pixels."""

from __future__ import annotations

from pathlib import Path

from hypnet_core.tasks import Split, Task
from hypnet_data._io.files import data_directory
from hypnet_data._io.idx import read_images
from hypnet_data._io.prepared import Array, prepared
from hypnet_data._io.published import IDX
from hypnet_data.images.classification import Preprocessing, array_split, held_out, image_task

PREPROCESSING = Preprocessing(mean=(0.1307,), std=(0.3081,), padding=4)
FASHION_PREPROCESSING = Preprocessing(mean=(0.1307,), std=(0.3081,), padding=4, flips=True)
"""The same numbers as for MNIST, as in the predecessor, so that results can be compared."""


def mnist(
    *,
    validation_size: int = 5000,
    one_hot: bool = False,
    augmentation: bool = False,
    normalize: bool | None = None,
    data_dir: Path | str | None = None,
    download: bool = True,
    mirrors: tuple[str, ...] | None = None,
    verify: bool = True,
) -> Task:
    """MNIST, 60,000 training and 10,000 test images of handwritten digits, 28x28 grey pixels, in ten classes.

    The first `validation_size` training images are held out for validation. Inputs are
    `(1, 28, 28)` between 0 and 1; images stay bytes in memory (55 MB). Files are
    expected as torchvision lays them out:
    `DATA_DIR/MNIST/raw/train-images-idx3-ubyte.gz` and so on; what is missing or
    damaged is downloaded (12 MB), with a message. What was read from them is kept in
    `DATA_DIR/prepared` (55 MB).

    Args:
        validation_size: Number of validation images, the first ones of the training
            set; 0 for no validation split.
        one_hot: Whether targets are one-hot rows instead of class indices.
        augmentation: Whether training images are shifted at random by up to four
            pixels; all inputs are then normalised as well.
        normalize: Whether to subtract the training images' mean (0.1307) and divide by
            their standard deviation (0.3081); by default exactly with augmentation.
        data_dir: Folder of downloaded data; by default `$HYPNET_DATA`, else
            `~/.cache/hypnet`.
        download: Whether missing or damaged files may be downloaded.
        mirrors: Addresses of folders to download from, tried in turn; by default those
            that torchvision knows.
        verify: Whether every archive must have MNIST's published MD5 checksum,
            downloaded or found. Without, other data in the same format is taken as
            well, as long as it is whole.

    Raises:
        DataError: A file is missing, damaged or holds something else, and cannot be
            downloaded.
        ConfigError: `validation_size` leaves nothing to learn from.

    References:
        Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, *Gradient-Based Learning Applied
        to Document Recognition*, Proceedings of the IEEE 86 (11), 1998.
    """
    everything, test = _read("MNIST", data_dir, mirrors, download=download, verify=verify)
    train, val = held_out(everything, validation_size)
    return image_task(
        "mnist",
        train,
        test,
        val,
        classes=10,
        preprocessing=PREPROCESSING,
        one_hot=one_hot,
        augmentation=augmentation,
        normalize=normalize,
    )


def fashion_mnist(
    *,
    validation_size: int = 0,
    one_hot: bool = False,
    augmentation: bool = False,
    normalize: bool | None = None,
    data_dir: Path | str | None = None,
    download: bool = True,
    mirrors: tuple[str, ...] | None = None,
    verify: bool = True,
) -> Task:
    """Fashion-MNIST, 60,000 training and 10,000 test images of clothes, 28x28 grey pixels, in ten classes.

    A drop-in replacement of `mnist` that is harder to learn. Files are in
    `DATA_DIR/FashionMNIST/raw`, named as MNIST's; what is missing or damaged is
    downloaded (31 MB), with a message.

    Args:
        validation_size: Number of validation images, the first ones of the training
            set; 0 for no validation split.
        one_hot: Whether targets are one-hot rows instead of class indices.
        augmentation: Whether training images are shifted at random by up to four pixels
            and mirrored; all inputs are then normalised as well.
        normalize: Whether to subtract 0.1307 and divide by 0.3081, MNIST's mean and
            standard deviation; by default exactly with augmentation.
        data_dir: Folder of downloaded data; by default `$HYPNET_DATA`, else
            `~/.cache/hypnet`.
        download: Whether missing or damaged files may be downloaded.
        mirrors: Addresses of folders to download from, tried in turn; by default those
            that torchvision knows.
        verify: Whether every archive must have the published MD5 checksum, downloaded
            or found. Without, other data in the same format is taken as well, as long
            as it is whole.

    Raises:
        DataError: A file is missing, damaged or holds something else, and cannot be
            downloaded.
        ConfigError: `validation_size` leaves nothing to learn from.

    References:
        H. Xiao, K. Rasul and R. Vollgraf, *Fashion-MNIST: a Novel Image Dataset for
        Benchmarking Machine Learning Algorithms*, 2017, arXiv:1708.07747.
    """
    everything, test = _read("FashionMNIST", data_dir, mirrors, download=download, verify=verify)
    train, val = held_out(everything, validation_size)
    return image_task(
        "fashion_mnist",
        train,
        test,
        val,
        classes=10,
        preprocessing=FASHION_PREPROCESSING,
        one_hot=one_hot,
        augmentation=augmentation,
        normalize=normalize,
    )


def _read(
    name: str,
    data_dir: Path | str | None,
    mirrors: tuple[str, ...] | None,
    *,
    download: bool,
    verify: bool,
) -> tuple[Split, Split]:
    """The training and the test images, raw."""
    root = data_directory(data_dir)
    sources = IDX[name].sources(root / name / "raw", mirrors=mirrors, verify=verify)

    def read() -> dict[str, Array]:
        train_images, train_labels, test_images, test_labels = (source.path for source in sources)
        train = read_images(train_images, train_labels, size=(28, 28), classes=10)
        test = read_images(test_images, test_labels, size=(28, 28), classes=10)
        return {
            "train_x": train["x"],
            "train_y": train["y"],
            "test_x": test["x"],
            "test_y": test["y"],
        }

    arrays = prepared(root / "prepared" / f"{name}.arrays", sources, read, download=download)
    train = array_split(arrays["train_x"], arrays["train_y"])
    return train, array_split(arrays["test_x"], arrays["test_y"], first_id=len(train))
