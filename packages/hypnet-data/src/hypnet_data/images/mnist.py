"""MNIST and Fashion-MNIST: grey images of 28x28 pixels."""

from __future__ import annotations

from typing import Unpack

from hypnet_core.plugins import only, with_defaults
from hypnet_core.tasks import Split, Task
from hypnet_data._io.files import data_directory
from hypnet_data._io.idx import read_images
from hypnet_data._io.prepared import Array, prepared
from hypnet_data._io.published import IDX
from hypnet_data.images.classification import Preprocessing, array_split, held_out, image_task
from hypnet_data.options import (
    InputOptions,
    LargeValidationOptions,
    TargetOptions,
    ValidationOptions,
    VerifiedDownloadOptions,
)

PREPROCESSING = Preprocessing(mean=(0.1307,), std=(0.3081,), padding=4)
# MNIST's statistics, as in hypnettorch, so that results can be compared.
FASHION_PREPROCESSING = Preprocessing(mean=(0.1307,), std=(0.3081,), padding=4, flips=True)


class IdxOptions(TargetOptions, InputOptions, VerifiedDownloadOptions, total=False):
    """Options of all datasets in MNIST's format."""


class MnistOptions(LargeValidationOptions, IdxOptions, total=False):
    """Options of MNIST."""


class FashionMnistOptions(ValidationOptions, IdxOptions, total=False):
    """Options of Fashion-MNIST."""


def mnist(**options: Unpack[MnistOptions]) -> Task:
    """MNIST: 60,000 training and 10,000 test images of digits, 28x28 grey pixels.

    The first `validation_size` training images are held out for validation. Inputs are
    `(1, 28, 28)` between 0 and 1; images stay bytes in memory (55 MB). Augmentation
    shifts images by up to four pixels; the mean of the training images is 0.1307 and
    their standard deviation 0.3081.

    Files are expected in torchvision's layout,
    `DATA_DIR/MNIST/raw/train-images-idx3-ubyte.gz` and so on; missing or damaged files
    are downloaded (12 MB), with a message. The arrays in them are kept in
    `DATA_DIR/prepared` (55 MB).

    Args:
        **options: See `MnistOptions`.

    Raises:
        DataError: A file is missing, damaged or holds something else, and cannot be
            downloaded.
        ConfigError: `validation_size` leaves no training images.

    References:
        Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, *Gradient-Based Learning Applied
        to Document Recognition*, Proceedings of the IEEE 86 (11), 1998.
    """
    chosen = with_defaults(MnistOptions, options)
    return _task("mnist", "MNIST", PREPROCESSING, chosen["validation_size"], chosen)


def fashion_mnist(**options: Unpack[FashionMnistOptions]) -> Task:
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28x28 pixels.

    A harder drop-in replacement of `mnist`, with ten classes. Augmentation also mirrors
    images; they are normalised by MNIST's statistics. Files are in
    `DATA_DIR/FashionMNIST/raw`, named as MNIST's. If none of them is there, those of
    Debian's package `dataset-fashion-mnist` are read, in
    `/usr/share/datasets/fashion-mnist`, unless `mirrors` is given. Otherwise missing or
    damaged files are downloaded (31 MB), with a message.

    Args:
        **options: See `FashionMnistOptions`.

    Raises:
        DataError: A file is missing, damaged or holds something else, and cannot be
            downloaded.
        ConfigError: `validation_size` leaves no training images.

    References:
        H. Xiao, K. Rasul and R. Vollgraf, *Fashion-MNIST: a Novel Image Dataset for
        Benchmarking Machine Learning Algorithms*, 2017, arXiv:1708.07747.
    """
    chosen = with_defaults(FashionMnistOptions, options)
    size = chosen["validation_size"]
    return _task("fashion_mnist", "FashionMNIST", FASHION_PREPROCESSING, size, chosen)


def _task(
    name: str,
    folder: str,
    preprocessing: Preprocessing,
    validation_size: int,
    options: IdxOptions,
) -> Task:
    everything, test = _read(folder, only(VerifiedDownloadOptions, options))
    return image_task(
        name,
        held_out(everything, test, validation_size),
        classes=10,
        preprocessing=preprocessing,
        one_hot=options["one_hot"],
        **only(InputOptions, options),
    )


def _read(name: str, options: VerifiedDownloadOptions) -> tuple[Split, Split]:
    """The raw training and test images."""
    root = data_directory(options["data_dir"])
    sources = IDX[name].sources(
        root / name / "raw", mirrors=options["mirrors"], verify=options["verify"]
    )

    # Called only if there are no prepared arrays, or a source has changed.
    def read() -> dict[str, Array]:
        train_images, train_labels, test_images, test_labels = (source.path for source in sources)
        train = read_images(train_images, train_labels, size=(28, 28), classes=10)
        test = read_images(test_images, test_labels, size=(28, 28), classes=10)
        return {
            # Named in one flat file, as prepared arrays have no groups.
            "train_x": train["x"],
            "train_y": train["y"],
            "test_x": test["x"],
            "test_y": test["y"],
        }

    path = root / "prepared" / f"{name}.arrays"
    arrays = prepared(path, sources, read, download=options["download"])
    train = array_split(arrays["train_x"], arrays["train_y"])
    # Ids of test images follow those of training images.
    return train, array_split(arrays["test_x"], arrays["test_y"], first_id=len(train))
