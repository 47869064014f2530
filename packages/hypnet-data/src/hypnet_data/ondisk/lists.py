"""Lists that come with datasets of images, and the images in folders.

A list may have been through editors and other systems: any line ends, UTF-8 or UTF-16,
with or without a byte order mark or a last line break. It must be complete, and agree
with the images that are there.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hypnet_core.errors import DataError

_ENDINGS = (".jpg", ".jpeg", ".png")  # in lower case

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# Most entries: names without dots in front, which need no closer look.
_PLAIN = re.compile(r"(?:\w[\w.-]*/)*\w[\w.-]*", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# A drive of Windows, or a control character, which no published name has.
_IMPOSSIBLE = re.compile(r"^[A-Za-z]:|[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Lines:
    """The lines of a list that are not blank.

    Attributes:
        path: The file.
        rows: Number of each line, from 1, and its words.
        finished: Whether the last line ends with a line break.
    """

    path: Path
    rows: tuple[tuple[int, list[str]], ...]
    finished: bool

    def damage(self, number: int, expected: str) -> DataError:
        """The error of a line that should be something else."""
        words = dict(self.rows).get(number, [])
        found = " ".join(words)[:60]
        return DataError(
            f"{self.path} is damaged: line {number} should be {expected}, is {found!r}"
        )

    def table(self, expected: str) -> dict[str, str]:
        """Words by number, of lines with a number and a word.

        Args:
            expected: Such a line, for the error message.

        Raises:
            DataError: A line has another form, or a number is there twice.
        """
        found: dict[str, str] = {}
        for number, words in self.rows:
            if len(words) != 2 or not words[0].isascii() or not words[0].isdigit():
                raise self.damage(number, expected)
            if words[0] in found:
                raise DataError(
                    f"{self.path} is damaged: line {number} names {words[0]} a second time"
                )
            found[words[0]] = words[1]
        return found

    def check_finished(self) -> None:
        """Refuse a list whose last number may be cut in the middle.

        Raises:
            DataError: The last line has no line break.
        """
        if not self.finished:
            raise DataError(
                f"{self.path} may be cut: its last line has no line break; add one if the list is"
                " complete"
            )


def lines_of(path: Path, what: str, guide: str) -> Lines:
    """Read a list of words separated by spaces.

    Args:
        path: The file.
        what: Its content, for the error message.
        guide: Page of the documentation that says how to get it.

    Raises:
        DataError: It is missing, empty, or not text.
    """
    text = text_of(path, what, guide)
    rows = tuple(
        (number, line.split()) for number, line in enumerate(text.split("\n"), 1) if line.strip()
    )
    if not rows:
        raise DataError(f"{path} is empty ({what}): docs/data/{guide}.md says how to prepare it")
    return Lines(path, rows, text.endswith("\n"))


def columns_of(path: Path, wanted: Sequence[str], what: str, guide: str) -> list[list[str]]:
    """Read some columns of a table of comma-separated values with a header.

    Args:
        path: The file.
        wanted: Names of the columns.
        what: Its content, for the error message.
        guide: Page of the documentation that says how to get it.

    Returns:
        The values of these columns in each row.

    Raises:
        DataError: It is missing, empty or not text, lacks a column or has it twice, or
            a row does not have as many values as the header.
    """
    text = text_of(path, what, guide)
    try:
        header, *rows = [row for row in csv.reader(io.StringIO(text), strict=True) if row] or [[]]
    except csv.Error as error:
        raise DataError(f"{path} is damaged: {error}") from error
    header = [name.strip() for name in header]
    wrong = next((name for name in wanted if header.count(name) != 1), None)
    if wrong is not None:
        raise DataError(
            f"{path} is damaged: it needs the columns {', '.join(wanted)}, once each (wrong:"
            f" {wrong})"
        )
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise DataError(
                f"{path} is damaged: row {number} has {len(row)} of {len(header)} values"
            )
    # A value at the very end may be cut in the middle, and nothing would show it.
    if header[-1] in wanted and not text.endswith("\n"):
        raise DataError(
            f"{path} may be cut: its last line has no line break; add one if the table is complete"
        )
    places = [header.index(name) for name in wanted]
    return [[row[place].strip() for place in places] for row in rows]


def text_of(path: Path, what: str, guide: str) -> str:
    r"""The text of a file, with `\n` as line ends.

    Args:
        path: The file.
        what: Its content, for the error message.
        guide: Page of the documentation that says how to get it.

    Raises:
        DataError: It is missing, empty, or not text in UTF-8 or UTF-16.
    """
    try:
        content = needed(path, what, guide).read_bytes()
        encoding = "utf-16" if content.startswith(_UTF16) else "utf-8-sig"
        text = content.decode(encoding)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({what}): {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} cannot be read ({what}): it is not text in UTF-8 or UTF-16 ({error.reason})"
        ) from error
    # A damaged byte that counts as a space would split a word in two.
    if _CONTROL.search(text):
        raise DataError(
            f"{path} cannot be read ({what}): it is not text, there are control characters"
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def needed(path: Path, what: str, guide: str) -> Path:
    """Check that a file or folder exists.

    Args:
        path: The file or folder.
        what: Its content, for the error message.
        guide: Page of the documentation that says how to get it.

    Raises:
        DataError: It is missing or empty.
    """
    try:
        state = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"{path} is missing ({what}): docs/data/{guide}.md says how to prepare it"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({what}): {error.strerror or error}") from error
    if stat.S_ISREG(state.st_mode) and not state.st_size:
        raise DataError(f"{path} is empty ({what}): docs/data/{guide}.md says how to prepare it")
    return path


def images_in(folder: Path, *, nested: bool = False) -> list[str]:
    """The images in a folder by name, sorted; hidden files are none.

    macOS adds hidden files, `._photo.jpg` beside `photo.jpg`.

    Args:
        folder: The folder.
        nested: Whether images are in folders of this folder: `kind/photo.jpg`.

    Raises:
        DataError: The folder cannot be read, an image is a link out of it or to
            nothing, or two names are one image.
    """
    found = sorted(_entries(folder, nested=nested), key=lambda entry: entry[0])
    links = [(name, Path(path)) for name, path, is_link in found if is_link]
    if links:
        _check_links(folder, links, [name for name, _, is_link in found if not is_link])
    return [name for name, _, _ in found]


def _entries(folder: Path, *, nested: bool) -> Iterator[tuple[str, str, bool]]:
    """Name, path, and whether it is a link, of each image in a folder.

    Texts, as a `Path` for each of a million images would take seconds.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if nested and entry.is_dir():
                    yield from (
                        (f"{entry.name}/{name}", path, is_link or entry.is_symlink())
                        for name, path, is_link in _entries(Path(entry), nested=False)
                    )
                # Links are followed later, where broken ones are named.
                elif entry.name.lower().endswith(_ENDINGS) and (
                    entry.is_symlink() or entry.is_file()
                ):
                    yield entry.name, entry.path, entry.is_symlink()
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror or error}") from error


