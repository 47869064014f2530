"""Where data files live, and how they get there: found, downloaded and unpacked, never half."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import logging
import os
import secrets
import struct
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from hypnet_core.errors import ConfigError, DataError

_LOGGER = logging.getLogger(__name__)
_CHUNK = 1 << 20
_SECONDS = 30.0


class _MirrorError(Exception):
    """A mirror did not give what was asked of it; the next one may."""


def data_directory(chosen: Path | None = None) -> Path:
    """The folder that holds downloaded data.

    Args:
        chosen: The caller's choice. By default the environment variable `HYPNET_DATA`, else `hypnet` in the cache folder of the
            user (`XDG_CACHE_HOME`, else `~/.cache`).
    """
    if chosen is not None:
        return chosen.expanduser()
    if named := os.environ.get("HYPNET_DATA"):
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "hypnet"


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes its name when it is complete; after an error it is as if nothing had happened.

    Raises:
        DataError: It cannot be written: no permission, or the disk is full.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("xb") as file:
                yield file
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}; make room, or choose another data_dir") from error


def obtain(path: Path, mirrors: Sequence[str], *, md5: str | None, download: bool) -> Path:
    """The file at `path`, downloaded if it is missing or damaged.

    Args:
        path: Where it is, or will be.
        mirrors: Addresses of folders that hold a file of the same name, tried in turn.
        md5: The checksum that it must have; `None` for any.
        download: Whether it may be downloaded.

    Raises:
        DataError: It is missing or damaged, and there is no way to get it.
        ConfigError: A mirror is no web address.
    """
    problem = _problem(path, md5)
    if problem is None:
        return path
    if not download:
        raise DataError(f"{path} {problem}: set download=true to get it, or put the file there yourself")
    failures = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{path.name}"
        try:
            _download(url, path, md5)
        except _MirrorError as failure:
            failures.append(f"{url}: {failure}")
        else:
            return path
    tried = "; ".join(failures) or "no mirrors were given"
    raise DataError(f"cannot download {path.name} ({tried}): check the network, or put the file at {path} yourself")


def _problem(path: Path, md5: str | None) -> str | None:
    """What is wrong with a file, as the end of a sentence; `None` if nothing is."""
    if not path.is_file():
        return "is missing"
    if not path.stat().st_size:
        return "is empty"
    if md5 is not None and (found := _md5_of(path)) != md5:
        return f"is damaged (its MD5 checksum is {found}, should be {md5})"
    return None


def _md5_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, _new_md5).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _new_md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)  # against damage, not against malice; it is what the data's authors publish


def _download(url: str, path: Path, md5: str | None) -> None:
    """Download one file, visibly and whole."""
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise ConfigError(f"a mirror must be an http:// or https:// address, got {url!r}")
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(url, timeout=_SECONDS)  # noqa: S310 - the scheme was checked
    except (OSError, http.client.HTTPException) as error:
        raise _MirrorError(_reason(error)) from error
    with response, whole_file(path) as file:
        expected = response.length
        # A warning, so that it shows where nobody has set up logging as well: downloads must not be hidden.
        _LOGGER.warning("downloading %s (%s) from %s to %s", path.name, _size(expected), url, path.parent)
        digest, received = _new_md5(), 0
        while chunk := _read(response):
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
        if expected is not None and received != expected:
            raise _MirrorError(f"the connection broke after {received} of {expected} bytes")
        if md5 is not None and digest.hexdigest() != md5:
            raise _MirrorError(f"the file has MD5 checksum {digest.hexdigest()}, should have {md5}")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _MirrorError(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    return str(getattr(error, "reason", None) or error) or type(error).__name__


def _size(count: int | None) -> str:
    if count is None:
        return "size unknown"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def unpacked(archive: Path) -> Path:
    """The content of a gzip archive `name.gz`, as the file `name` beside it.

    It is unpacked once. A file that is there already is used only if it has the length and the CRC-32 checksum that the archive
    states, so that neither a half-written nor a changed one is ever taken for it.

    Raises:
        DataError: The archive is damaged, or there is no room to unpack it.
    """
    content = archive.with_suffix("")
    if content.is_file() and _matches(content, archive):
        return content
    try:
        with gzip.open(archive, "rb") as packed, whole_file(content) as file:
            while chunk := _unpack(packed, archive):
                file.write(chunk)
    except OSError as error:
        raise DataError(f"cannot read {archive}: {error.strerror or error}") from error
    return content


def _unpack(packed: gzip.GzipFile, archive: Path) -> bytes:
    try:
        return packed.read(_CHUNK)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{archive} is no whole gzip archive ({error}): delete it, and download it again") from error
    except OSError as error:
        raise DataError(f"cannot read {archive}: {error.strerror or error}") from error


def _matches(content: Path, archive: Path) -> bool:
    """Whether a file has the checksum and length with which a gzip archive ends."""
    with archive.open("rb") as file:
        file.seek(-min(8, archive.stat().st_size), os.SEEK_END)
        trailer = file.read()
    with content.open("rb") as file:
        checksum = 0
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return trailer == struct.pack("<II", checksum, content.stat().st_size % (1 << 32))
