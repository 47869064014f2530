"""The files of ImageNet and of its subsets."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hypnet_core.errors import DataError
from hypnet_core.errors import listed as some_of
from hypnet_data._io.matlab import read_matlab
from hypnet_data.ondisk.lists import check_folders, images_in, lines_of, needed, text_of
from hypnet_data.ondisk.task import Listing, first_of_each_class

_GUIDE = "imagenet"
_NUMBER = re.compile(r"[0-9]{1,9}")
_LOGGER = logging.getLogger("hypnet.data")


@dataclass(frozen=True)
class Classes:
    """The classes that are there, in order.

    Attributes:
        wordnet_ids: WordNet's ids, the names of the folders.
        names: Their names in words.
        numbers: Their numbers in the development kit; empty without one.
        known: Number of classes in the kit.
    """

    wordnet_ids: tuple[str, ...]
    names: tuple[str, ...]
    numbers: tuple[int, ...] = ()
    known: int = 0


def classes_of(root: Path) -> Classes:
    """The classes that have a folder of training images.

    Raises:
        DataError: There are none, a folder is not one of the development kit's classes,
            or the kit is damaged.
    """
    there = _folders(_parts(root, "train"))
    if not there:
        raise DataError(
            f"{root / 'train'} holds no folders of images: docs/data/{_GUIDE}.md says how to"
            " prepare them"
        )
    meta = root / "meta" / "data" / "meta.mat"
    if not meta.exists():
        words = _words(root / "Labels.json")
        ids = tuple(sorted(there))
        _LOGGER.warning(
            "%s: there is no development kit, so the %d classes are in the order of their folders",
            root,
            len(ids),
        )
        return Classes(ids, tuple(words.get(name, name) for name in ids))
    kit = _kit(needed(meta, "the development kit's classes", _GUIDE))
    unknown = sorted(there.keys() - {name for _, name, _ in kit})
    if unknown:
        raise DataError(
            f"{there[unknown[0]][0]} is not a class of the development kit: move the folder away"
        )
    found = [entry for entry in kit if entry[1] in there]
    if len(found) < len(kit):
        _LOGGER.warning(
            "%s: %d of the development kit's %d classes are there", root, len(found), len(kit)
        )
    numbers, ids, names = zip(*found, strict=True)
    return Classes(ids, names, numbers, len(kit))


def _kit(file: Path) -> list[tuple[int, str, str]]:
    """Number, WordNet id and words of each class of the development kit, in order."""
    fields = ("ILSVRC2012_ID", "WNID", "words", "num_children")
    expected = "the development kit's list of classes"
    content = read_matlab(
        file,
        [f"synsets.{field}" for field in fields],
        expected=expected,
        remedy="unpack it again",
    )
    columns = (content[f"synsets.{field}"].tolist() for field in fields)
    try:
        # Entries with children are groups of classes.
        found = sorted(
            (_whole(number), str(name), str(words))
            for number, name, words, children in zip(*columns, strict=True)
            if not _whole(children)
        )
    except (ValueError, OverflowError, TypeError) as error:
        raise DataError(f"{file} is not {expected} ({error}): unpack it again") from error
    if [number for number, _, _ in found] != list(range(1, len(found) + 1)):
        raise DataError(f"{file} is damaged: its classes should have the numbers 1 to {len(found)}")
    if len({name for _, name, _ in found}) < len(found):
        raise DataError(f"{file} is damaged: it names a class twice")
    return found


def _whole(number: float) -> int:
    if int(number) != number:
        raise ValueError(f"{number} is not a whole number")
    return int(number)


def _words(path: Path) -> dict[str, str]:
    """Names in words, by WordNet id, as copies of ImageNet-100 have them."""
    if not path.is_file():
        return {}
    try:
        words = json.loads(text_of(path, "the names of the classes", _GUIDE))
        return {str(name): str(text) for name, text in words.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is damaged: it should map WordNet ids to names") from error


def _parts(root: Path, name: str) -> list[Path]:
    """The folder `name`, or `name.X1`, `name.X2`… of copies in several parts."""
    if (root / name).is_dir():
        return [root / name]
    several = sorted(path for path in root.glob(f"{name}.X*") if path.is_dir())
    what = "the training images" if name == "train" else "the challenge's validation images"
    return several or [needed(root / name, what, _GUIDE)]


def _folders(parts: Iterable[Path]) -> dict[str, list[Path]]:
    """The folders of each class."""
    found: dict[str, list[Path]] = {}
    for part in parts:
        try:
            inside = [path for path in part.iterdir() if not path.name.startswith(".")]
            for path in inside:
                if path.is_dir():
                    found.setdefault(path.name, []).append(path)
        except OSError as error:
            raise DataError(f"cannot read {part}: {error.strerror or error}") from error
    return found


def listed(root: Path, classes: Classes, validation_per_class: int) -> Listing:
    """All images, with their classes and splits.

    Args:
        root: The folder of the dataset.
        classes: The classes that are there.
        validation_per_class: Number of validation images of each class.

    Raises:
        DataError: Images are missing or there twice, or a list is damaged.
    """
    train_names, train_labels = _in_folders(root, "train", classes.wordnet_ids)
    test_names, test_labels = _test(root, classes)
    # Linked folders would put the same images into two classes, or into both splits.
    check_folders(root, train_names + test_names)
    labels = torch.tensor(train_labels + test_labels)
    train = torch.arange(len(train_labels))
    # Held out per class, because training images are ordered by class.
    in_val = first_of_each_class(labels[train], validation_per_class)
    test = torch.arange(len(train_labels), len(labels))
    parts = (train[~in_val], test, train[in_val] if validation_per_class else None)
    return Listing(root, train_names + test_names, labels, parts)


def _in_folders(root: Path, name: str, wordnet_ids: Sequence[str]) -> tuple[list[str], list[int]]:
    """Images in one folder per class, ordered by class and then by name."""
    folders = _folders(_parts(root, name))
    names: list[str] = []
    labels: list[int] = []
    for label, wordnet_id in enumerate(wordnet_ids):
        first = root / name / wordnet_id
        inside = [
            f"{path.relative_to(root).as_posix()}/{image}"
            for path in folders.get(wordnet_id) or [needed(first, "the images of a class", _GUIDE)]
            for image in images_in(path)
        ]
        if not inside:
            raise DataError(
                f"{first} holds no images: docs/data/{_GUIDE}.md says how to prepare them"
            )
        _check_once(root, inside)
        names += inside
        labels += [label] * len(inside)
    return names, labels


def _check_once(root: Path, images: Sequence[str]) -> None:
    """Refuse an image of a class that is in two parts of a copy."""
    found: dict[str, str] = {}
    for image in images:
        name = image.rpartition("/")[2]
        if name in found:
            raise DataError(f"{root / image} and {root / found[name]} are the same image")
        found[name] = image


def _test(root: Path, classes: Classes) -> tuple[list[str], list[int]]:
    """The challenge's validation images, in folders per class or in a single one."""
    folders = _folders(_parts(root, "val"))
    if folders:  # many guides move the images into such folders
        surplus = sorted(folders.keys() - set(classes.wordnet_ids))
        if surplus:
            raise DataError(
                f"{root / 'train' / surplus[0]} is missing, but {folders[surplus[0]][0]} is there"
                f" ({some_of(surplus, 3)}): both belong to a class"
            )
        return _in_folders(root, "val", classes.wordnet_ids)
    if not classes.known:
        needed(root / "meta" / "data" / "meta.mat", "the development kit's classes", _GUIDE)
    return _in_one_folder(root, classes)


