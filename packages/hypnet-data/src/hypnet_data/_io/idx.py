"""Images and labels in IDX files, the format of MNIST."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnet_core.errors import DataError

_CHUNK = 1 << 20  # bytes read at once
_BYTES = 8
"""IDX's code for unsigned bytes."""
_LARGEST_RATIO = 1100
"""Gzip compresses at most 1,032 bytes to one, so a larger claim means damage."""


class _FormatError(Exception):
    """The content of an archive has another format."""


def read_images(
    images: Path, labels: Path, *, size: tuple[int, int], classes: int
) -> Mapping[str, NDArray[np.uint8]]:
    """Read grey images and their labels, as bytes, from two compressed IDX files.

    Args:
        images: Archive of an array of bytes `[N, height, width]`.
        labels: Archive of an array of bytes `[N]`.
        size: Height and width that the images must have.
        classes: Number of classes; labels are below.

    Returns:
        `x`, of shape `[N, 1, height, width]`, and `y`, of shape `[N]`.

    Raises:
        DataError: A file is damaged, is not an IDX file, or holds something else.
    """
    x, y = _read(images, size, "images"), _read(labels, (), "labels")
    if len(x) != len(y):
        raise DataError(
            f"{images} holds {len(x)} images, but {labels} holds {len(y)} labels: they do not"
            " belong together"
        )
    if int(y.max()) >= classes:
        raise DataError(
            f"{labels} holds a label {y.max()}, but there are only {classes} classes (0 to"
            f" {classes - 1})"
        )
    return {"x": x[:, None], "y": y}


def _read(archive: Path, size: tuple[int, ...], what: str) -> NDArray[np.uint8]:
    try:
        with gzip.open(archive, "rb") as packed:
            return _array(packed, _shape(packed, archive, size))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{archive} is not a complete gzip archive ({error}): delete it, and download it again"
        ) from error
    except (_FormatError, MemoryError) as error:
        raise DataError(
            f"{archive} is not an IDX file of {what}, or holds none ({error}): delete it, and"
            " download it again"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {archive}: {error.strerror or error}") from error


def _shape(packed: gzip.GzipFile, archive: Path, size: tuple[int, ...]) -> tuple[int, ...]:
    """Read the sizes in the header; each entry of the array must have `size`."""
    dimensions = 1 + len(size)
    header = packed.read(4 + 4 * dimensions)
    # Two zero bytes, the type of the numbers, the number of dimensions.
    if len(header) < 4 + 4 * dimensions or tuple(header[:4]) != (0, 0, _BYTES, dimensions):
        raise _FormatError(f"it does not start like an array of bytes in {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", header[4:])  # big-endian
    if not math.prod(shape):
        raise _FormatError(f"it claims the sizes {_by(*shape)}")
    # Checked before memory is allocated for an array of this size.
    if math.prod(shape) > _LARGEST_RATIO * archive.stat().st_size:
        raise _FormatError(f"it claims the sizes {_by(*shape)}, but is far too small for them")
    if shape[1:] != size:
        raise DataError(
            f"{archive} holds images of {_by(*shape[1:])} pixels, should be {_by(*size)}: it is"
            " another dataset's file"
        )
    return shape


def _array(packed: gzip.GzipFile, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read the array piece by piece into place, so that memory holds only one copy."""
    values = np.empty(math.prod(shape), dtype=np.uint8)
    filled = 0
    while chunk := packed.read(_CHUNK):
        # The archive may hold more than its header claims.
        if filled + len(chunk) > len(values):
            raise _FormatError(f"it has more than the {len(values)} values that it should have")
        values[filled : filled + len(chunk)] = np.frombuffer(chunk, dtype=np.uint8)
        filled += len(chunk)
    if filled < len(values):
        # A truncated archive would otherwise leave arbitrary values.
        raise _FormatError(f"it has only {filled} of {len(values)} values")
    return values.reshape(shape)


def _by(*sizes: int) -> str:
    return "x".join(map(str, sizes))
