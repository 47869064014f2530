"""Convolution without weight sharing."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnet_core.errors import SpecError

Size = int | tuple[int, int]


class LocalConv2d(nn.Module):
    r"""A locally connected layer: a convolution without weight sharing.

    Every output pixel has its own filters:

    $$ y_{n,o,h,w} = b_{h,w,o} + \sum_{i,k,l} W_{h,w,o,i,k,l} \; x_{n,\,i,\,h s + k -
    p,\,w s + l - p} $$

    with stride $s$ and zero padding $p$. Weights are kept pixel by pixel, each pixel a
    bank of filters in the shape of `nn.Conv2d`'s, so that one batched product over
    pixels needs no copy of them and `layer.weight.copy_(conv.weight)` gives all pixels
    the filters of a convolution.

    Shapes:
        - Input: `[N, in_channels, in_height, in_width]`
        - Output: `[N, out_channels, out_height, out_width]`
        - `weight`: `[out_height, out_width, out_channels, in_channels, kernel_height,
          kernel_width]`
        - `bias`: `[out_height, out_width, out_channels]`

    Args:
        in_channels: Channels of the input.
        out_channels: Filters per pixel.
        in_size: Height and width of the input.
        kernel_size: Height and width of a filter, or one number for both.
        stride: Step between neighbouring pixels.
        padding: Zeros on each side of the input.
        bias: Whether each pixel and filter has a bias.

    Raises:
        SpecError: A size is not positive, `padding` is negative, or the kernel is
            larger than the padded image.

    References:
        Bartunov et al., Assessing the Scalability of Biologically-Motivated Deep
        Learning Algorithms and Architectures, NeurIPS 2018, arXiv:1807.04587.
    """

    param_kinds: ClassVar[dict[str, str]] = {"weight": "weight", "bias": "bias"}

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        in_size: Size,
        kernel_size: Size,
        *,
        stride: Size = 1,
        padding: Size = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.in_size, self.kernel_size, self.stride = (
            _pair(in_size),
            _pair(kernel_size),
            _pair(stride),
        )
        self.padding = _pair(padding)
        self._check_sizes()
        self.out_size = (self._outputs(0), self._outputs(1))
        self.weight = nn.Parameter(
            torch.empty(*self.out_size, out_channels, in_channels, *self.kernel_size)
        )
        self.bias = nn.Parameter(torch.empty(*self.out_size, out_channels)) if bias else None
        self.reset_parameters()

    @property
    def fan_in(self) -> int:
        """Number of inputs of one output."""
        return self.in_channels * math.prod(self.kernel_size)

    @property
    def param_fans(self) -> dict[str, tuple[int, int]]:
        """Fan-in and fan-out by parameter: those of the filters of one pixel."""
        # Other pixels have other filters, so fans do not grow with the image.
        fans = (self.fan_in, self.out_channels * math.prod(self.kernel_size))
        return {"weight": fans, "bias": fans}

    def _check_sizes(self) -> None:
        sizes = {"in_size": self.in_size, "kernel_size": self.kernel_size, "stride": self.stride}
        for name, size in sizes.items():
            if min(size) < 1:
                raise SpecError(f"{name} must be positive, got {list(size)}")
        if self.in_channels < 1 or self.out_channels < 1:
            raise SpecError(
                f"channels must be positive, got {self.in_channels} and {self.out_channels}"
            )
        if min(self.padding) < 0:
            raise SpecError(f"padding must not be negative, got {list(self.padding)}")
        for n, p, k in zip(self.in_size, self.padding, self.kernel_size, strict=True):
            # Padding counts on both sides.
            if k > n + 2 * p:
                raise SpecError(
                    f"kernel_size {list(self.kernel_size)} is larger than the image"
                    f" {list(self.in_size)} with padding {list(self.padding)}"
                )

    def _outputs(self, axis: int) -> int:
        free = self.in_size[axis] + 2 * self.padding[axis] - self.kernel_size[axis]
        return free // self.stride[axis] + 1

    def reset_parameters(self) -> None:
        r"""Draw from $U(-1/\sqrt{f}, 1/\sqrt{f})$ with fan-in $f$, as torch does."""
        bound = 1 / math.sqrt(self.fan_in)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[N, in_channels, *in_size]` to `[N, out_channels, *out_size]`.

        Raises:
            SpecError: `x` has another shape.
        """
        if x.ndim != 4 or tuple(x.shape[1:]) != (self.in_channels, *self.in_size):
            raise SpecError(
                f"expected inputs [N, {self.in_channels}, {self.in_size[0]}, {self.in_size[1]}],"
                f" got {list(x.shape)}"
            )
        # Pixels come first, so that one batched product serves all of them.
        patches = F.unfold(x, self.kernel_size, padding=self.padding, stride=self.stride).permute(
            2, 0, 1
        )
        # [pixels, out, in · kernel], a view: weights are kept pixel by pixel.
        weight = self.weight.reshape(len(patches), self.out_channels, self.fan_in)
        # The product is [pixels, N, out].
        y: Tensor = _PixelProduct.apply(patches, weight)
        if self.bias is not None:
            y = y + self.bias.reshape(len(patches), 1, -1)
        return y.permute(1, 2, 0).reshape(len(x), self.out_channels, *self.out_size)

    def extra_repr(self) -> str:
        """Sizes, for `print`."""
        return (
            f"{self.in_channels}, {self.out_channels}, in_size={self.in_size},"
            f" kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        )


class _PixelProduct(torch.autograd.Function):
    """`bmm(x, W^T)` whose gradient of `W` has the layout of `W`.

    Torch's own makes a transposed copy as large as `W`.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return torch.bmm(x, weight.transpose(1, 2))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        del output  # torch passes it
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        # Each product is as large as the forward pass, so only those that are asked
        # for.
        x, weight = ctx.saved_tensors
        of_x = torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None
        of_weight = torch.bmm(gradient.transpose(1, 2), x) if ctx.needs_input_grad[1] else None
        return of_x, of_weight


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
