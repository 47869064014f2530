"""Safe and atomic unpacking of untrusted archives."""

from __future__ import annotations

import glob
import gzip
import lzma
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

from hypnet_core.errors import DataError
from hypnet_core.runs import progress
from hypnet_data._io.files import locked


def unpack(archive: Path, folder: str) -> Path:
    """Unpack one folder of a tar archive beside the archive, unless it exists.

    The folder takes its name only when it is complete.

    Args:
        archive: The archive, `.tar` or compressed.
        folder: The folder in the archive.

    Raises:
        DataError: The archive is damaged, lacks the folder, or holds links or paths out
            of itself; or the disk is full.
    """
    target = archive.parent / folder
    if target.is_dir():
        return target
    with locked(target):
        if target.is_dir():  # another process was faster
            return target
        # Remains of a killed process: nobody else unpacks while we hold the lock.
        for left in archive.parent.glob(f".{glob.escape(folder)}.*/"):
            shutil.rmtree(left, ignore_errors=True)
        # In the same folder, so that the final move is a rename.
        try:
            with tempfile.TemporaryDirectory(prefix=f".{folder}.", dir=archive.parent) as scratch:
                _extract(archive, Path(scratch), folder)
                if not (Path(scratch) / folder).is_dir():
                    raise DataError(
                        f"{archive} has no folder {folder}: delete it, and download it again"
                    )
                shutil.move(Path(scratch) / folder, target)
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
            raise DataError(
                f"{archive} is not a complete tar archive ({error}): delete it, and download it"
                " again"
            ) from error
        except OSError as error:
            raise DataError(
                f"cannot unpack {archive}: {error.strerror or error}; make room, or choose another"
                " data_dir"
            ) from error
    return target


def _extract(archive: Path, scratch: Path, folder: str) -> None:
    with (
        archive.open("rb") as file,
        progress(archive.stat().st_size, unit="byte") as shown,
        tarfile.open(fileobj=file, mode="r:*") as tar,
    ):
        # Streamed in one pass: an index of all members would need another.
        for member in tar:
            path = PurePosixPath(member.name)
            # Checked for every member: such an archive is not the original.
            if path.is_absolute() or ".." in path.parts or not (member.isreg() or member.isdir()):
                raise DataError(
                    f"{archive} holds {member.name!r}, a link or a path out of the archive: it"
                    " is not the original, delete it"
                )
            if path.parts[:1] == (folder,):
                # The filter also refuses devices, and drops owners and special
                # permissions.
                tar.extract(member, scratch, filter="data")
            # The place in the compressed file, whose size is known.
            shown.advance(file.tell(), description=f"unpacking {archive.name}")
