"""Residual networks for small images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_zoo.layers.batch_norm import Statistics
from hypnet_zoo.layers.images import check_images, image_shape
from hypnet_zoo.layers.modulation import Modulation, modulate
from hypnet_zoo.layers.norms import PaddedShortcut, norm_of
from hypnet_zoo.layers.spectral_norms import with_spectral_norms


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
        feature_maps: Feature maps of the first convolution and of the three groups,
            before widening.
        conv_bias: Whether convolutions have biases; batch norm makes them superfluous.
        out_bias: Whether the linear layer has a bias.
        statistics: Statistics of the batch norm after each convolution: `running`,
            `batch`, `frozen` or `learnable`; `None` for no batch norm.
        spectral_norm: Divide each weight by an estimate of its largest singular value.
        context_mod: Where and how gains and shifts modulate the layers, see
            `Modulation`; none by default.

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
        feature_maps: tuple[int, ...] = (16, 16, 32, 64),
        conv_bias: bool = False,
        out_bias: bool = True,
        statistics: Statistics | None = "running",
        spectral_norm: bool = False,
        context_mod: Modulation | None = None,
    ) -> None:
        super().__init__()
        self.in_shape = image_shape(in_shape, out_features)
        first, *widths = group_widths(n, k, feature_maps)
        self.conv1 = nn.Conv2d(self.in_shape[0], first, 3, padding=1, bias=conv_bias)
        self.norm1 = norm_of(first, statistics)
        self.relu = nn.ReLU()
        self.groups = nn.Sequential()
        channels = first
        for group, width in enumerate(widths):
            blocks = nn.Sequential()
            for block in range(n):
                stride = 2 if group and not block else 1
                blocks.append(
                    ResidualBlock(
                        channels, width, stride=stride, bias=conv_bias, statistics=statistics
                    )
                )
                channels = width
            self.groups.append(blocks)
        self.out = nn.Linear(channels, out_features, bias=out_bias)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if spectral_norm:
            with_spectral_norms(self)
        modulate(self, self.in_shape, context_mod)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[N, C, H, W]` to outputs `[N, out_features]`."""
        check_images(x, self.in_shape)
        h = self.relu(self.norm1(self.conv1(x)))
        h = self.groups(h)
        return self.out(h.mean((2, 3)))  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, and a shortcut around them that is added before the last ReLU."""

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
        """Map `[N, in_channels, H, W]` to `[N, out_channels, H / stride, W / stride]`."""
        h = self.relu1(self.norm1(self.conv1(x)))
        h = self.norm2(self.conv2(h))
        return self.relu2(h + self.shortcut(x))  # type: ignore[no-any-return]


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
