"""What all datasets of image files have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError, DataError
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import LoadedSplit, Samples, Transform
from hypnet_data._io.files import note_use
from hypnet_data.ondisk.reading import ReadImages, stored_names
from hypnet_data.transforms import Normalize, OneHot, RandomFlip, Scale

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Listing:
    """The image files of a dataset, in the order of their ids, and what they show.

    Attributes:
        root: The folder that names are relative to.
        names: Paths of the files, relative to the folder.
        targets: Classes `[N]`, or numbers `[N, …]`.
        parts: Which of them are for training, testing and (if not `None`) validation.
    """

    root: Path
    names: Sequence[str]
    targets: Tensor
    parts: tuple[Tensor, Tensor, Tensor | None]


@dataclass(frozen=True)
class Splits:
    """Training, test and validation samples of a dataset of files."""

    train: LoadedSplit
    test: LoadedSplit
    val: LoadedSplit | None


def file_splits(
    listing: Listing,
    *,
    size: tuple[int, int],
    fit: Literal["stretch", "random"],
    normalize: bool,
    flips: bool,
    classes: int | None,
    workers: int,
    pin_memory: bool,
) -> Splits:
    """Splits that read image files.

    Args:
        listing: The files.
        size: Height and width that images get.
        fit: How training images get that size; with `random`, evaluation cuts out the
            middle.
        normalize: Whether ImageNet's mean and standard deviation are subtracted and
            divided by.
        flips: Whether training images are mirrored at random.
        classes: Number of columns of one-hot rows; `None` for targets as they are.
        workers: Number of processes that read.
        pin_memory: Whether batches come in pinned memory.
    """
    note_use(listing.root)
    samples = Samples(stored_names(listing.names), listing.targets)
    last: list[Transform] = [Scale()] + (
        [Normalize(IMAGENET_MEAN, IMAGENET_STD)] if normalize else []
    )
    first: list[Transform] = [
        ReadImages(listing.root, size, fit),
        *([RandomFlip()] if flips else []),
    ]
    training = (*first, *last)
    targets = () if classes is None else (OneHot(classes),)

    def split(rows: Tensor) -> LoadedSplit:
        return LoadedSplit(samples, rows, training, targets, workers=workers, pin_memory=pin_memory)

    train, test, val = listing.parts
    evaluated = [None if rows is None else _plain(split(rows)) for rows in (test, val)]
    if evaluated[0] is None or not len(train) or not len(test):
        raise DataError(
            f"{listing.root} has {len(train)} training and {len(test)} test images: both are needed"
        )
    return Splits(split(train), evaluated[0], evaluated[1])


def _plain(split: LoadedSplit) -> LoadedSplit:
    found = split.unaugmented()
    if not isinstance(found, LoadedSplit):
        raise TypeError
    return found


def first_of_each_class(labels: Tensor, count: int) -> Tensor:
    """A flag for the first `count` samples of each class.

    Raises:
        ConfigError: A class would have none left to learn from.
    """
    if count < 0:
        raise ConfigError(f"validation_per_class must not be negative, got {count}")
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    if not count:
        return chosen
    for label in labels.unique().tolist():
        members = torch.nonzero(labels == label).flatten()
        if len(members) <= count:
            raise ConfigError(
                f"{count} images of each class cannot be held out for validation: class {label} has"
                f" only {len(members)}"
            )
        chosen[members[:count]] = True
    return chosen


def image_spec(
    name: str, size: tuple[int, int], out: int, *, regression: bool = False, normalize: bool
) -> TaskSpec:
    """The spec of a task of colour images."""
    return TaskSpec(
        name=name,
        kind="regression" if regression else "classification",
        in_shape=(3, *size),
        out_shape=(out,),
        normalization=(IMAGENET_MEAN, IMAGENET_STD) if normalize else None,
    )


def needed(path: Path, what: str, guide: str) -> Path:
    """A file or folder that must be there.

    Args:
        path: Where.
        what: What it is.
        guide: The page of the documentation that says how to get it.

    Raises:
        DataError: It is not there, or is empty.
    """
    if not path.exists():
        raise DataError(f"{path} is missing ({what}): docs/data/{guide}.md says how to prepare it")
    if path.is_file() and not path.stat().st_size:
        raise DataError(f"{path} is empty ({what}): docs/data/{guide}.md says how to prepare it")
    return path


def lines_of(path: Path, what: str, guide: str) -> list[list[str]]:
    """The words of each line of a list.

    Raises:
        DataError: It is missing, empty, or no text.
    """
    try:
        text = needed(path, what, guide).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({what}): {error}") from error
    return [line.split() for line in text.splitlines() if line.strip()]
