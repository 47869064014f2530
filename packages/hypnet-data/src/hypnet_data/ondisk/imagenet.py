"""ImageNet, in the version of the Large Scale Visual Recognition Challenge 2012."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor

from hypnet_core.plugins import only, with_defaults
from hypnet_data._io.files import data_directory
from hypnet_data.ondisk.imagenet_files import classes_of, listed
from hypnet_data.ondisk.task import CROP, NamedClassesTask, cropped, image_spec
from hypnet_data.options import FolderOptions, PhotographOptions


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
    the order of the folders' names; see `ImageNetTask.to_folder_labels`. Subsets such
    as ImageNet-100 have the classes whose folders are there, in the same order, or in
    that of the folders' names if there is no development kit. The 50,000
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
    classes = classes_of(root)
    listing = listed(root, classes, chosen["validation_per_class"])
    splits = cropped(listing, len(classes.names), only(PhotographOptions, chosen))
    spec = image_spec("imagenet", CROP, len(classes.names), normalize=True)
    return ImageNetTask(
        spec,
        splits.train,
        splits.test,
        splits.val,
        class_names=classes.names,
        wordnet_ids=classes.wordnet_ids,
    )
