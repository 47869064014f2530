"""Classification of points of a plane: each class is a ring."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from hypnet_core.errors import ConfigError
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import Samples, Split, Task, Transform
from hypnet_data.transforms import OneHot

Pair: TypeAlias = tuple[float, float]


def donuts(
    *,
    centers: tuple[Pair, ...] = ((0.0, 0.0), (0.0, 0.0)),
    radii: tuple[Pair, ...] = ((3.0, 4.0), (9.0, 10.0)),
    train_size: int = 100,
    test_size: int = 100,
    one_hot: bool = False,
    seed: int = 42,
) -> Task:
    """Points in rings, each ring a class.

    Inputs are `(2,)`, drawn uniformly from the area of the rings.

    Args:
        centers: The centre of each ring.
        radii: The inner and the outer radius of each ring.
        train_size: Number of training points per ring.
        test_size: Number of test points per ring.
        one_hot: Whether targets are one-hot rows instead of class indices.
        seed: Seed of the points. The training points of a ring do not depend on the
            other rings, nor on its test points.

    Raises:
        ConfigError: There is not one pair of radii per centre, a ring is empty, or a
            size is not possible.
    """
    if len(centers) != len(radii) or len(centers) < 2:
        raise ConfigError(
            "centers and radii must have one entry per ring, for two rings at least, got"
            f" {len(centers)} and {len(radii)}"
        )
    for name, size in (("train_size", train_size), ("test_size", test_size)):
        if size < 1:
            raise ConfigError(f"{name} must be at least 1, got {size}")
    if seed < 0:
        raise ConfigError(f"seed must not be negative, got {seed}")
    rings = list(zip(centers, radii, strict=True))
    # Seeded by part and ring, so that rings and splits are independent.
    points = [
        annulus(center, ring, size, np.random.default_rng([seed, part, number]))
        for part, size in enumerate((train_size, test_size))
        for number, (center, ring) in enumerate(rings)
    ]
    labels = np.concatenate(
        [np.repeat(np.arange(len(rings)), size) for size in (train_size, test_size)]
    )
    samples = Samples.of(np.concatenate(points).astype(np.float32), labels)
    targets: Sequence[Transform] = (OneHot(len(rings)),) if one_hot else ()
    # Rows of training come first in the store.
    rows, end = torch.arange(len(samples)), train_size * len(rings)
    train, test = (
        Split(samples, part, target_transforms=tuple(targets)) for part in (rows[:end], rows[end:])
    )
    return Task(
        TaskSpec(name="donuts", kind="classification", in_shape=(2,), out_shape=(len(rings),)),
        train,
        test,
    )


def annulus(
    center: Pair, radii: Pair, size: int, random: np.random.Generator
) -> NDArray[np.float64]:
    r"""Uniform points of a ring, $r_1 < \lVert x - c \rVert \le r_2$.

    Args:
        center: $c$.
        radii: Inner and outer radius.
        size: Number of points.
        random: Source of randomness.

    Raises:
        ConfigError: The ring is empty.
    """
    inner, outer = radii
    if not (math.isfinite(outer) and 0 <= inner < outer):
        raise ConfigError(
            f"a ring needs an inner radius and a larger outer one, got {inner:g} and {outer:g}"
        )
    # Uniform in the squared radius, so that equal areas are equally probable.
    # Subtracted from the outer radius: `random` includes 0, but not 1.
    distance = np.sqrt(outer**2 - random.random(size) * (outer**2 - inner**2))
    angle = random.uniform(0.0, 2 * math.pi, size)
    points: NDArray[np.float64] = np.asarray(center) + distance[:, None] * np.stack(
        [np.cos(angle), np.sin(angle)], axis=1
    )
    return points
