"""CUB-200-2011: photographs of birds."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Unpack

import torch

from hypnet_core.errors import DataError
from hypnet_core.plugins import only, with_defaults
from hypnet_data._io.files import data_directory, is_thorough
from hypnet_data._io.published import CUB200
from hypnet_data._io.unpacking import unpack
from hypnet_data.ondisk.lists import check_images, entry_of, images_in, lines_of, needed
from hypnet_data.ondisk.task import (
    CROP,
    Listing,
    NamedClassesTask,
    cropped,
    first_of_each_class,
    image_spec,
)
from hypnet_data.options import PhotographOptions, VerifiedDownloadOptions

_FOLDER = "CUB_200_2011"
_GUIDE = "cub200"


class Cub200Options(PhotographOptions, VerifiedDownloadOptions, total=False):
    """Options of CUB-200-2011."""


def cub200(**options: Unpack[Cub200Options]) -> NamedClassesTask:
    """CUB-200-2011: 11,788 photographs of 200 kinds of birds, `(3, 224, 224)`.

    The Caltech-UCSD Birds: 5,994 images are for training and 5,794 for testing. They
    are read from `DATA_DIR/CUB_200_2011` batch by batch. If the folder is missing, the
    archive `CUB_200_2011.tgz` beside it is unpacked, and downloaded (1.2 GB) if need
    be. `verify` checks the archive when it is unpacked, or when `hypnet data prepare`
    finds it; unpacked files have no checksums.

    Training images are cropped at random and mirrored, all others are cropped at the
    centre; all are normalised by ImageNet's mean and standard deviation.

    Args:
        **options: See `Cub200Options`.

    Raises:
        DataError: A file is missing, damaged or holds something else, and cannot be
            downloaded.
        ConfigError: A class would have no training images left.

    References:
        C. Wah, S. Branson, P. Welinder, P. Perona and S. Belongie, *The Caltech-UCSD
        Birds-200-2011 Dataset*, California Institute of Technology, 2011.
    """
    chosen = with_defaults(Cub200Options, options)
    root = data_directory(chosen["data_dir"]) / _FOLDER
    [source] = CUB200.sources(root.parent, mirrors=chosen["mirrors"], verify=chosen["verify"])
    # Unpacked files have no checksums; only the archive can be verified.
    if root.is_dir():
        if is_thorough() and source.path.exists():
            source.obtain(download=chosen["download"])
    else:
        root = unpack(source.obtain(download=chosen["download"]), _FOLDER)
    listing, names = _listed(root, chosen["validation_per_class"])
    splits = cropped(listing, len(names), only(PhotographOptions, chosen))
    spec = image_spec("cub200", CROP, len(names), normalize=True)
    return NamedClassesTask(spec, splits.train, splits.test, splits.val, class_names=names)


def _listed(root: Path, validation_per_class: int) -> tuple[Listing, tuple[str, ...]]:
    """Read the four lists: the files, and the names of the classes."""
    images = needed(root / "images", "the folder of images", _GUIDE)
    names = _table(root / "classes.txt", "the names of the classes")
    path = root / "images.txt"
    files = {
        number: entry_of(name, path) for number, name in _table(path, "the list of images").items()
    }
    check_images([*files.values()], images, images_in(images, nested=True), path)
    if len(set(names.values())) < len(names):
        raise DataError(f"{root / 'classes.txt'} is damaged: it names a class twice")
    labels = _table(root / "image_class_labels.txt", "the class of each image")
    training = _table(root / "train_test_split.txt", "the list of training images")
    for table, name in ((labels, "image_class_labels.txt"), (training, "train_test_split.txt")):
        # Views of a dict's keys compare as sets.
        if table.keys() != files.keys():
            raise DataError(
                f"{root / name} does not name the same images as images.txt: one of them is damaged"
            )
    _check_labels(root / "image_class_labels.txt", names, files, labels)
    if not set(training.values()) <= {"0", "1"}:
        raise DataError(f"{root / 'train_test_split.txt'} is damaged: it should say 0 or 1")
    # Numbers start at 1, classes at 0.
    classes = {number: place for place, number in enumerate(names)}
    y = torch.tensor([classes[labels[image]] for image in files])
    in_training = torch.tensor([training[image] == "1" for image in files])
    rows = torch.arange(len(files))
    train, test = rows[in_training], rows[~in_training]
    in_val = first_of_each_class(y[train], validation_per_class)
    parts = (train[~in_val], test, train[in_val] if validation_per_class else None)
    return Listing(images, tuple(files.values()), y, parts), tuple(names.values())


def _check_labels(
    path: Path, names: dict[str, str], files: dict[str, str], labels: dict[str, str]
) -> None:
    """Check that each image's class exists, and is that of its folder."""
    unknown = next((image for image, label in labels.items() if label not in names), None)
    if unknown is not None:
        raise DataError(
            f"{path} gives image {unknown} the class {labels[unknown]}, which does not exist"
        )
    for image, label in labels.items():
        # A number that is cut in the middle may be another class.
        if PurePosixPath(files[image]).parent.name != names[label]:
            raise DataError(
                f"{path} gives {files[image]} the class {label}, {names[label]}: one of the lists"
                " is damaged"
            )


def _table(path: Path, what: str) -> dict[str, str]:
    """Read lines of a number and a word."""
    return lines_of(path, what, _GUIDE).table("a number and a word")
