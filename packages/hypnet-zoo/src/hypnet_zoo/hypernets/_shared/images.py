"""Checks of the options of hypernetworks that draw images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from hypnet_core.errors import SpecError
from hypnet_core.specs import TargetSpec

KernelSize: TypeAlias = int | tuple[int | tuple[int, int], ...]


def image_shape_of(target: TargetSpec, shape: Sequence[int] | None) -> tuple[int, int, int]:
    """Channels, height and width of the image; the smallest square by default.

    Raises:
        SpecError: It is not a shape, or too small for the target.
    """
    if shape is None:
        # The square root rounded up, in whole numbers: floats would not be exact.
        side = math.isqrt(target.numel - 1) + 1
        return (1, side, side)
    if len(shape) not in {2, 3} or min(shape) < 1:
        raise SpecError(
            f"image_shape must be (height, width) or (channels, height, width), got {list(shape)}"
        )
    pixels = math.prod(shape)
    if pixels < target.numel:
        beyond = next(
            p
            for p, offset in zip(target.params, target.offsets, strict=True)
            if offset + p.numel > pixels
        )
        raise SpecError(
            f"image_shape {list(shape)} is too small: it has {pixels:,} pixels, the target"
            f" {target.numel:,} weights; it ends within {beyond}"
        )
    height, width = shape[-2:]
    return (shape[0] if len(shape) == 3 else 1, height, width)


def channels_of(num_layers: int, filters: Sequence[int] | None) -> Sequence[int]:
    """Channels after each layer but the last.

    Raises:
        SpecError: The numbers of layers and filters do not fit together.
    """
    if num_layers < 2:
        raise SpecError(f"num_layers must be at least 2, got {num_layers}")
    # As in the generator of a DCGAN, channels halve where the image doubles.
    if filters is None:
        return [128 * 2**i for i in reversed(range(num_layers - 1))]
    if len(filters) != num_layers - 1 or min(filters) < 1:
        raise SpecError(
            f"filters must be {num_layers - 1} positive numbers for {num_layers} layers, got"
            f" {list(filters)}"
        )
    return filters


def kernels_of(num_layers: int, size: KernelSize) -> list[tuple[int, int]]:
    """Height and width of the kernel of each transposed convolution.

    Raises:
        SpecError: The number of kernels is wrong, or a size is not positive.
    """
    each = [size] * (num_layers - 1) if isinstance(size, int) else list(size)
    kernels = [(one, one) if isinstance(one, int) else tuple(one) for one in each]
    if len(kernels) != num_layers - 1 or any(
        len(kernel) != 2 or min(kernel) < 1 for kernel in kernels
    ):
        raise SpecError(
            f"kernel_size must be one positive number, or {num_layers - 1} numbers or pairs for"
            f" {num_layers} layers, got {size}"
        )
    return [(kernel[0], kernel[-1]) for kernel in kernels]
