"""Splits and lists that all datasets of image files share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError, DataError
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import LoadedSplit, Reader, Samples, Task, Transform
from hypnet_data._io.files import note_use
from hypnet_data.ondisk.reading import ReadImages, stored_names
from hypnet_data.options import PhotographOptions, ReadingOptions
from hypnet_data.transforms import Normalize, OneHot, RandomFlip, Scale

CROP = (224, 224)
"""Height and width of the crops of photographs."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class NamedClassesTask(Task):
    """A classification task that knows the names of its classes.

    Attributes:
        class_names: The names, in the order of the classes.
    """

    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """The image files of a dataset, in the order of their ids, and their targets.

    Attributes:
        root: The folder that names are relative to.
        names: Paths of the files, relative to the folder.
        targets: Classes `[N]`, or numbers `[N, …]`.
        parts: Indices of the training, test and (if not `None`) validation images.
        lengths: Number of frames of each file, if they are sequences.
    """

    root: Path
    names: Sequence[str]
    targets: Tensor
    parts: tuple[Tensor, Tensor, Tensor | None]
    lengths: Tensor | None = None


@dataclass(frozen=True)
class Splits:
    """Training, test and validation samples of a dataset of files."""

    train: LoadedSplit
    test: LoadedSplit
    val: LoadedSplit | None


def cropped(listing: Listing, classes: int, options: PhotographOptions) -> Splits:
    """Splits of photographs: cropped to `CROP`, normalised, augmented for training.

    Args:
        listing: The files.
        classes: Number of classes.
        options: All options of the group.
    """
    return file_splits(
        listing,
        ReadImages(listing.root, CROP, "random"),
        (RandomFlip(), Scale(), Normalize(IMAGENET_MEAN, IMAGENET_STD)),
        (OneHot(classes),) if options["one_hot"] else (),
        augmentation=options["augmentation"],
        workers=options["workers"],
        pin_memory=options["pin_memory"],
    )


def stretched(listing: Listing, size: tuple[int, int], options: ReadingOptions) -> Splits:
    """Splits of pictures that are resized, whatever their proportions.

    Args:
        listing: The files.
        size: Height and width.
        options: All options of the group.
    """
    return file_splits(
        listing,
        ReadImages(listing.root, size, "stretch"),
        (Scale(),),
        (),
        augmentation=False,
        workers=options["workers"],
        pin_memory=options["pin_memory"],
    )


def file_splits(
    listing: Listing,
    reader: Reader,
    transforms: tuple[Transform, ...],
    targets: tuple[Transform, ...],
    *,
    augmentation: bool,
    workers: int,
    pin_memory: bool,
) -> Splits:
    """Splits of a dataset of files.

    Args:
        listing: The files.
        reader: Reads the inputs of a batch from the stored names.
        transforms: Steps from what is read to inputs.
        targets: Steps from stored targets to targets.
        augmentation: Whether random reading and transforms apply to training samples.
        workers: Number of processes that read ahead.
        pin_memory: Whether batches of workers come in pinned memory.

    Raises:
        DataError: There are no training or no test files.
    """
    # For `hypnet data info`, which lists the files of a dataset.
    note_use(listing.root)
    train, test, val = listing.parts
    if not len(train) or not len(test):
        raise DataError(
            f"{listing.root} has {len(train)} training and {len(test)} test images: both are needed"
        )
    samples = Samples(stored_names(listing.names), listing.targets, listing.lengths)
    whole = LoadedSplit(
        samples,
        torch.arange(len(samples)),
        transforms,
        targets,
        reader=reader,
        workers=workers,
        pin_memory=pin_memory,
    )
    # All splits share one store of names, and so the ids of a dataset.
    plain = whole.unaugmented()
    return Splits(
        (whole if augmentation else plain).subset(train),
        plain.subset(test),
        None if val is None else plain.subset(val),
    )


def check_size(size: tuple[int, int]) -> None:
    """Refuse an impossible size of images.

    Raises:
        ConfigError: The height or the width is below one pixel.
    """
    if min(size) < 1:
        raise ConfigError(
            f"size must be a height and a width of at least one pixel, got {size[0]} and {size[1]}"
        )


def first_of_each_class(labels: Tensor, count: int) -> Tensor:
    """A flag for the first `count` samples of each class.

    Raises:
        ConfigError: A class would have no training samples left.
    """
    if count < 0:
        raise ConfigError(f"validation_per_class must not be negative, got {count}")
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    if not count:
        return chosen
    # The first files of a class, so that the choice is the same everywhere.
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
