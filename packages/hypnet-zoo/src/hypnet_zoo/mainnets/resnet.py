"""Residual networks for small images."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Unpack

from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.plugins import with_defaults
from hypnet_zoo.layers.batch_norm import Statistics
from hypnet_zoo.layers.images import check_images, image_shape
from hypnet_zoo.layers.norms import PaddedShortcut, norm_of
from hypnet_zoo.mainnets._options import CifarResidualOptions
from hypnet_zoo.mainnets._residual import finish, group_of_blocks


class ResNet(nn.Module):
    r"""The residual network with $6n + 2$ layers for CIFAR.

    A 3x3 convolution, three groups of $n$ blocks of two 3x3 convolutions, the second
    and third group at half the resolution of the one before, global average pooling and
    a linear layer. Shortcuts have no parameters.

    Shapes:
        - Input: `[N, C, H, W]`
        - Output: `[N, out_features]`

    Args:
        in_shape: `(C, H, W)`.
        out_features: Number of outputs.
        n: Blocks per group: 3, 5, 7, 9 and 18 in the paper.
        k: Widening factor of the three groups.
        **options: See `CifarResidualOptions`.

    Raises:
        SpecError: `n`, `k` or a number of feature maps is not positive, or there are
            not four of them.

    Example:
        >>> sum(p.numel() for p in ResNet((3, 32, 32), 10, n=5).parameters())
        464154

    References:
        He et al., Deep Residual Learning for Image Recognition, CVPR 2016,
        arXiv:1512.03385, section 4.2.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_features: int,
        *,
        n: int = 5,
        k: int = 1,
        **options: Unpack[CifarResidualOptions],
    ) -> None:
        super().__init__()
        chosen = with_defaults(CifarResidualOptions, options)
        self.in_shape = image_shape(in_shape, out_features)
        first, *widths = group_widths(n, k, chosen["feature_maps"])
        self.conv1 = nn.Conv2d(self.in_shape[0], first, 3, padding=1, bias=chosen["conv_bias"])
        self.norm1 = norm_of(first, chosen["statistics"])
        self.relu = nn.ReLU()
        make_block = functools.partial(
            ResidualBlock, bias=chosen["conv_bias"], statistics=chosen["statistics"]
        )
        self.groups = nn.Sequential()
        channels = first
        for group, width in enumerate(widths):
            self.groups.append(
                group_of_blocks(make_block, channels, width, count=n, halved=group > 0)
            )
            channels = width
        self.out = nn.Linear(channels, out_features, bias=chosen["out_bias"])
        finish(self, self.in_shape, chosen)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[N, C, H, W]` to outputs `[N, out_features]`."""
        check_images(x, self.in_shape)
        h = self.relu(self.norm1(self.conv1(x)))
        h = self.groups(h)
        y: Tensor = self.out(h.mean((2, 3)))
        return y


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, and a shortcut that is added before the last ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        bias: bool,
        statistics: Statistics | None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=bias)
        self.norm1 = norm_of(out_channels, statistics)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=bias)
        self.norm2 = norm_of(out_channels, statistics)
        self.relu2 = nn.ReLU()
        same = stride == 1 and in_channels == out_channels
        self.shortcut = (
            nn.Identity() if same else PaddedShortcut(in_channels, out_channels, stride=stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `[N, C, H, W]` to `[N, out_channels, H / stride, W / stride]`."""
        h = self.relu1(self.norm1(self.conv1(x)))
        h = self.norm2(self.conv2(h))
        y: Tensor = self.relu2(h + self.shortcut(x))
        return y


def group_widths(n: int, k: int, feature_maps: Sequence[int]) -> tuple[int, ...]:
    """Feature maps of the first convolution and, widened, of the three groups.

    Raises:
        SpecError: A size is not positive, or there are not four numbers of feature
            maps.
    """
    if n < 1 or k < 1:
        raise SpecError(f"n and k must be at least 1, got {n} and {k}")
    if len(feature_maps) != 4 or min(feature_maps) < 1:
        raise SpecError(f"feature_maps must be four positive numbers, got {list(feature_maps)}")
    return (feature_maps[0], *(k * width for width in feature_maps[1:]))
