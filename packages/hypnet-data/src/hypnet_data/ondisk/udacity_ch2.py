"""Udacity's self-driving car challenge 2: angles of the steering wheel."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
import torch

from hypnet_core.errors import ConfigError, DataError
from hypnet_core.plugins import only, with_defaults
from hypnet_core.tasks import Task
from hypnet_data._io.files import data_directory
from hypnet_data.ondisk.lists import (
    check_folders,
    check_images,
    columns_of,
    entry_of,
    images_in,
    needed,
)
from hypnet_data.ondisk.task import Listing, check_size, image_spec, stretched
from hypnet_data.options import FolderOptions, ReadingOptions

_GUIDE = "udacity_ch2"
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_COLUMNS = ("frame_id", "filename", "angle")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SteeringTask(Task):
    """Regression of the angle of the steering wheel.

    Attributes:
        test_angles_available: Whether the angles of the test images are known; if not,
            they are all 0.
    """

    test_angles_available: bool


class UdacityOptions(ReadingOptions, FolderOptions, total=False):
    """Options of Udacity's challenge 2."""


def udacity_ch2(
    *,
    validation_size: int = 0,
    size: tuple[int, int] = (192, 256),
    seed: int = 0,
    **options: Unpack[UdacityOptions],
) -> SteeringTask:
    """Udacity's challenge 2: steering angles from pictures of a car's front camera.

    Provide the files yourself: images are read from `DATA_DIR/udacity_ch2` batch by
    batch, from `Ch2_002` for training and `Ch2_001` for testing, each with a folder
    `center` and a table `interpolated.csv`; `docs/data/udacity_ch2.md` says how to
    prepare them. Inputs are `(3, height, width)` between 0 and 1, targets `(1,)`: the
    angle in radians. The test images were first published without angles: if their
    table is missing, all test targets are 0, and the task's `test_angles_available` is
    false.

    Args:
        validation_size: Number of validation images, drawn from the training images; 0
            for no validation split.
        size: Height and width that images are resized to.
        seed: Seed of the choice of validation images.
        **options: See `UdacityOptions`.

    Raises:
        DataError: A file is missing or damaged.
        ConfigError: The size is not possible, or no training images would be left.
    """
    chosen = with_defaults(UdacityOptions, options)
    check_size(size)
    if seed < 0:
        raise ConfigError(f"seed must not be negative, got {seed}")
    root = data_directory(chosen["data_dir"]) / "udacity_ch2"
    train_names, train_angles = _table(root, "Ch2_002", "the training images")
    # The test images were first published without angles.
    table = root / "Ch2_001" / "interpolated.csv"
    # A broken link is a table that is missing, not one that was never there.
    known = table.exists() or table.is_symlink()
    test_names, test_angles = (
        _table(root, "Ch2_001", "the test images") if known else _without_angles(root)
    )
    if not 0 <= validation_size < len(train_names):
        raise ConfigError(
            f"validation_size must be at least 0 and below {len(train_names)}, got"
            f" {validation_size}"
        )
    # Consecutive frames are alike, so validation images are spread at random.
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(train_names)))
    # Sorted, so that each part keeps the order of the drive.
    val, train = order[:validation_size].sort().values, order[validation_size:].sort().values
    targets = torch.tensor(train_angles + test_angles, dtype=torch.float32)[:, None]
    test = torch.arange(len(train_names), len(targets))
    check_folders(root, train_names + test_names)
    listing = Listing(
        root, train_names + test_names, targets, (train, test, val if validation_size else None)
    )
    splits = stretched(listing, size, only(ReadingOptions, chosen))
    spec = image_spec("udacity_ch2", size, 1, regression=True, normalize=False)
    return SteeringTask(spec, splits.train, splits.test, splits.val, test_angles_available=known)


def _table(root: Path, part: str, what: str) -> tuple[list[str], list[float]]:
    """Read the images of the centre camera and their angles, in the table's order."""
    path = root / part / "interpolated.csv"
    rows = columns_of(path, _COLUMNS, f"the steering angles of {what}", _GUIDE)
    folder = needed(root / part / "center", what, _GUIDE)
    # The table holds the left and the right camera as well.
    chosen = [(name, angle) for camera, name, angle in rows if camera == "center_camera"]
    if not chosen:
        raise DataError(
            f"{path} names no images of the centre camera: docs/data/{_GUIDE}.md says how to"
            " make it"
        )
    angles = [_angle(angle, path) for _, angle in chosen]
    names = [entry_of(name, path) for name, _ in chosen]
    present = [f"center/{name}" for name in images_in(folder)]
    check_images(names, root / part, present, path)
    return [f"{part}/{name}" for name in names], angles


def _angle(text: str, path: Path) -> float:
    # `float` takes more than a table should hold: 1_0, digits of other scripts, NaN.
    angle = float(text) if _NUMBER.fullmatch(text) else math.nan
    # An overflow would pass every comparison until the loss.
    if not abs(angle) <= float(np.finfo(np.float32).max):
        raise DataError(f"{path} is damaged: the angle {text[:60]!r} is not a number of 32 bits")
    return angle


def _without_angles(root: Path) -> tuple[list[str], list[float]]:
    """All test images, ordered by their names, which are times."""
    folder = needed(root / "Ch2_001" / "center", "the test images", _GUIDE)
    names = [f"Ch2_001/center/{name}" for name in images_in(folder)]
    return names, [0.0] * len(names)
