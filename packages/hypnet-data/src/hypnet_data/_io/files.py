"""Where data files live, and how they get there: found, checked and downloaded, never half."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from hypnet_core.errors import ConfigError, DataError
from hypnet_data._io.downloads import MirrorError, download, new_md5, progress
from hypnet_data._io.writing import whole_file

__all__ = [
    "Preparation",
    "Source",
    "data_directory",
    "note_use",
    "obtain",
    "preparation",
    "whole_file",
]

_LARGE = 100_000_000
"""A file of so many bytes takes a second to check: long enough to show how far it is."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Source:
    """A file that a dataset is read from.

    Attributes:
        path: Where it is, or will be.
        mirrors: Addresses of folders that hold a file of the same name, tried in turn.
        md5: The checksum that it must have; `None` for any.

    Raises:
        ConfigError: `mirrors` is one address instead of a list of them.
    """

    path: Path
    mirrors: tuple[str, ...] = ()
    md5: str | None = None

    def __post_init__(self) -> None:
        _check_mirrors(self.mirrors)

    def obtain(self, *, download: bool) -> Path:
        """The file, downloaded if it is missing or damaged; see `obtain`."""
        note_use(self.path)
        return obtain(self.path, self.mirrors, md5=self.md5, download=download)


@dataclass
class Preparation:
    """What happens to files while a dataset is built.

    Attributes:
        thorough: Whether original files are checked and read even if what they hold was
            kept.
        used: The files and folders that the dataset stems from.
    """

    thorough: bool = False
    used: list[Path] = field(default_factory=list)


_CURRENT: ContextVar[Preparation | None] = ContextVar("preparation", default=None)


@contextlib.contextmanager
def preparation(*, thorough: bool = False) -> Iterator[Preparation]:
    """Watch over the building of a dataset, in this thread.

    Args:
        thorough: Whether original files are checked and read even if what they hold was
            kept.
    """
    current = Preparation(thorough)
    token = _CURRENT.set(current)
    try:
        yield current
    finally:
        _CURRENT.reset(token)


def is_thorough() -> bool:
    """Whether original files are to be checked and read, whatever was kept of them."""
    current = _CURRENT.get()
    return current is not None and current.thorough


def note_use(path: Path) -> None:
    """Tell whoever watches that a dataset stems from a file or folder."""
    current = _CURRENT.get()
    if current is not None and path not in current.used:
        current.used.append(path)


def data_directory(chosen: Path | str | None = None) -> Path:
    """The folder that holds downloaded data.

    Args:
        chosen: The caller's choice. By default the environment variable `HYPNET_DATA`,
            else `hypnet` in the cache folder of the user (`XDG_CACHE_HOME`, else
            `~/.cache`).
    """
    if chosen is not None:
        return Path(chosen).expanduser()
    if named := os.environ.get("HYPNET_DATA"):
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "hypnet"


def obtain(path: Path, mirrors: Sequence[str], *, md5: str | None, download: bool) -> Path:
    """The file at `path`, downloaded if it is missing or damaged.

    Processes that want the same file at once wait for each other, and the first one
    downloads it.

    Args:
        path: Where it is, or will be.
        mirrors: Addresses of folders that hold a file of the same name, tried in turn.
        md5: The checksum that it must have; `None` for any.
        download: Whether it may be downloaded.

    Raises:
        DataError: It is missing or damaged, and there is no way to get it, or no way to
            write it.
        ConfigError: A mirror is no web address, or `mirrors` is no list.
    """
    _check_mirrors(mirrors)
    problem = _problem(path, md5)
    if problem is None:
        return path
    if not download:
        raise DataError(
            f"{path} {problem}: set download=true to get it, or put the file there yourself"
        )
    with locked(path):
        if _problem(path, md5) is None:  # meanwhile somebody else has got it
            return path
        _remove_unfinished(path)
        return _from_a_mirror(path, mirrors, md5)


def _check_mirrors(mirrors: Sequence[str]) -> None:
    if isinstance(mirrors, str):
        raise ConfigError(
            f"mirrors must be a list of addresses, got the text {mirrors!r}: write [{mirrors!r}]"
        )


def _remove_unfinished(path: Path) -> None:
    """Remove what is left of downloads that were killed; whoever holds the lock is the only one who downloads this file."""
    with contextlib.suppress(OSError):  # what is left takes room, and does no harm
        for part in path.parent.iterdir():
            if part.name.startswith(f".{path.name}.") and part.name.endswith(".part"):
                part.unlink(missing_ok=True)


def _from_a_mirror(path: Path, mirrors: Sequence[str], md5: str | None) -> Path:
    failures = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{path.name}"
        try:
            download(url, path, md5=md5)
        except MirrorError as failure:
            failures.append(f"{url}: {failure}")
        else:
            return path
    tried = "; ".join(failures) or "no mirrors were given"
    raise DataError(
        f"cannot download {path.name} ({tried}): check the network, or put the file at {path}"
        " yourself"
    )


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Whoever else prepares the same file waits, also in another process.

    The lock is an empty, hidden file beside the file, which stays there; the system
    gives the lock back when a process ends, however it ends. Where the file system has
    no locks, it is in a folder for temporary files of the user's own.

    Raises:
        DataError: The folder cannot be made or written, or nothing can be locked.
    """
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise DataError(
            f"{folder} is a file, but should be a folder: move it away, or choose another data_dir"
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot make the folder {folder}: {error.strerror or error}; choose another data_dir"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(
            f"cannot write in the folder {folder}: you have no permission; choose another data_dir"
        )
    with _lock(path):
        yield


def _lock(path: Path) -> contextlib.AbstractContextManager[object]:
    from filelock import FileLock

    try:
        return FileLock(path.with_name(f".{path.name}.lock"), mode=0o666).acquire()
    except OSError:
        try:
            return FileLock(
                _folder_of_locks()
                / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]}.lock"
            ).acquire()
        except OSError as error:
            raise DataError(
                f"cannot lock {path} while it is prepared: {error.strerror or error}"
            ) from error


def _folder_of_locks() -> Path:
    """A folder for temporary files that is the user's own: in a shared one, anybody could be in the way."""
    import tempfile

    if sys.platform == "win32":  # there, the folder for temporary files is the user's own already
        return Path(tempfile.gettempdir())
    folder = Path(tempfile.gettempdir()) / f"hypnet-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid():
        raise PermissionError(errno.EACCES, f"{folder} belongs to somebody else")
    return folder


def _problem(path: Path, md5: str | None) -> str | None:
    """What is wrong with a file, as the end of a sentence; `None` if nothing is."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror or error}; choose another data_dir"
        ) from error
    if stat.S_ISDIR(state.st_mode):
        raise DataError(
            f"{path} is a folder, but should be a file: move it away, or choose another data_dir"
        )
    if not state.st_size:
        return "is empty"
    if md5 is not None and (found := _md5_of(path)) != md5:
        return f"is damaged (its MD5 checksum is {found}, should be {md5})"
    return None


def _md5_of(path: Path) -> str:
    digest, read, size = new_md5(), 0, path.stat().st_size
    try:
        with (
            path.open("rb") as file,
            progress(f"checking {path.name}", size if size >= _LARGE else 0) as told,
        ):
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                read += len(chunk)
                told(read)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()
