"""Data files: found, checked and, if need be, downloaded."""

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

from hypnet_core.errors import ConfigError, DataError, clipped
from hypnet_core.runs import Progress, progress
from hypnet_data._io.downloads import MirrorError, download, new_md5

_LARGE = 100_000_000  # bytes; checking such a file takes a second, so progress is shown
_CHUNK = 1 << 20  # bytes read at once


@dataclass(frozen=True)
class Source:
    """A file that a dataset is read from.

    Attributes:
        path: Path of the file, downloaded or not.
        mirrors: Addresses of folders that hold a file of the same name, tried in turn.
        md5: Required checksum; `None` for any.
        hint: An alternative for errors about the checksum, as the end of a sentence.
        advice: Another way to get a missing file, as the end of a sentence.
        package: The package of the operating system that installed the file, which is
            then never downloaded.

    Raises:
        ConfigError: `mirrors` is one address instead of a list of them.
    """

    path: Path
    mirrors: tuple[str, ...] = ()
    md5: str | None = None
    hint: str = ""
    advice: str = ""
    package: str = ""

    def __post_init__(self) -> None:
        _check_mirrors(self.mirrors)

    def obtain(self, *, download: bool) -> Path:
        """The file, downloaded if it is missing or damaged; see `obtain`.

        Raises:
            DataError: Likewise, or the file of a package is missing or damaged.
        """
        note_use(self.path)
        if not self.package:
            return obtain(
                self.path,
                self.mirrors,
                md5=self.md5,
                download=download,
                hint=self.hint,
                advice=self.advice,
            )
        # The folder belongs to the system: nothing is written there.
        if (problem := _problem(self.path, self.md5)) is not None:
            raise DataError(
                f"{self.path} {problem}: reinstall the package {self.package}, or remove it and use"
                f" other files{self.hint if 'checksum' in problem else ''}"
            )
        return self.path


@dataclass
class Preparation:
    """Records the files that are used while a dataset is built.

    Attributes:
        thorough: Whether original files are checked and read even if prepared arrays
            exist.
        used: The files and folders that the dataset is read from.
    """

    thorough: bool = False
    used: list[Path] = field(default_factory=list)


# A context variable, so that threads that build other datasets do not interfere.
_CURRENT: ContextVar[Preparation | None] = ContextVar("preparation", default=None)


@contextlib.contextmanager
def preparation(*, thorough: bool = False) -> Iterator[Preparation]:
    """Record the files of a dataset while it is built in this thread.

    Args:
        thorough: Whether original files are checked and read even if prepared arrays
            exist.
    """
    current = Preparation(thorough)
    token = _CURRENT.set(current)
    try:
        yield current
    finally:
        _CURRENT.reset(token)


def is_thorough() -> bool:
    """Whether to check and read original files even if prepared arrays exist."""
    current = _CURRENT.get()
    return current is not None and current.thorough


def note_use(path: Path) -> None:
    """Record that a dataset is read from a file or folder."""
    current = _CURRENT.get()
    if current is not None and path not in current.used:
        current.used.append(path)


