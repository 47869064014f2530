"""The norm and the zero padding that residual networks share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from hypnet_zoo.layers.batch_norm import BatchNorm, Statistics


def norm_of(features: int, statistics: Statistics | None) -> nn.Module:
    """Batch norm with these statistics, or the identity."""
    return nn.Identity() if statistics is None else BatchNorm(features, statistics=statistics)


class PaddedShortcut(nn.Module):
    """A shortcut without parameters: strided pixels, padded with feature maps of zeros.

    Half of the new feature maps are before the old ones and half after them; the larger
    half after.

    Args:
        in_channels: Feature maps of the input.
        out_channels: Feature maps of the output; surplus ones are dropped.
        stride: Step between pixels.

    References:
        He et al., Deep Residual Learning for Image Recognition, CVPR 2016,
        arXiv:1512.03385, option A.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        # Negative padding drops surplus feature maps.
        missing = out_channels - in_channels
        self.before, self.after = missing // 2, missing - missing // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map `[N, C, H, W]` to `[N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉]`."""
        # `F.pad` counts dimensions from the last one: width, height, feature maps.
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))