def _in_one_folder(root: Path, classes: Classes) -> tuple[list[str], list[int]]:
    """Images in the order of the ground truth, those of other classes left out."""
    places = {number: place for place, number in enumerate(classes.numbers)}
    folder = _parts(root, "val")[0]
    path = root / "meta" / "data" / "ILSVRC2012_validation_ground_truth.txt"
    truth = lines_of(path, "the classes of the validation images", _GUIDE)
    truth.check_finished()
    inside = images_in(folder)
    if len(inside) != len(truth.rows):
        raise DataError(
            f"{folder} holds {len(inside)} images, but {path} has {len(truth.rows)} classes for"
            " them: some are missing"
        )
    names: list[str] = []
    labels: list[int] = []
    for place, (name, (line, words)) in enumerate(zip(inside, truth.rows, strict=True), 1):
        # One missing image and a foreign one would shift all classes between them.
        if Path(name).stem != f"ILSVRC2012_val_{place:08d}":
            raise DataError(
                f"{folder / name} should be ILSVRC2012_val_{place:08d}.JPEG, as the classes go by"
                " these numbers: unpack the validation images again"
            )
        if len(words) != 1 or not _NUMBER.fullmatch(words[0]):
            raise truth.damage(line, "the number of a class")
        if not 1 <= int(words[0]) <= classes.known:
            raise DataError(
                f"{path} is damaged: there is no class {words[0]}, they go from 1 to"
                f" {classes.known}"
            )
        if int(words[0]) in places:
            names.append(f"{folder.name}/{name}")
            labels.append(places[int(words[0])])
    return names, labels
