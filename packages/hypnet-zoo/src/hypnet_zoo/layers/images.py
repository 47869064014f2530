"""Images: checks of their shape, pooling, and an adapter for flat ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnet_core.errors import SpecError


def image_shape(in_shape: Sequence[int], out_features: int) -> tuple[int, int, int]:
    """Check that `in_shape` is `(C, H, W)`.

    Args:
        in_shape: Shape of one sample.
        out_features: Number of outputs, checked as well.

    Raises:
        SpecError: It is not the shape of an image, or a size is not positive.
    """
    if not isinstance(in_shape, Sequence):
        raise SpecError(f"in_shape must be (C, H, W), got {in_shape!r}")
    if len(in_shape) != 3 or min(in_shape) < 1:
        raise SpecError(f"in_shape must be (C, H, W) with positive sizes, got {list(in_shape)}")
    if out_features < 1:
        raise SpecError(f"out_features must be positive, got {out_features}")
    channels, height, width = in_shape
    return channels, height, width


def check_images(x: Tensor, in_shape: Sequence[int]) -> None:
    """Check that inputs are `[N, *in_shape]`.

    Raises:
        SpecError: They are not.
    """
    if x.ndim != len(in_shape) + 1 or tuple(x.shape[1:]) != tuple(in_shape):
        raise SpecError(
            f"the network expects samples of shape {list(in_shape)}, got inputs {list(x.shape)}"
        )


def channels_last(x: Tensor) -> Tensor:
    """The same images with the channels of a pixel next to each other in memory.

    A CPU then convolves and, above all, pools twice as fast.
    `Tensor.to(memory_format=...)` leaves images of one channel as they are, and their
    feature maps would have the slow layout.
    """
    # One copy into the order height, width, channel; the rest are views.
    pixels: Tensor = x.permute(0, 2, 3, 1).flatten(1).unflatten(1, (*x.shape[2:], x.shape[1]))
    return pixels.permute(0, 3, 1, 2)


def halved(x: Tensor) -> Tensor:
    """Max pooling of 2x2 pixels without overlap, as `F.max_pool2d(x, 2)`.

    Without gradients three comparisons of whole images replace torch's kernel, which is
    4 (channels last) to 12 times slower on a CPU. An odd last row or column is dropped.
    """
    # Gradients need the places of the maxima, which torch's kernel keeps.
    if x.device.type != "cpu" or (torch.is_grad_enabled() and x.requires_grad):
        return F.max_pool2d(x, 2)
    # Two passes over halves: rows first, then columns.
    height, width = x.shape[-2] // 2 * 2, x.shape[-1] // 2 * 2
    rows = torch.maximum(x[..., 0:height:2, :width], x[..., 1:height:2, :width])
    return torch.maximum(rows[..., 0::2], rows[..., 1::2])


class FromFlatHWC(nn.Module):
    """An adapter for flat images: `[N, H·W·C]` becomes `[N, C, H, W]`.

    Networks take images as `(C, H, W)`. Put this in front of one for data in the order
    height, width, channel: `nn.Sequential(FromFlatHWC((3, 32, 32)), network)`.

    Args:
        shape: `(C, H, W)` of the images.

    Raises:
        SpecError: `shape` is not the shape of an image.

    Example:
        >>> import torch
        >>> FromFlatHWC((3, 1, 2))(torch.tensor([[1, 2, 3, 10, 20, 30]])).tolist()
        [[[[1, 10]], [[2, 20]], [[3, 30]]]]
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = image_shape(shape, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Rearrange.

        Raises:
            SpecError: A row of `x` does not hold one image.
        """
        channels, height, width = self.shape
        if x.ndim != 2 or x.shape[1] != math.prod(self.shape):
            raise SpecError(
                f"expected flat images [N, {math.prod(self.shape)}], got {list(x.shape)}"
            )
        return x.view(-1, height, width, channels).permute(0, 3, 1, 2)  # a view
