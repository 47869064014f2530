"""Generated images: class-dependent patterns in noise, in any shape, without files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Unpack

import numpy as np

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import with_defaults
from hypnet_core.tasks import Split, Task
from hypnet_data.images.classification import Preprocessing, RawImages, image_task
from hypnet_data.options import TargetOptions

_TILES = 4
"""Tiles of a pattern in each direction."""


def generated_images(
    *,
    in_shape: tuple[int, int, int] = (1, 28, 28),
    classes: int = 10,
    train_size: int = 1000,
    validation_size: int = 0,
    test_size: int = 200,
    noise: float = 0.2,
    seed: int = 0,
    **options: Unpack[TargetOptions],
) -> Task:
    """Images made of a pattern for each class and noise: no files, any shape.

    A pattern is a random grey value for each of 4x4 tiles and each channel; every pixel
    of a sample adds normal noise to it, and is cut to [0, 1]. For trying networks and
    training at the shape of a dataset that is not at hand. Labels go round: 0, 1, 2, ….

    Args:
        in_shape: Channels, height and width.
        classes: Number of classes.
        train_size: Number of training images.
        validation_size: Number of validation images; 0 for no validation split.
        test_size: Number of test images.
        noise: Standard deviation of the noise, where white is 1.
        seed: Seed of patterns and noise.
        **options: See `TargetOptions`.

    Raises:
        ConfigError: A size or the noise is not possible.
    """
    sides = {f"in_shape.{place}": side for place, side in enumerate(in_shape)}
    _check(
        {**sides, "classes": classes, "train_size": train_size, "test_size": test_size},
        {"validation_size": validation_size, "noise": noise, "seed": seed},
    )
    total = train_size + validation_size + test_size
    generator = np.random.default_rng(seed)
    patterns = _enlarged(generator.random((classes, in_shape[0], _TILES, _TILES)), in_shape)
    y = np.arange(total) % classes
    # Bytes, as in the files of real datasets; one class at a time needs less memory.
    x = np.empty((total, *in_shape), np.uint8)
    for label, pattern in enumerate(patterns):
        count = int((y == label).sum())
        pixels = pattern + noise * generator.standard_normal((count, *in_shape), np.float32)
        x[y == label] = np.rint(pixels.clip(0, 1) * 255)
    everything, places = Split.of(x, y), np.arange(total)
    train, val, test = (
        everything.subset(part)
        for part in np.split(places, [train_size, train_size + validation_size])
    )
    return image_task(
        "generated_images",
        RawImages(train, test, val if validation_size else None),
        classes=classes,
        preprocessing=Preprocessing(mean=(0.5,), std=(0.25,), padding=0),
        augmentation=False,
        normalize=False,
        **with_defaults(TargetOptions, options),
    )


def _enlarged(tiles: np.ndarray, in_shape: tuple[int, int, int]) -> np.ndarray:
    """Patterns `[classes, C, H, W]` of tiles of about equal size."""
    height, width = in_shape[1:]
    rows, columns = (np.arange(size) * _TILES // size for size in (height, width))
    return tiles[:, :, rows][:, :, :, columns].astype(np.float32)


def _check(at_least_one: Mapping[str, int], not_negative: Mapping[str, float]) -> None:
    for name, size in at_least_one.items():
        if size < 1:
            raise ConfigError(f"{name} must be at least 1, got {size}")
    for name, number in not_negative.items():
        if not (math.isfinite(number) and number >= 0):
            raise ConfigError(f"{name} must not be negative, got {number}")
