"""Groups of options that several datasets share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypedDict

from pydantic import Field


class FolderOptions(TypedDict, total=False):
    """The place of the files of a dataset."""

    data_dir: Annotated[
        Path | str | None,
        Field(
            default=None,
            description="Folder of the data; by default `$HYPNET_DATA`, else `~/.cache/hypnet`.",
        ),
    ]


class DownloadOptions(FolderOptions, total=False):
    """The place of the files of a dataset, and how to get them."""

    download: Annotated[
        bool,
        Field(default=True, description="Whether missing or damaged files may be downloaded."),
    ]
    mirrors: Annotated[
        tuple[str, ...] | None,
        Field(
            default=None,
            description="Addresses of folders to download from, tried in turn; by default the"
            " published ones.",
        ),
    ]


class VerifiedDownloadOptions(DownloadOptions, total=False):
    """The place of the files, how to get them, and whether to check them."""

    verify: Annotated[
        bool,
        Field(
            default=True,
            description="Whether every file, downloaded or found, must have its published MD5"
            " checksum. Without it, other complete data in the same format is accepted too.",
        ),
    ]


class ValidationOptions(TypedDict, total=False):
    """Images held out for validation, none by default."""

    validation_size: Annotated[
        int,
        Field(
            default=0,
            description="Number of validation images (of each task), the first ones of the training"
            " images; 0 for no validation split.",
        ),
    ]


class LargeValidationOptions(TypedDict, total=False):
    """Images held out for validation, 5,000 by default."""

    validation_size: Annotated[
        int,
        Field(
            default=5000,
            description="Number of validation images, the first ones of the training images; 0 for"
            " no validation split.",
        ),
    ]


class TargetOptions(TypedDict, total=False):
    """The form of classification targets."""

    one_hot: Annotated[
        bool,
        Field(
            default=False, description="Whether targets are one-hot rows instead of class indices."
        ),
    ]


class InputOptions(TypedDict, total=False):
    """Preprocessing of images."""

    augmentation: Annotated[
        bool,
        Field(
            default=False,
            description="Whether training images are augmented at random; all inputs are then"
            " normalised as well.",
        ),
    ]
    normalize: Annotated[
        bool | None,
        Field(
            default=None,
            description="Whether to subtract the mean and divide by the standard deviation of each"
            " channel; by default only with augmentation.",
        ),
    ]


class CutoutOptions(InputOptions, total=False):
    """Preprocessing of images, with cutout."""

    cutout: Annotated[
        bool,
        Field(
            default=False,
            description="Whether augmentation also blanks out a square of each training image.",
        ),
    ]


class ReadingOptions(TypedDict, total=False):
    """Reading of batches from image files."""

    workers: Annotated[
        int,
        Field(default=0, description="Number of processes that read batches ahead; 0 for none."),
    ]
    pin_memory: Annotated[
        bool,
        Field(
            default=False,
            description="Whether batches of workers come in pinned memory, from which a GPU copies"
            " faster.",
        ),
    ]


class PhotographOptions(TargetOptions, ReadingOptions, total=False):
    """Options of classification datasets whose photographs are read from disk."""

    validation_per_class: Annotated[
        int,
        Field(
            default=0,
            description="Number of validation images of each class, the first ones of the training"
            " set; 0 for no validation split.",
        ),
    ]
    augmentation: Annotated[
        bool,
        Field(
            default=True,
            description="Whether training images are random crops, mirrored at random.",
        ),
    ]


class HeadOptions(TargetOptions, total=False):
    """The outputs of the tasks of a sequence."""

    target_padding: Annotated[
        int,
        Field(
            default=0,
            description="Number of classes without samples to append to the classes of each task.",
        ),
    ]
    separate_heads: Annotated[
        bool,
        Field(
            default=False,
            description="Whether each task has its own outputs, after those of the tasks before"
            " it; otherwise the tasks share their outputs.",
        ),
    ]


class SplitOptions(HeadOptions, total=False):
    """Splitting of a classification dataset into tasks by its labels."""

    classes_per_task: Annotated[int, Field(default=2, description="Number of labels per task.")]
    tasks: Annotated[
        int | None,
        Field(
            default=None,
            description="Number of tasks; by default as many as the labels allow, which must then"
            " divide evenly.",
        ),
    ]
    order: Annotated[
        tuple[int, ...] | None,
        Field(
            default=None,
            description="Labels in the order in which tasks get them; by default in increasing"
            " order.",
        ),
    ]
    labels: Annotated[
        tuple[tuple[int, ...], ...] | None,
        Field(
            default=None,
            description="The labels of each task, instead of `classes_per_task` and `order`. Tasks"
            " may share labels.",
        ),
    ]
    full_out_dim: Annotated[
        bool,
        Field(
            default=False,
            description="Whether each task keeps all classes of the dataset, and so the original"
            " labels.",
        ),
    ]


class PermutationOptions(HeadOptions, total=False):
    """Permutation of a dataset into a sequence of tasks."""

    tasks: Annotated[int, Field(default=10, description="Number of tasks.")]
    first_unpermuted: Annotated[
        bool, Field(default=False, description="Whether the first task is not permuted.")
    ]
    seed: Annotated[
        int,
        Field(
            default=0,
            description="Seed of the permutations. The permutation of a task does not depend on"
            " the number of tasks.",
        ),
    ]


class PaddedPermutationOptions(PermutationOptions, total=False):
    """Padding and permutation of a dataset into a sequence of tasks."""

    padding: Annotated[
        int,
        Field(
            default=0,
            description="Number of black pixels to add on each side of an image before it is"
            " permuted.",
        ),
    ]
