"""CUB-200-2011: photographs of birds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch

from hypnet_core.errors import DataError
from hypnet_core.tasks import Task
from hypnet_data._io.files import data_directory, is_thorough
from hypnet_data._io.published import CUB200
from hypnet_data._io.unpacking import unpack
from hypnet_data.ondisk.task import (
    Listing,
    file_splits,
    first_of_each_class,
    image_spec,
    lines_of,
    needed,
)

_FOLDER = "CUB_200_2011"
_GUIDE = "cub200"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class NamedClassesTask(Task):
    """A classification task that knows what its classes are called.

    Attributes:
        class_names: The names, in the order of the classes.
    """

    class_names: tuple[str, ...]


def cub200(
    *,
    validation_per_class: int = 0,
    one_hot: bool = False,
    augmentation: bool = True,
    workers: int = 0,
    pin_memory: bool = False,
    data_dir: Path | str | None = None,
    download: bool = True,
    mirrors: tuple[str, ...] | None = None,
    verify: bool = True,
) -> NamedClassesTask:
    """Caltech-UCSD Birds 200-2011, 5,994 training and 5,794 test photographs of 200 kinds of birds, `(3, 224, 224)`.

    Images are read from `DATA_DIR/CUB_200_2011` when a batch asks for them. If the
    folder is missing, the archive `CUB_200_2011.tgz` is looked for beside it,
    downloaded (1.2 GB) if need be, and unpacked. Training images are cut out at random
    and mirrored, all others are cut out of the middle; all are normalised by ImageNet's
    mean and standard deviation.

    Args:
        validation_per_class: Number of validation images of each class, the first ones
            of the training set; 0 for no validation split.
        one_hot: Whether targets are one-hot rows instead of class indices.
        augmentation: Whether training images are cut out at random and mirrored.
        workers: Number of processes that read batches ahead; 0 for none.
        pin_memory: Whether batches of workers come in pinned memory, from which a GPU
            copies faster.
        data_dir: Folder of downloaded data; by default `$HYPNET_DATA`, else
            `~/.cache/hypnet`.
        download: Whether the archive may be downloaded.
        mirrors: Addresses of folders to download from, tried in turn; by default the
            authors'.
        verify: Whether the archive must have the published MD5 checksum, when it is
            unpacked or `hypnet data prepare` finds it. Files that are unpacked already
            have no checksums.

    Raises:
        DataError: A file is missing, damaged or holds something else, and cannot be
            downloaded.
        ConfigError: A class would have no images left to learn from.

    References:
        C. Wah, S. Branson, P. Welinder, P. Perona and S. Belongie, *The Caltech-UCSD
        Birds-200-2011 Dataset*, California Institute of Technology, 2011.
    """
    root = data_directory(data_dir) / _FOLDER
    [source] = CUB200.sources(root.parent, mirrors=mirrors, verify=verify)
    if root.is_dir():
        if is_thorough() and source.path.exists():
            source.obtain(download=download)
    else:
        root = unpack(source.obtain(download=download), _FOLDER)
    listing, names = _listed(root, validation_per_class)
    splits = file_splits(
        listing,
        size=(224, 224),
        fit="random",
        normalize=True,
        flips=True,
        classes=len(names) if one_hot else None,
        workers=workers,
        pin_memory=pin_memory,
    )
    spec = image_spec("cub200", (224, 224), len(names), normalize=True)
    train = splits.train if augmentation else splits.train.unaugmented()
    return NamedClassesTask(spec, train, splits.test, splits.val, class_names=names)


def _listed(root: Path, validation_per_class: int) -> tuple[Listing, tuple[str, ...]]:
    """The files and the names of the classes, from the four lists."""
    needed(root / "images", "the folder of images", _GUIDE)
    names = _table(root / "classes.txt", "the names of the classes")
    files = _table(root / "images.txt", "the list of images")
    for name in files.values():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DataError(
                f"{root / 'images.txt'} names {name!r}, which leads out of the folder of images: it"
                " is not the original"
            )
    labels = _table(root / "image_class_labels.txt", "the class of each image")
    training = _table(root / "train_test_split.txt", "which images are for training")
    for table, path in ((labels, "image_class_labels.txt"), (training, "train_test_split.txt")):
        if table.keys() != files.keys():
            raise DataError(
                f"{root / path} does not name the same images as images.txt: one of them is damaged"
            )
    classes = {number: place for place, number in enumerate(names)}
    unknown = next((image for image, label in labels.items() if label not in classes), None)
    if unknown is not None:
        raise DataError(
            f"{root / 'image_class_labels.txt'} gives image {unknown} the class {labels[unknown]},"
            " which does not exist"
        )
    y = torch.tensor([classes[labels[image]] for image in files])
    in_training = torch.tensor([training[image] == "1" for image in files])
    rows = torch.arange(len(files))
    train, test = rows[in_training], rows[~in_training]
    in_val = first_of_each_class(y[train], validation_per_class)
    parts = (train[~in_val], test, train[in_val] if validation_per_class else None)
    return Listing(root / "images", tuple(files.values()), y, parts), tuple(names.values())


def _table(path: Path, what: str) -> dict[str, str]:
    """Lines of a number and a word."""
    lines = lines_of(path, what, _GUIDE)
    damaged = next((number for number, words in enumerate(lines, 1) if len(words) != 2), None)
    if damaged is not None:
        raise DataError(f"{path} is damaged: line {damaged} should be a number and a word")
    return {words[0]: words[1] for words in lines}
