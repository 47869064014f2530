"""Street View House Numbers: colour images of 32x32 pixels."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch

from hypnet_core.errors import DataError
from hypnet_core.tasks import Samples, Split, Task
from hypnet_data._io.files import data_directory
from hypnet_data._io.prepared import Array, Arrays, prepared
from hypnet_data._io.published import SVHN
from hypnet_data.images.classification import Preprocessing, held_out, image_task

PREPROCESSING = Preprocessing(
    mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), padding=4, cutout=20
)
"""With the mean and standard deviation of ImageNet, as in the predecessor, so that results can be compared."""


def svhn(
    *,
    validation_size: int = 0,
    extra: bool = False,
    one_hot: bool = False,
    augmentation: bool = False,
    cutout: bool = False,
    normalize: bool | None = None,
    data_dir: Path | str | None = None,
    download: bool = True,
    mirrors: tuple[str, ...] | None = None,
    verify: bool = True,
) -> Task:
    """Street View House Numbers, 73,257 training and 26,032 test photographs of digits, 32x32 pixels, in ten classes.

    Inputs are `(3, 32, 32)` between 0 and 1; images stay bytes in memory (305 MB, with
    the extra ones 1.9 GB). Files are expected where torchvision puts them,
    `DATA_DIR/train_32x32.mat`, `test_32x32.mat` and `extra_32x32.mat`; what is missing
    or damaged is downloaded (246 MB, and 1.3 GB for the extra ones), with a message.
    What was read from them is kept in `DATA_DIR/prepared`.

    Args:
        validation_size: Number of validation images, the first ones of the training
            set; 0 for no validation split.
        extra: Whether 531,131 more, easier images are added to the training set, behind
            the others.
        one_hot: Whether targets are one-hot rows instead of class indices.
        augmentation: Whether training images are shifted at random by up to four
            pixels; all inputs are then normalised as well.
        cutout: Whether augmentation makes a square of 20x20 pixels blank as well.
        normalize: Whether to subtract ImageNet's mean and divide by its standard
            deviation, channel by channel; by default exactly with augmentation.
        data_dir: Folder of downloaded data; by default `$HYPNET_DATA`, else
            `~/.cache/hypnet`.
        download: Whether missing or damaged files may be downloaded.
        mirrors: Addresses of folders to download from, tried in turn; by default the
            authors'.
        verify: Whether every file must have the published MD5 checksum, downloaded or
            found. Without, other data in the same format is taken as well.

    Raises:
        DataError: A file is missing, damaged or holds something else, and cannot be
            downloaded.
        ConfigError: `validation_size` leaves nothing to learn from, or cutout is asked
            for without augmentation.

    References:
        Y. Netzer, T. Wang, A. Coates, A. Bissacco, B. Wu and A. Y. Ng, *Reading Digits
        in Natural Images with Unsupervised Feature Learning*, NIPS Workshop on Deep
        Learning and Unsupervised Feature Learning, 2011.
    """
    root = data_directory(data_dir)
    sources = SVHN.sources(root, mirrors=mirrors, verify=verify)[: 3 if extra else 2]
    name = "svhn_extra" if extra else "svhn"
    arrays = prepared(
        root / "prepared" / f"{name}.arrays",
        sources,
        lambda: _joined([source.path for source in sources]),
        download=download,
    )
    # One store for all, the extra images last: so every image has the same id with and
    # without them.
    samples = Samples.of(arrays["x"], arrays["y"])
    ends = arrays["ends"].tolist()
    rows = torch.arange(len(samples))
    train, val = held_out(
        Split(samples, torch.cat([rows[: ends[0]], rows[ends[1] :]])), validation_size
    )
    return image_task(
        "svhn",
        train,
        Split(samples, rows[ends[0] : ends[1]]),
        val,
        classes=10,
        preprocessing=PREPROCESSING,
        one_hot=one_hot,
        augmentation=augmentation,
        normalize=normalize,
        cutout=cutout,
    )


def _joined(files: list[Path]) -> Arrays:
    """The images and labels of all files, one behind the other, and where each file ends."""
    parts = [_read(file) for file in files]
    return {
        "x": np.concatenate([x for x, _ in parts]),
        "y": np.concatenate([y for _, y in parts]),
        "ends": np.cumsum([len(y) for _, y in parts]),
    }


def _read(file: Path) -> tuple[Array, Array]:
    """The images, bytes `[N, 3, 32, 32]`, and the labels, bytes `[N]`, in a file of MATLAB's."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    # scipy's reader fails in many ways on what is not in the format
    damage = (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        NotImplementedError,
        MemoryError,
        EOFError,
        zlib.error,
        MatReadError,
    )
    try:
        content = loadmat(file, variable_names=["X", "y"])
        x, y = np.asarray(content["X"]), np.asarray(content["y"]).reshape(-1)
    except (OSError, *damage) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"cannot read {file}: {error.strerror}") from error
        raise DataError(
            f"{file} is no MATLAB file of images X and labels y ({error}): delete it, and download"
            " it again"
        ) from error
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
    return np.ascontiguousarray(x.transpose(3, 2, 0, 1)), (y % 10).astype(np.uint8)
