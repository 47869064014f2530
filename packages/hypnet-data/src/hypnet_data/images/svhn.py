"""Street View House Numbers: colour images of 32x32 pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import numpy as np
import torch

from hypnet_core.errors import DataError
from hypnet_core.plugins import only, with_defaults
from hypnet_core.tasks import Samples, Split, Task
from hypnet_data._io.files import data_directory
from hypnet_data._io.matlab import read_matlab
from hypnet_data._io.prepared import Array, Arrays, prepared
from hypnet_data._io.published import SVHN
from hypnet_data.images.classification import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    held_out,
    image_task,
)
from hypnet_data.options import (
    CutoutOptions,
    TargetOptions,
    ValidationOptions,
    VerifiedDownloadOptions,
)

# ImageNet's mean and standard deviation, as in hypnettorch, so that results can be
# compared.
PREPROCESSING = Preprocessing(mean=IMAGENET_MEAN, std=IMAGENET_STD, padding=4, cutout=20)


class SvhnOptions(
    ValidationOptions, TargetOptions, CutoutOptions, VerifiedDownloadOptions, total=False
):
    """Options of SVHN."""


def svhn(*, extra: bool = False, **options: Unpack[SvhnOptions]) -> Task:
    """SVHN: 73,257 training and 26,032 test photographs of house numbers, 32x32 pixels.

    Each image shows a digit. Inputs are `(3, 32, 32)` between 0 and 1; images stay
    bytes in memory (305 MB, with the extra ones 1.9 GB). Augmentation shifts images by
    up to four pixels; cutout blanks out a square of 20x20 pixels. Inputs are normalised
    by ImageNet's statistics.

    Files are expected at torchvision's place, `DATA_DIR/train_32x32.mat`,
    `test_32x32.mat` and `extra_32x32.mat`; missing or damaged ones are downloaded (246
    MB, and 1.3 GB for the extra ones), with a message. The arrays in them are kept in
    `DATA_DIR/prepared`.

    Args:
        extra: Whether 531,131 more, easier images are appended to the training set.
        **options: See `SvhnOptions`.

    Raises:
        DataError: A file is missing, damaged or holds something else, and cannot be
            downloaded.
        ConfigError: `validation_size` leaves no training images, or cutout is requested
            without augmentation.

    References:
        Y. Netzer, T. Wang, A. Coates, A. Bissacco, B. Wu and A. Y. Ng, *Reading Digits
        in Natural Images with Unsupervised Feature Learning*, NIPS Workshop on Deep
        Learning and Unsupervised Feature Learning, 2011.
    """
    chosen = with_defaults(SvhnOptions, options)
    root = data_directory(chosen["data_dir"])
    sources = SVHN.sources(root, mirrors=chosen["mirrors"], verify=chosen["verify"])
    sources = sources[: 3 if extra else 2]
    # The extra images change the arrays, hence a file of their own.
    name = "svhn_extra" if extra else "svhn"
    arrays = prepared(
        root / "prepared" / f"{name}.arrays",
        sources,
        lambda: _joined([source.path for source in sources]),
        download=chosen["download"],
    )
    # One store for all, the extra images last, so that every image has the same id with
    # and without them.
    samples = Samples.of(arrays["x"], arrays["y"])
    ends = arrays["ends"].tolist()
    rows = torch.arange(len(samples))
    # Training and extra images, around the test images between them.
    everything = Split(samples, torch.cat([rows[: ends[0]], rows[ends[1] :]]))
    test = Split(samples, rows[ends[0] : ends[1]])
    return image_task(
        "svhn",
        held_out(everything, test, chosen["validation_size"]),
        classes=10,
        preprocessing=PREPROCESSING,
        one_hot=chosen["one_hot"],
        **only(CutoutOptions, chosen),
    )


def _joined(files: list[Path]) -> Arrays:
    """The images and labels of all files in a row, and the end of each file."""
    parts = [_read(file) for file in files]
    return {
        "x": np.concatenate([x for x, _ in parts]),
        "y": np.concatenate([y for _, y in parts]),
        "ends": np.cumsum([len(y) for _, y in parts]),
    }


def _read(file: Path) -> tuple[Array, Array]:
    """The images `[N, 3, 32, 32]` and labels `[N]` in a MATLAB file, both as bytes."""
    content = read_matlab(
        file,
        ("X", "y"),
        expected="a MATLAB file of images X and labels y",
        remedy="delete it, and download it again",
    )
    x, y = content["X"], content["y"].reshape(-1)
    _check(file, x, y)
    # MATLAB stores images last, and the digit 0 as 10.
    return np.ascontiguousarray(x.transpose(3, 2, 0, 1)), (y % 10).astype(np.uint8)


def _check(file: Path, x: Array, y: Array) -> None:
    if (
        x.dtype != np.uint8
        or x.ndim != 4
        or x.shape[:3] != (32, 32, 3)
        or len(y) != x.shape[3]
        or not len(y)
    ):
        raise DataError(
            f"{file} does not hold colour images of 32x32 pixels with a label each: it is another"
            " dataset's file"
        )
    if int(y.min()) < 0 or int(y.max()) > 10:
        wrong = int(y.min()) if int(y.min()) < 0 else int(y.max())
        raise DataError(
            f"{file} holds a label {wrong}, but there are only ten classes (1 to 9, and 10 for the"
            " digit 0)"
        )
