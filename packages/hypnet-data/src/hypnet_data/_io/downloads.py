"""Downloads over HTTP: visible, checked and atomic."""

from __future__ import annotations

import hashlib
import http
import http.client
import logging
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from hypnet_core.errors import ConfigError, DataError
from hypnet_core.runs import atomic_file, progress

_LOGGER = logging.getLogger("hypnet.data")
_CHUNK = 1 << 20  # few calls, and still frequent progress
_SECONDS = 30.0  # without an answer, until the next mirror is tried


class MirrorError(Exception):
    """A mirror failed; the next one may succeed."""


def download(url: str, path: Path, *, md5: str | None = None) -> None:
    """Download one file.

    A message names the file, its size, its source and its destination, and a bar shows
    the progress.

    Args:
        url: Address of the file, `http://` or `https://`.
        path: Destination; the file takes this name only when it is complete and
            correct.
        md5: Required checksum; `None` for any.

    Raises:
        MirrorError: The server did not answer with the right file.
        ConfigError: `url` is not a web address.
        DataError: The file cannot be written.
    """
    with _opened(url) as response, data_file(path) as file:
        expected = response.length
        # A warning, so that it is visible even without logging: no hidden downloads.
        _LOGGER.warning(
            "downloading %s (%s) from %s to %s", path.name, _size(expected), url, path.parent
        )
        digest, received = new_md5(), 0
        # Without a length the bar counts bytes only.
        with progress(expected, unit="byte") as shown:
            while chunk := _read(response):
                file.write(chunk)
                # Digested on the way, so that a large file is not read a second time.
                digest.update(chunk)
                received += len(chunk)
                shown.advance(received, description=path.name)
        if not received:
            raise MirrorError("the answer is empty")
        # http.client does not notice every connection that breaks.
        if expected is not None and received != expected:
            raise MirrorError(f"the connection broke after {received} of {expected} bytes")
        if md5 is not None and digest.hexdigest() != md5:
            raise MirrorError(f"the file has MD5 checksum {digest.hexdigest()}, should have {md5}")


@contextmanager
def data_file(path: Path) -> Iterator[BinaryIO]:
    """Open a data file for writing that takes its name only when it is complete.

    Raises:
        DataError: It cannot be written: no permission, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Leaving by an error removes the unfinished file.
        with atomic_file(path) as file:
            yield file
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}; make room, or choose another data_dir"
        ) from error


# urllib would also follow a redirection to ftp://.
class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Follow redirections to `http://` and `https://` addresses only."""

    def redirect_request(  # noqa: PLR0917  the signature of the base class
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        """The next request."""
        if not _is_web_address(newurl):
            raise MirrorError(
                f"it redirects to {newurl}, which is not an http:// or https:// address"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opened(url: str) -> http.client.HTTPResponse:
    """The response of a server, if its status is OK."""
    try:
        # Anything else, such as file://, would read from this machine.
        if not _is_web_address(url):
            raise ConfigError(f"a mirror must be an http:// or https:// address, got {url!r}")
        response: http.client.HTTPResponse = urllib.request.build_opener(_WebOnly).open(
            url, timeout=_SECONDS
        )
    except (OSError, http.client.HTTPException) as error:
        raise MirrorError(_reason(error)) from error
    except ValueError as error:  # UnicodeError as well: an impossible host or port
        raise MirrorError(f"the address cannot be used: {error}") from error
    # Other successes (206, 203, …) are not the complete original file.
    if response.status != http.HTTPStatus.OK:
        # An answer that is not read must be closed by hand.
        response.close()
        raise MirrorError(f"HTTP {response.status} {response.reason}")
    return response


def _is_web_address(url: str) -> bool:
    return urllib.parse.urlsplit(url).scheme in {"http", "https"}


def new_md5() -> hashlib._Hash:
    """An MD5 digest, as published for the data: it detects damage, not malice."""
    # The flag allows MD5 on systems that restrict it to such uses.
    return hashlib.md5(usedforsecurity=False)


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise MirrorError(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    # Without a text of its own, the name of the error is better than nothing.
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(reason) or type(error).__name__


def _size(count: int | None) -> str:
    if count is None:
        return "size unknown"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
