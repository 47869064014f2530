"""Even grids of points in a plane."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hypnet_core.errors import ConfigError

Array: TypeAlias = NDArray[np.float64]


class Mesh(NamedTuple):
    """A grid of points in a plane.

    Attributes:
        x1: First coordinates `[n2, n1]`.
        x2: Second coordinates `[n2, n1]`.
        points: The same points as inputs `[n2 * n1, 2]`.
    """

    x1: Array
    x2: Array
    points: Array


def mesh(
    first: tuple[float, float], second: tuple[float, float], size: int | tuple[int, int] = 1000
) -> Mesh:
    """An even grid over a rectangle, both ends included.

    Args:
        first: Limits of the first coordinate.
        second: Limits of the second coordinate.
        size: Number of points along each coordinate.

    Raises:
        ConfigError: There are fewer than two points along a coordinate.
    """
    sizes = (size, size) if isinstance(size, int) else size
    if min(sizes) < 2:
        raise ConfigError(
            f"a grid needs at least two points along each coordinate, got {sizes[0]} and {sizes[1]}"
        )
    x1, x2 = np.meshgrid(np.linspace(*first, sizes[0]), np.linspace(*second, sizes[1]))
    return Mesh(x1, x2, np.stack([x1.ravel(), x2.ravel()], axis=1))