def _check_links(folder: Path, links: Iterable[tuple[str, Path]], plain: Iterable[str]) -> None:
    whole = folder.resolve()
    named: dict[str, str] = {name: name for name in plain}
    for name, path in links:
        target = _target(path)
        if not target.is_relative_to(whole):
            raise DataError(f"{path} is a link out of its folder, to {target}: copy the image")
        # A link to an image of the folder would count that image twice.
        inside = target.relative_to(whole).as_posix()
        if inside in named:
            raise DataError(f"{path} and {named[inside]} are the same image")
        named[inside] = name


def _target(path: Path) -> Path:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # the latter for links in a circle
        raise DataError(f"{path} is a broken link: put the image there") from error
    if not target.is_file():
        raise DataError(f"{path} is a link to {target}, which is not a file")
    return target


def check_folders(root: Path, names: Iterable[str]) -> None:
    """Check that no folder of images has two names: its images would count twice.

    Args:
        root: The folder that names are relative to.
        names: The images.

    Raises:
        DataError: Two folders are the same one, by a link.
    """
    found: dict[Path, str] = {}
    for name in dict.fromkeys(name.rpartition("/")[0] for name in names):
        place = (root / name).resolve()
        if place in found:
            raise DataError(
                f"{root / name} and {root / found[place]} are the same folder: one of them is a"
                " link, put its own images there"
            )
        found[place] = name


def entry_of(name: str, path: Path) -> str:
    r"""The name of an image in a list, as a path with `/` below the folder of images.

    Args:
        name: The entry; `\` of Windows becomes `/`, and `./` is left out.
        path: The list, for the error message.

    Raises:
        DataError: The entry leads out of the folder, or is no name.
    """
    if _PLAIN.fullmatch(name):
        return name
    found = PurePosixPath(name.replace("\\", "/"))
    if found.is_absolute() or ".." in found.parts or _IMPOSSIBLE.search(name) or not found.name:
        raise DataError(
            f"{path} names {name[:60]!r}, a path out of the folder of images: it is not the"
            " original"
        )
    return found.as_posix()


def check_images(names: Sequence[str], folder: Path, present: Iterable[str], path: Path) -> None:
    """Check that a list names each image of a folder exactly once.

    Args:
        names: The entries of the list, from `entry_of`.
        folder: The folder of images.
        present: The images in it, from `images_in`.
        path: The list, for the error message.

    Raises:
        DataError: An image is named twice, is missing, or is not named.
    """
    there: set[str] = set(present)
    listed: set[str] = set()
    for name in names:
        if name in listed:
            raise DataError(f"{path} names {name} twice: it is damaged")
        listed.add(name)
    missing = [name for name in names if name not in there]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(
            f"{folder / missing[0]} is missing{more}, but {path.name} names it: unpack the images"
            " again"
        )
    surplus = sorted(there - listed)
    if surplus:
        raise DataError(
            f"{path} names {len(names)} of the {len(there)} images in {folder}, not {surplus[0]}:"
            " the list is cut, or the folder holds images of something else"
        )
