"""Udacity's self-driving car challenge 2: how far the steering wheel was turned."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hypnet_core.errors import ConfigError, DataError
from hypnet_core.tasks import Task
from hypnet_data._io.files import data_directory
from hypnet_data.ondisk.task import Listing, file_splits, image_spec, needed

_GUIDE = "udacity_ch2"
_ENDINGS = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SteeringTask(Task):
    """Which angle the steering wheel had.

    Attributes:
        test_angles_available: Whether the angles of the test images are known; if not,
            they are all 0.
    """

    test_angles_available: bool


def udacity_ch2(
    *,
    validation_size: int = 0,
    size: tuple[int, int] = (192, 256),
    seed: int = 0,
    workers: int = 0,
    pin_memory: bool = False,
    data_dir: Path | str | None = None,
) -> SteeringTask:
    """Udacity's self-driving car challenge 2: steering angles from pictures of the front camera; the files must be there.

    Inputs are `(3, height, width)` between 0 and 1, targets `(1,)`: the angle in
    radians. Images are read from `DATA_DIR/udacity_ch2` when a batch asks for them:
    `Ch2_002` for training and `Ch2_001` for testing, each with a folder `center` and a
    table `interpolated.csv`; `docs/data/udacity_ch2.md` says how to prepare them. The
    test images came without angles at first: then there is no table for them, all test
    targets are 0, and the task's `test_angles_available` is false.

    Args:
        validation_size: Number of validation images, drawn from the training images; 0
            for no validation split.
        size: Height and width that images are resized to.
        seed: What validation images are drawn from.
        workers: Number of processes that read batches ahead; 0 for none.
        pin_memory: Whether batches of workers come in pinned memory, from which a GPU
            copies faster.
        data_dir: Folder of data; by default `$HYPNET_DATA`, else `~/.cache/hypnet`.

    Raises:
        DataError: Something is missing or damaged.
        ConfigError: The size is not possible, or there would be nothing left to learn
            from.
    """
    if min(size) < 1:
        raise ConfigError(
            f"size must be a height and a width of at least one pixel, got {size[0]} and {size[1]}"
        )
    if seed < 0:
        raise ConfigError(f"seed must not be negative, got {seed}")
    root = data_directory(data_dir) / "udacity_ch2"
    train_names, train_angles = _table(root, "Ch2_002", "the training images")
    known = (root / "Ch2_001" / "interpolated.csv").is_file()
    test_names, test_angles = (
        _table(root, "Ch2_001", "the test images") if known else _without_angles(root)
    )
    if not 0 <= validation_size < len(train_names):
        raise ConfigError(
            f"validation_size must be at least 0 and below {len(train_names)}, got"
            f" {validation_size}"
        )
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(train_names)))
    val, train = order[:validation_size].sort().values, order[validation_size:].sort().values
    targets = torch.tensor(train_angles + test_angles, dtype=torch.float32)[:, None]
    test = torch.arange(len(train_names), len(targets))
    listing = Listing(
        root, train_names + test_names, targets, (train, test, val if validation_size else None)
    )
    splits = file_splits(
        listing,
        size=size,
        fit="stretch",
        normalize=False,
        flips=False,
        classes=None,
        workers=workers,
        pin_memory=pin_memory,
    )
    spec = image_spec("udacity_ch2", size, 1, regression=True, normalize=False)
    return SteeringTask(spec, splits.train, splits.test, splits.val, test_angles_available=known)


def _table(root: Path, part: str, what: str) -> tuple[list[str], list[float]]:
    """The centre camera's images and their angles, in the order of the table."""
    path = needed(root / part / "interpolated.csv", f"the steering angles of {what}", _GUIDE)
    needed(root / part / "center", what, _GUIDE)
    names: list[str] = []
    angles: list[float] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["frame_id"] == "center_camera":
                    names.append(f"{part}/{row['filename']}")
                    angles.append(_angle(row["angle"]))
    except (KeyError, TypeError, ValueError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is damaged: it needs the columns frame_id, filename and angle, with numbers"
            f" ({error})"
        ) from error
    if not names:
        raise DataError(
            f"{path} names no images of the centre camera: docs/data/{_GUIDE}.md says how to"
            " make it"
        )
    return names, angles


def _angle(text: str) -> float:
    angle = float(text)
    if not math.isfinite(angle):
        raise ValueError(text)
    return angle


def _without_angles(root: Path) -> tuple[list[str], list[float]]:
    """All test images, in the order of their names, which are times."""
    folder = needed(root / "Ch2_001" / "center", "the test images", _GUIDE)
    names = sorted(
        f"Ch2_001/center/{path.name}"
        for path in folder.iterdir()
        if path.suffix.lower() in _ENDINGS
    )
    return names, [0.0] * len(names)
