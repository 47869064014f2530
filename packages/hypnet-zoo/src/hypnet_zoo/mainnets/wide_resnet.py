"""Wide residual networks."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Unpack

from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.plugins import with_defaults
from hypnet_zoo.layers.batch_norm import Statistics
from hypnet_zoo.layers.images import check_images, image_shape
from hypnet_zoo.layers.norms import norm_of
from hypnet_zoo.mainnets._options import CifarResidualOptions
from hypnet_zoo.mainnets._residual import finish, group_of_blocks
from hypnet_zoo.mainnets.resnet import group_widths


class WideResNet(nn.Module):
    r"""The wide residual network WRN-$(6n + 4)$-$k$ with two convolutions per block.

    Batch norm and ReLU precede each convolution. Where a block changes the number
    of feature maps or the resolution, its shortcut is a 1x1 convolution of the
    activated input.

    Shapes:
        - Input: `[N, C, H, W]`
        - Output: `[N, out_features]`

    Args:
        in_shape: `(C, H, W)`.
        out_features: Number of outputs.
        n: Blocks per group: 4 for WRN-28, 6 for WRN-40, 2 for WRN-16.
        k: Widening factor of the three groups.
        dropout: Probability that an activation is set to zero in training, after the
            first convolution of each block.
        **options: See `CifarResidualOptions`.

    Raises:
        SpecError: `n`, `k` or a number of feature maps is not positive, there are not
            four of them, or `dropout` is not in [0, 1).

    Example:
        >>> sum(p.numel() for p in WideResNet((3, 32, 32), 10, n=6, k=2).parameters())
        2243546

    References:
        Zagoruyko and Komodakis, Wide Residual Networks, BMVC 2016, arXiv:1605.07146.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_features: int,
        *,
        n: int = 4,
        k: int = 10,
        dropout: float = 0.0,
        **options: Unpack[CifarResidualOptions],
    ) -> None:
        super().__init__()
        chosen = with_defaults(CifarResidualOptions, options)
        if not 0.0 <= dropout < 1.0:
            raise SpecError(f"dropout must lie in [0, 1), got {dropout}")
        self.in_shape = image_shape(in_shape, out_features)
        first, *widths = group_widths(n, k, chosen["feature_maps"])
        self.conv1 = nn.Conv2d(self.in_shape[0], first, 3, padding=1, bias=chosen["conv_bias"])
        make_block = functools.partial(
            WideBlock,
            bias=chosen["conv_bias"],
            dropout=dropout,
            statistics=chosen["statistics"],
        )
        self.groups = nn.Sequential()
        channels = first
        for group, width in enumerate(widths):
            self.groups.append(
                group_of_blocks(make_block, channels, width, count=n, halved=group > 0)
            )
            channels = width
        self.norm = norm_of(channels, chosen["statistics"])
        self.relu = nn.ReLU()
        self.out = nn.Linear(channels, out_features, bias=chosen["out_bias"])
        finish(self, self.in_shape, chosen)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[N, C, H, W]` to outputs `[N, out_features]`."""
        check_images(x, self.in_shape)
        h = self.groups(self.conv1(x))
        h = self.relu(self.norm(h))
        y: Tensor = self.out(h.mean((2, 3)))
        return y


class WideBlock(nn.Module):
    """Norm, ReLU and convolution, twice, with dropout between, and a shortcut."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        bias: bool,
        dropout: float,
        statistics: Statistics | None,
    ) -> None:
        super().__init__()
        self.norm1 = norm_of(in_channels, statistics)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=bias)
        self.dropout = nn.Dropout(dropout)
        self.norm2 = norm_of(out_channels, statistics)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=bias)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = (
            None if same else nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `[N, C, H, W]` to `[N, out_channels, H / stride, W / stride]`."""
        # The shortcut reads the activated input, as in the paper.
        activated = self.relu1(self.norm1(x))
        h = self.dropout(self.conv1(activated))
        h = self.conv2(self.relu2(self.norm2(h)))
        y: Tensor = h + (x if self.shortcut is None else self.shortcut(activated))
        return y
