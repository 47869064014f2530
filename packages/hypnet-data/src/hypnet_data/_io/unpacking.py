"""Unpacking archives whose content is nobody's promise: inside their own folder, without links, whole or not at all."""

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
from hypnet_data._io.downloads import progress
from hypnet_data._io.files import locked


def unpack(archive: Path, folder: str) -> Path:
    """Unpack one folder of a tar archive beside the archive, unless it is there.

    It is unpacked under another name, and takes its own when it is complete.

    Args:
        archive: The archive, `.tar` or packed.
        folder: The folder in it that is wanted.

    Raises:
        DataError: The archive is damaged, lacks the folder, or holds links or paths
            that lead out of it; or there is no room.
    """
    target = archive.parent / folder
    if target.is_dir():
        return target
    with locked(target):
        if target.is_dir():  # meanwhile somebody else has done it
            return target
        for left in archive.parent.glob(
            f".{glob.escape(folder)}.*/"
        ):  # by somebody who was killed: the lock is ours
            shutil.rmtree(left, ignore_errors=True)
        try:
            with tempfile.TemporaryDirectory(prefix=f".{folder}.", dir=archive.parent) as scratch:
                _extract(archive, Path(scratch), folder)
                if not (Path(scratch) / folder).is_dir():
                    raise DataError(
                        f"{archive} holds no folder {folder}: delete it, and download it again"
                    )
                shutil.move(Path(scratch) / folder, target)
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
            raise DataError(
                f"{archive} is no whole tar archive ({error}): delete it, and download it again"
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
        progress(f"unpacking {archive.name}", archive.stat().st_size) as told,
        tarfile.open(fileobj=file, mode="r:*") as tar,
    ):
        for member in tar:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or not (member.isreg() or member.isdir()):
                raise DataError(
                    f"{archive} holds {member.name!r}, a link or a path that leads out of the"
                    " archive: it is not the original, delete it"
                )
            if path.parts[:1] == (folder,):
                tar.extract(member, scratch, filter="data")
            told(file.tell())
