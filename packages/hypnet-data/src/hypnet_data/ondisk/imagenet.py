"""ImageNet, in the version of the Large Scale Visual Recognition Challenge 2012."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from hypnet_core.errors import DataError
from hypnet_core.plugins import only, with_defaults
from hypnet_data._io.files import data_directory
from hypnet_data._io.matlab import reading_matlab
from hypnet_data.ondisk.task import (
    CROP,
    Listing,
    NamedClassesTask,
    cropped,
    first_of_each_class,
    image_spec,
    lines_of,
    needed,
)
from hypnet_data.options import FolderOptions, PhotographOptions

_GUIDE = "imagenet"
_ENDINGS = {".jpeg", ".jpg", ".png"}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ImageNetTask(NamedClassesTask):
    """Classification of ImageNet's classes, in the order of the development kit.

    Attributes:
        wordnet_ids: WordNet's id of each class.
    """

    wordnet_ids: tuple[str, ...]

    def to_folder_labels(self, labels: Tensor) -> Tensor:
        """Convert labels to the order of the folders' names.

        `torchvision.datasets.ImageFolder` and most pretrained networks use that order.

        Args:
            labels: Class indices `[n]`, or one-hot rows or scores `[n, classes]`, in
                this task's order.

        Returns:
            The same labels in the order of the folders' names.
        """
        # Position k holds the class whose folder comes k-th by name.
        order = sorted(range(len(self.wordnet_ids)), key=self.wordnet_ids.__getitem__)
        if labels.ndim == 2:
            # Columns move by the order itself, indices by its inverse.
            return labels[:, order]
        places = torch.empty(len(order), dtype=torch.int64)
        places[order] = torch.arange(len(order))
        return places.to(labels.device)[labels]


class ImageNetOptions(PhotographOptions, FolderOptions, total=False):
    """Options of ImageNet."""


def imagenet(**options: Unpack[ImageNetOptions]) -> ImageNetTask:
    """ImageNet (ILSVRC2012): 1.28 million training photographs, 1,000 classes.

    Provide the files yourself: images are read from `DATA_DIR/imagenet` batch by batch,
    from `train/WORDNET_ID/*.JPEG`, `val/*.JPEG` (or `val/WORDNET_ID/*.JPEG`) and
    `meta/data/meta.mat`; `docs/data/imagenet.md` says how to prepare them. Inputs are
    `(3, 224, 224)`. Training images are cropped at random and mirrored, all others are
    cropped at the centre; all are normalised.

    Class `k` is number `k + 1` of the development kit (`ILSVRC2012_ID`), which is not
    the order of the folders' names; see `ImageNetTask.to_folder_labels`. The 50,000
    images of the challenge's validation set are for testing; validation images are
    taken from the training set.

    Args:
        **options: See `ImageNetOptions`.

    Raises:
        DataError: A file is missing or damaged.
        ConfigError: A class would have no training images left.

    References:
        O. Russakovsky et al., *ImageNet Large Scale Visual Recognition Challenge*,
        International Journal of Computer Vision 115 (3), 2015, arXiv:1409.0575.
    """
    chosen = with_defaults(ImageNetOptions, options)
    root = data_directory(chosen["data_dir"]) / "imagenet"
    wordnet_ids, names = _classes(
        needed(root / "meta" / "data" / "meta.mat", "the development kit's classes", _GUIDE)
    )
    listing = _listed(root, wordnet_ids, chosen["validation_per_class"])
    splits = cropped(listing, len(names), only(PhotographOptions, chosen))
    spec = image_spec("imagenet", CROP, len(names), normalize=True)
    return ImageNetTask(
        spec, splits.train, splits.test, splits.val, class_names=names, wordnet_ids=wordnet_ids
    )


def _classes(file: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """WordNet ids and names of the classes, in the order of the development kit."""
    from scipy.io import loadmat

    with reading_matlab(file, "the development kit's list of classes", "unpack it again"):
        synsets = loadmat(file, squeeze_me=True)["synsets"]
        # Sorted by number, which is the first entry.
        found = sorted(
            (int(entry["ILSVRC2012_ID"]), str(entry["WNID"]), str(entry["words"]))
            for entry in synsets
            if int(entry["num_children"]) == 0  # others are groups of classes
        )
    if [number for number, _, _ in found] != list(range(1, len(found) + 1)):
        raise DataError(f"{file} is damaged: its classes should have the numbers 1 to {len(found)}")
    return tuple(wordnet_id for _, wordnet_id, _ in found), tuple(words for _, _, words in found)


def _listed(root: Path, wordnet_ids: Sequence[str], validation_per_class: int) -> Listing:
    train_names, train_labels = _in_folders(root / "train", wordnet_ids)
    test_names, test_labels = _test(root, wordnet_ids)
    labels = torch.tensor(train_labels + test_labels)
    train = torch.arange(len(train_labels))
    # Held out per class, because training images are ordered by class.
    in_val = first_of_each_class(labels[train], validation_per_class)
    test = torch.arange(len(train_labels), len(labels))
    parts = (train[~in_val], test, train[in_val] if validation_per_class else None)
    return Listing(root, train_names + test_names, labels, parts)


def _in_folders(folder: Path, wordnet_ids: Sequence[str]) -> tuple[list[str], list[int]]:
    """Images in one folder per class, ordered by class and then by name."""
    needed(folder, "the images, in one folder per class", _GUIDE)
    names: list[str] = []
    labels: list[int] = []
    for label, wordnet_id in enumerate(wordnet_ids):
        inside = _images(needed(folder / wordnet_id, "the images of a class", _GUIDE))
        if not inside:
            raise DataError(
                f"{folder / wordnet_id} holds no images: docs/data/{_GUIDE}.md says how to prepare"
                " them"
            )
        names += [f"{folder.name}/{wordnet_id}/{name}" for name in inside]
        labels += [label] * len(inside)
    return names, labels


def _test(root: Path, wordnet_ids: Sequence[str]) -> tuple[list[str], list[int]]:
    """The challenge's validation images, in folders per class or in a single one."""
    folder = needed(root / "val", "the challenge's validation images", _GUIDE)
    # Many guides move the images into such folders.
    if any((folder / wordnet_id).is_dir() for wordnet_id in wordnet_ids):
        return _in_folders(folder, wordnet_ids)
    truth = root / "meta" / "data" / "ILSVRC2012_validation_ground_truth.txt"
    lines = lines_of(truth, "the classes of the validation images", _GUIDE)
    inside = _images(folder)  # in the order of the ground truth
    if len(inside) != len(lines):
        raise DataError(
            f"{folder} holds {len(inside)} images, but {truth} has {len(lines)} classes for them:"
            " some are missing"
        )
    try:
        labels = [int(words[0]) - 1 for words in lines]  # the file counts from 1
    except ValueError as error:
        raise DataError(f"{truth} is damaged: {error}") from error
    wrong = next((label for label in labels if not 0 <= label < len(wordnet_ids)), None)
    if wrong is not None:
        raise DataError(
            f"{truth} is damaged: there is no class {wrong + 1}, they go from 1 to"
            f" {len(wordnet_ids)}"
        )
    return [f"{folder.name}/{name}" for name in inside], labels


def _images(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _ENDINGS)
