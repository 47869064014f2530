"""Downloads over HTTP: visible, checked, and whole or not there."""

from __future__ import annotations

import contextlib
import hashlib
import http
import http.client
import logging
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypnet_core.errors import ConfigError
from hypnet_data._io.writing import whole_file

_LOGGER = logging.getLogger("hypnet.data")
_CHUNK = 1 << 20
_SECONDS = 30.0
_SECONDS_BETWEEN_LINES = 10.0


class MirrorError(Exception):
    """A mirror did not give what was asked of it; the next one may."""


def download(url: str, path: Path, *, md5: str | None = None) -> None:
    """Download one file.

    It says what, how big, whence and where to, and shows how far it is.

    Args:
        url: What to download, `http://` or `https://`.
        path: Where to; it takes this name only when it is complete and right.
        md5: The checksum that it must have; `None` for any.

    Raises:
        MirrorError: The server did not give it, or gave something else.
        ConfigError: `url` is no web address.
        DataError: The file cannot be written.
    """
    with _opened(url) as response, whole_file(path) as file:
        expected = response.length
        # A warning, so that it shows where nobody has set up logging as well: downloads
        # must not be hidden.
        _LOGGER.warning(
            "downloading %s (%s) from %s to %s", path.name, _size(expected), url, path.parent
        )
        digest, received = new_md5(), 0
        with progress(path.name, expected) as arrived:
            while chunk := _read(response):
                file.write(chunk)
                digest.update(chunk)
                received += len(chunk)
                arrived(received)
        if not received:
            raise MirrorError("the answer is empty")
        if expected is not None and received != expected:
            raise MirrorError(f"the connection broke after {received} of {expected} bytes")
        if md5 is not None and digest.hexdigest() != md5:
            raise MirrorError(f"the file has MD5 checksum {digest.hexdigest()}, should have {md5}")


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirections from web address to web address, and nowhere else."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        """The request that follows."""
        if not _is_web_address(newurl):
            raise MirrorError(f"it redirects to {newurl}, which is no http:// or https:// address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opened(url: str) -> http.client.HTTPResponse:
    """The answer of a server, if it is the file and not an excuse."""
    try:
        if not _is_web_address(url):
            raise ConfigError(f"a mirror must be an http:// or https:// address, got {url!r}")
        response: http.client.HTTPResponse = urllib.request.build_opener(_WebOnly).open(
            url, timeout=_SECONDS
        )
    except (OSError, http.client.HTTPException) as error:
        raise MirrorError(_reason(error)) from error
    except ValueError as error:  # UnicodeError as well: a host or port that cannot be
        raise MirrorError(f"the address cannot be used: {error}") from error
    if response.status != http.HTTPStatus.OK:
        response.close()
        raise MirrorError(f"HTTP {response.status} {response.reason}")
    return response


def _is_web_address(url: str) -> bool:
    return urllib.parse.urlsplit(url).scheme in {"http", "https"}


def new_md5() -> hashlib._Hash:
    """An MD5 digest: against damage, not against malice; it is what the data's authors publish."""
    return hashlib.md5(usedforsecurity=False)


@contextlib.contextmanager
def progress(name: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show how many bytes are done: a bar on a terminal, a line every ten seconds elsewhere.

    Nothing is shown when the logger `hypnet.data` is above `INFO`.

    Args:
        name: What is being done.
        total: How many bytes it will be; `None` where nobody knows, 0 to show nothing.
    """
    if total == 0:
        yield _silent
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    if not (console.is_terminal and _LOGGER.isEnabledFor(logging.INFO)):
        yield _Lines(name, total)
        return
    columns = (
        "{task.description}",
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=total)
        yield lambda received: bar.update(task, completed=received)


def _silent(_done: int) -> None:
    """Small things need no progress."""


class _Lines:
    def __init__(self, name: str, total: int | None) -> None:
        self.name = name
        self.total = total
        self.last = time.monotonic()

    def __call__(self, received: int) -> None:
        now = time.monotonic()
        if now - self.last >= _SECONDS_BETWEEN_LINES:
            self.last = now
            _LOGGER.info("%s: %s of %s", self.name, _size(received), _size(self.total))


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise MirrorError(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    return str(getattr(error, "reason", None) or error) or type(error).__name__


def _size(count: int | None) -> str:
    if count is None:
        return "size unknown"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
