"""Images and labels in IDX files, the format of MNIST and its relatives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from hypnet_core.errors import DataError
from hypnet_core.tasks.split import Samples, Split
from hypnet_data.files import unpacked


def idx_split(images: Path, labels: Path, *, size: tuple[int, int], classes: int, first_id: int = 0) -> Split:
    """Grey images and their labels from two gzip archives of IDX files, raw: both stay bytes.

    Args:
        images: Archive of an array of bytes `[N, height, width]`.
        labels: Archive of an array of bytes `[N]`.
        size: Height and width that the images must have.
        classes: Number of classes; labels are below.
        first_id: Id of the first sample.

    Raises:
        DataError: A file is damaged, is no IDX file, or holds something else.
    """
    from torchvision.datasets.mnist import read_image_file, read_label_file  # noqa: PLC0415 - torchvision takes a second to import

    x = _read(images, read_image_file, "images")
    y = _read(labels, read_label_file, "labels").to(torch.uint8)
    if tuple(x.shape[1:]) != size:
        raise DataError(
            f"{images} holds images of {_by(*x.shape[1:])} pixels, should be {_by(*size)}: it is another dataset's file"
        )
    if len(x) != len(y):
        raise DataError(f"{images} holds {len(x)} images, but {labels} holds {len(y)} labels: they do not belong together")
    if len(y) and int(y.max()) >= classes:
        raise DataError(f"{labels} holds a label {int(y.max())}, but there are only {classes} classes (0 to {classes - 1})")
    samples = Samples(x[:, None], y, first_id=first_id)
    return Split(samples, torch.arange(len(samples)))


def _read(archive: Path, reader: Callable[[str], Tensor], what: str) -> Tensor:
    content = unpacked(archive)
    try:
        return reader(str(content))
    # torchvision's reader checks by assertions, and fails in many ways on what is not in the format
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(f"{archive} is no IDX file of {what}, or holds none: delete it, and download it again") from error


def _by(height: int, width: int) -> str:
    return f"{height}x{width}"
