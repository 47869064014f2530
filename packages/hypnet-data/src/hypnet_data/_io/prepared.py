"""Prepared arrays: the content of a dataset's files in a form that loads at disk speed.

One file holds a line with a checksum and a header (JSON), followed by the bytes of the
arrays. The header names the source files, so that they are read again when one of them
changes, and the shape, type and checksum of each array, so that damage is noticed.
"""

from __future__ import annotations

import json
import logging
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hypnet_core.errors import DataError
from hypnet_data._io.downloads import data_file
from hypnet_data._io.files import Source, is_thorough, note_use

_LOGGER = logging.getLogger("hypnet.data")
_VERSION = 2  # of the format; files of other versions are prepared again
_LONGEST = 1 << 20  # upper bound of the length of a header in bytes

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = dict[str, Array]


def prepared(
    path: Path,
    sources: Sequence[Source],
    read: Callable[[], Mapping[str, Array]],
    *,
    download: bool,
) -> Arrays:
    """The arrays of a dataset: prepared in `path`, or read from the source files.

    Prepared arrays are valid as long as no source file has changed its size or its time
    of modification. A source that had the published checksum may be deleted. If `path`
    cannot be written, the arrays are read from the sources every time.

    Args:
        path: File of the prepared arrays.
        sources: The files that they are read from.
        read: Reads the arrays from the source files; called when all of them exist and
            have their checksums.
        download: Whether missing files may be downloaded.

    Raises:
        DataError: A source file is missing or damaged, and cannot be downloaded.
    """
    # Recorded even if arrays are kept, for `hypnet data info`.
    for source in sources:
        note_use(source.path)
    note_use(path)
    # A thorough preparation reads the sources even if the arrays are there.
    found = None if is_thorough() else _kept(path, sources)
    if found is not None:
        return found
    for source in sources:
        source.obtain(download=download)
    # Taken before the files are read, so that a change in between is noticed.
    header = [_entry(source) for source in sources]
    arrays = dict(read())
    try:
        with data_file(path) as file:
            _write(file, header, arrays)
    except DataError as error:
        _LOGGER.info("the arrays cannot be kept, so loading stays slow: %s", error)
    return arrays


def _entry(source: Source) -> dict[str, Any]:
    try:
        state = source.path.stat()
    except OSError as error:
        raise DataError(f"cannot read {source.path}: {error.strerror or error}") from error
    return {
        "name": source.path.name,
        "size": state.st_size,
        "mtime": state.st_mtime_ns,
        "md5": source.md5,
    }


def _write(file: BinaryIO, sources: list[dict[str, Any]], arrays: Arrays) -> None:
    # Flat views as bytes, so that checksums and writing copy nothing.
    parts = {
        name: np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        for name, array in arrays.items()
    }
    described = [
        {
            "name": name,
            "shape": array.shape,
            # Includes the byte order, which differs between machines.
            "dtype": array.dtype.str,
            "crc32": zlib.crc32(parts[name].data),
        }
        for name, array in arrays.items()
    ]
    header = json.dumps({"version": _VERSION, "sources": sources, "arrays": described}).encode()
    # Eight hexadecimal digits, so that the header starts at a fixed place.
    file.write(b"%08x %s\n" % (zlib.crc32(header), header))
    file.writelines(part.data for part in parts.values())


def _kept(path: Path, sources: Sequence[Source]) -> Arrays | None:
    """The prepared arrays, if they are complete and come from these files."""
    try:
        with path.open("rb") as file:
            header = _header(file)
            if not _comes_from(header["sources"], sources):
                return None
            return _arrays(file, header["arrays"])
    except FileNotFoundError:
        return None
    # Any damage is recoverable: the arrays are read from the sources again.
    except (
        OSError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        MemoryError,
        RecursionError,
    ) as error:
        _LOGGER.info("%s cannot be used, so the source files are read again: %s", path, error)
        return None


def _header(file: BinaryIO) -> dict[str, Any]:
    # Bounded, as a damaged file may have no line break.
    checksum, _, text = file.readline(_LONGEST).rstrip(b"\n").partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        raise ValueError("its header is damaged, or of an older version")
    header: dict[str, Any] = json.loads(text)
    if header["version"] != _VERSION:
        raise ValueError(f"it has version {header['version']}, not {_VERSION}")
    return header


def _arrays(file: BinaryIO, entries: list[dict[str, Any]]) -> Arrays:
    arrays = {entry["name"]: _array(file, entry) for entry in entries}
    if file.read(1):
        raise ValueError("there are bytes after the last array")
    return arrays


def _array(file: BinaryIO, entry: dict[str, Any]) -> Array:
    dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
    # A damaged header may ask for anything, so the length is checked.
    flat = np.fromfile(file, dtype=np.uint8, count=math.prod(shape) * dtype.itemsize)
    if len(flat) != math.prod(shape) * dtype.itemsize or zlib.crc32(flat.data) != entry["crc32"]:
        raise ValueError(f"its array {entry['name']!r} is damaged")
    # Both are views: an array is read straight into place.
    found: Array = flat.view(dtype).reshape(shape)
    return found


def _comes_from(entries: list[dict[str, Any]], sources: Sequence[Source]) -> bool:
    return len(entries) == len(sources) and all(
        _is_of(entry, source) for entry, source in zip(entries, sources, strict=True)
    )


def _is_of(entry: dict[str, Any], source: Source) -> bool:
    # Sources are compared in order, so a name at another place means a change.
    if entry["name"] != source.path.name:
        return False
    # A deleted source is fine only if its content was verified.
    verified = source.md5 is not None and entry["md5"] == source.md5
    if not (verified or source.md5 is None):
        return False
    try:
        state = source.path.stat()
    except FileNotFoundError:
        return verified
    return bool(entry["size"] == state.st_size and entry["mtime"] == state.st_mtime_ns)
