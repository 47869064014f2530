"""CIFAR's files: batches of images in Python pickles, in a tar archive.

A pickle is a program. A pickle is only opened if it has the published checksum, and
even then it may create nothing but arrays.
"""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hypnet_core.errors import DataError
from hypnet_data._io.downloads import new_md5
from hypnet_data._io.prepared import Array, Arrays
from hypnet_data._io.published import PublishedBatches

# Far above a real batch (30 MB): a bomb is never read into memory.
_LARGEST = 1 << 28
# All names in the pickles of arrays, for old and new versions of numpy.
_ALLOWED = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}


def read_batches(archive: Path, published: PublishedBatches, *, classes: int) -> Arrays:
    """All images and labels of CIFAR-10 or CIFAR-100.

    Args:
        archive: The tar archive. Its batches are read without unpacking it.
        published: Its published content.
        classes: Number of classes; labels are below.

    Returns:
        `train_x` and `test_x`, bytes `[N, 3, 32, 32]`, and `train_y` and `test_y`,
        bytes `[N]`.

    Raises:
        DataError: The archive is damaged, or a batch is missing, damaged or not the
            published one.
    """
    wanted = dict(published.train + published.test)
    found: dict[str, tuple[Array, Array]] = {}
    try:
        for name, content in _members(archive, published.folder, wanted):
            _check(content, wanted[name], f"{name} in {archive}")
            found[name] = _batch(content, published.label, classes, f"{name} in {archive}")
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{archive} is not a complete tar archive ({error}): delete it, and download it again"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {archive}: {error.strerror or error}") from error
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(
            f"{archive} lacks {published.folder}/{missing[0]}: delete it, and download it again"
        )
    # Popped, so that the batches are freed as soon as they are joined.
    return _joined("train", [found.pop(name) for name, _ in published.train]) | _joined(
        "test", [found.pop(name) for name, _ in published.test]
    )


def _members(archive: Path, folder: str, wanted: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """The names and contents of the wanted files; everything else is skipped."""
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            # Archives may hold files of the same name in other folders.
            parent, _, name = member.name.rpartition("/")
            if parent != folder or name not in wanted or not member.isreg():
                continue
            # Checked before reading: the size is a claim of the archive.
            if member.size > _LARGEST:
                raise DataError(
                    f"{archive} is damaged: {member.name} would be {member.size} bytes long"
                )
            file = tar.extractfile(member)
            yield name, b"" if file is None else file.read()


def _check(content: bytes, md5: str, what: str) -> None:
    digest = new_md5()
    digest.update(content)
    if digest.hexdigest() != md5:
        raise DataError(
            f"{what} is not the published one (its MD5 checksum is {digest.hexdigest()}, should be"
            f" {md5}), and so it is not opened: delete the archive, and download it again"
        )


class _ArraysOnly(pickle.Unpickler):
    """Unpickler that refuses all but plain Python values and numpy arrays."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def _batch(content: bytes, label: str, classes: int, what: str) -> tuple[Array, Array]:
    try:
        # Strings of Python 2 are bytes; latin1 maps each byte to one character.
        entry = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
        x = np.asarray(entry["data"])
        y = np.asarray(entry[label], dtype=np.int64)
    # A pickle can fail in as many ways as a program.
    except (
        pickle.UnpicklingError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        EOFError,
        ImportError,
    ) as error:
        raise DataError(f"{what} cannot be read: {type(error).__name__}: {error}") from error
    if (
        x.dtype != np.uint8
        or x.ndim != 2
        or x.shape[1] != 3 * 32 * 32
        or y.shape != x.shape[:1]
        or not len(y)
    ):
        raise DataError(f"{what} does not hold colour images of 32x32 pixels with a label each")
    if int(y.min()) < 0 or int(y.max()) >= classes:
        wrong = int(y.min()) if int(y.min()) < 0 else int(y.max())
        raise DataError(
            f"{what} holds a label {wrong}, but there are only {classes} classes (0 to"
            f" {classes - 1})"
        )
    # Labels below 256 fit bytes, like those of other datasets.
    return x.reshape(-1, 3, 32, 32), y.astype(np.uint8)


def _joined(name: str, batches: list[tuple[Array, Array]]) -> Arrays:
    return {
        f"{name}_x": np.concatenate([x for x, _ in batches]),
        f"{name}_y": np.concatenate([y for _, y in batches]),
    }