def data_directory(chosen: Path | str | None = None) -> Path:
    """The folder of downloaded data.

    Args:
        chosen: An explicit choice. By default the environment variable `HYPNET_DATA`,
            else `hypnet` in the user's cache folder (`XDG_CACHE_HOME`, else
            `~/.cache`).

    Raises:
        DataError: No folder can have this path, or it cannot be reached.
    """
    folder = _chosen(chosen)
    try:
        folder = folder.expanduser()
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # it is made when it is needed
    except (OSError, RuntimeError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise DataError(
            f"cannot use the folder {clipped(str(folder))}: {reason}; choose another data_dir"
        ) from error
    return folder


def _chosen(chosen: Path | str | None) -> Path:
    if chosen is not None:
        return Path(chosen)
    # An empty variable counts as not set.
    if named := os.environ.get("HYPNET_DATA"):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "hypnet"


def obtain(
    path: Path,
    mirrors: Sequence[str],
    *,
    md5: str | None,
    download: bool,
    hint: str = "",
    advice: str = "",
) -> Path:
    """The file at `path`, downloaded if it is missing or damaged.

    If several processes need the file at once, the first one downloads it while the
    others wait.

    Args:
        path: Path of the file, downloaded or not.
        mirrors: Addresses of folders that hold a file of the same name, tried in turn.
        md5: Required checksum; `None` for any.
        download: Whether it may be downloaded.
        hint: An alternative for errors about the checksum, as the end of a sentence.
        advice: Another way to get a missing file, as the end of a sentence.

    Raises:
        DataError: It is missing or damaged, and cannot be downloaded or written.
        ConfigError: A mirror is not a web address, or `mirrors` is not a list.
    """
    _check_mirrors(mirrors)
    # Checked without the lock first: usually there is nothing to do.
    problem = _problem(path, md5)
    if problem is None:
        return path
    if not download:
        raise DataError(
            f"{path} {problem}: set download=true to get it, or put the file there yourself{advice}"
            f"{hint if 'checksum' in problem else ''}"
        )
    with locked(path):
        if _problem(path, md5) is None:  # another process was faster
            return path
        _remove_unfinished(path)
        return _from_a_mirror(path, mirrors, md5, hint, advice)


def _check_mirrors(mirrors: Sequence[str]) -> None:
    if isinstance(mirrors, str):
        raise ConfigError(
            f"mirrors must be a list of addresses, got the text {mirrors!r}: write [{mirrors!r}]"
        )


def _remove_unfinished(path: Path) -> None:
    """Remove the remains of killed downloads; requires the lock of the file."""
    with contextlib.suppress(OSError):  # remains take up space, but do no harm
        for part in path.parent.iterdir():
            if part.name.startswith(f".{path.name}.") and part.name.endswith(".part"):
                part.unlink(missing_ok=True)


def _from_a_mirror(
    path: Path, mirrors: Sequence[str], md5: str | None, hint: str, advice: str
) -> Path:
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
        f" yourself{advice}{hint if 'checksum' in tried else ''}"
    )


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file; other threads and processes wait.

    The lock is an empty, hidden file beside the file, which stays there. The system
    releases the lock when the process ends, however it ends. On a file system without
    locks, the lock is in a private folder for temporary files.

    Raises:
        DataError: The folder cannot be made or written, or the lock cannot be taken.
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
    # Checked first, as the lock may be elsewhere and the download would fail late.
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(
            f"cannot write in the folder {folder}: you have no permission; choose another data_dir"
        )
    with _lock(path):
        yield


def _lock(path: Path) -> contextlib.AbstractContextManager[object]:
    from filelock import FileLock

    try:
        # Writable for everybody, so that users can share a data folder.
        return FileLock(path.with_name(f".{path.name}.lock"), mode=0o666).acquire()
    except OSError:
        try:
            # Named by the path of the file, since all files share this folder.
            return FileLock(
                _folder_of_locks()
                / f"{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:16]}.lock"
            ).acquire()
        except OSError as error:
            raise DataError(
                f"cannot lock {path} while it is prepared: {error.strerror or error}"
            ) from error


def _folder_of_locks() -> Path:
    """A private folder for temporary files; in a shared one, others could interfere."""
    import tempfile

    if sys.platform == "win32":  # its folder for temporary files is private already
        return Path(tempfile.gettempdir())
    folder = Path(tempfile.gettempdir()) / f"hypnet-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # Another user may have made a folder of this name first.
    if folder.lstat().st_uid != os.getuid():
        raise PermissionError(errno.EACCES, f"{folder} belongs to another user")
    return folder


def _problem(path: Path, md5: str | None) -> str | None:
    """The problem with a file, as the end of a sentence; `None` if there is none."""
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
    # An interrupted copy may leave an empty file.
    if not state.st_size:
        return "is empty"
    # Last, because it reads the whole file.
    if md5 is not None and (found := _md5_of(path)) != md5:
        return f"is damaged (its MD5 checksum is {found}, should be {md5})"
    return None


@contextlib.contextmanager
def _shown(size: int) -> Iterator[Progress | None]:
    """The progress of reading a file; none for small ones, which take no time."""
    if size < _LARGE:
        yield None
        return
    with progress(size, unit="byte") as shown:
        yield shown


def _md5_of(path: Path) -> str:
    digest, read, size = new_md5(), 0, path.stat().st_size
    try:
        with path.open("rb") as file, _shown(size) as shown:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                read += len(chunk)
                if shown is not None:
                    shown.advance(read, description=f"checking {path.name}")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()
