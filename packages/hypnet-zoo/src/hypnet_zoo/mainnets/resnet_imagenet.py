"""Residual networks for ImageNet."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import ClassVar, Literal, TypedDict, Unpack, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from hypnet_core.errors import SpecError, did_you_mean, listed
from hypnet_core.plugins import with_defaults
from hypnet_zoo.layers.batch_norm import Statistics
from hypnet_zoo.layers.images import check_images, image_shape
from hypnet_zoo.layers.norms import PaddedShortcut, norm_of
from hypnet_zoo.mainnets._options import ResidualOptions
from hypnet_zoo.mainnets._residual import finish, group_of_blocks

Variant = Literal[18, 34, 50, 101, 152]
Shortcut = Literal["projection", "padding"]

# Blocks per group, and whether blocks are bottlenecks.
_VARIANTS: dict[int, tuple[tuple[int, ...], bool]] = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}


class ResNetImageNet(nn.Module):
    """A residual network of four groups: ResNet-18, 34, 50, 101, 152 and others.

    A 7x7 convolution of stride 2 with max pooling (the stem), four groups of blocks,
    the last three of which halve the resolution, global average pooling and a linear
    layer. Parameters are named and shaped as in `torchvision.models`, so a `state_dict`
    of one fits the other, and outputs are equal.

    Shapes:
        - Input: `[N, C, H, W]`
        - Output: `[N, out_features]`

    Args:
        in_shape: `(C, H, W)`, 224x224 pixels in the paper.
        out_features: Number of outputs.
        variant: The named networks; `None` to use `blocks` and `bottleneck`.
        blocks: Blocks per group, four numbers, if there is no `variant`.
        bottleneck: Blocks of 1x1, 3x3 and 1x1 convolutions with four times the feature
            maps at the end, instead of two 3x3 ones, if there is no `variant`.
        feature_maps: Feature maps of the stem and of the four groups.
        shortcut: How a shortcut changes the shape: by a 1x1 convolution with batch norm
            (`projection`), or by subsampling and feature maps of zeros (`padding`).
        small_images: A 3x3 convolution of stride 1 without pooling as stem, for images
            like CIFAR's.
        **options: See `ResidualOptions`.

    Raises:
        SpecError: `variant` or `shortcut` does not exist, a size is not positive, or
            `blocks` or `feature_maps` has the wrong length.

    Example:
        >>> net = ResNetImageNet((3, 224, 224), 1000, variant=18)
        >>> sum(p.numel() for p in net.parameters())
        11689512

    References:
        He et al., Deep Residual Learning for Image Recognition, CVPR 2016,
        arXiv:1512.03385, table 1. As in torchvision, the stride of a bottleneck is on
        its 3x3 convolution, not on the first 1x1 one.
    """

    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(
        self,
        in_shape: Sequence[int],
        out_features: int,
        *,
        variant: Variant | None = 18,
        blocks: tuple[int, ...] = (2, 2, 2, 2),
        bottleneck: bool = False,
        feature_maps: tuple[int, ...] = (64, 64, 128, 256, 512),
        shortcut: Shortcut = "projection",
        small_images: bool = False,
        **options: Unpack[ResidualOptions],
    ) -> None:
        super().__init__()
        chosen = with_defaults(ResidualOptions, options)
        if variant is not None:
            if variant not in _VARIANTS:
                raise SpecError(
                    f"variant: there is no ResNet {variant}; there is:"
                    f" {listed(map(str, _VARIANTS))}"
                )
            blocks, bottleneck = _VARIANTS[variant]
        _check(blocks, feature_maps, shortcut)
        self.in_shape = image_shape(in_shape, out_features)
        self.small_images = small_images
        stem = feature_maps[0]
        kernel, stride, padding = (3, 1, 1) if small_images else (7, 2, 3)
        self.conv1 = nn.Conv2d(
            self.in_shape[0], stem, kernel, stride=stride, padding=padding, bias=chosen["conv_bias"]
        )
        self.bn1 = norm_of(stem, chosen["statistics"])
        self.relu = nn.ReLU()
        kind = Bottleneck if bottleneck else BasicBlock
        make_block = functools.partial(
            kind, shortcut=shortcut, bias=chosen["conv_bias"], statistics=chosen["statistics"]
        )
        channels = stem
        for group, (count, width) in enumerate(zip(blocks, feature_maps[1:], strict=True)):
            layer = group_of_blocks(
                make_block,
                channels,
                width,
                count=count,
                halved=group > 0,
                expansion=kind.expansion,
            )
            channels = width * kind.expansion
            self.add_module(f"layer{group + 1}", layer)  # the names that torchvision gives them
        self.fc = nn.Linear(channels, out_features, bias=chosen["out_bias"])
        finish(self, self.in_shape, chosen)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[N, C, H, W]` to outputs `[N, out_features]`."""
        check_images(x, self.in_shape)
        h = self.relu(self.bn1(self.conv1(x)))
        if not self.small_images:
            h = F.max_pool2d(h, 3, stride=2, padding=1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            h = layer(h)
        y: Tensor = self.fc(h.mean((2, 3)))
        return y


class _BlockOptions(TypedDict):
    """Options of all blocks of a network."""

    shortcut: Shortcut
    bias: bool
    statistics: Statistics | None


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion: ClassVar[int] = 1

    def __init__(
        self, in_channels: int, width: int, *, stride: int, **options: Unpack[_BlockOptions]
    ) -> None:
        super().__init__()
        bias, statistics = options["bias"], options["statistics"]
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=bias)
        self.bn1 = norm_of(width, statistics)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=bias)
        self.bn2 = norm_of(width, statistics)
        self.relu2 = nn.ReLU()
        self.downsample = _shortcut(in_channels, width, stride, options["shortcut"], statistics)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[N, in_channels, H, W]` to `[N, width, H / stride, W / stride]`."""
        h = self.relu1(self.bn1(self.conv1(x)))
        h = self.bn2(self.conv2(h))
        y: Tensor = self.relu2(h + self.downsample(x))
        return y


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1, and a shortcut."""

    expansion: ClassVar[int] = 4

    def __init__(
        self, in_channels: int, width: int, *, stride: int, **options: Unpack[_BlockOptions]
    ) -> None:
        super().__init__()
        bias, statistics = options["bias"], options["statistics"]
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=bias)
        self.bn1 = norm_of(width, statistics)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=bias)
        self.bn2 = norm_of(width, statistics)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=bias)
        self.bn3 = norm_of(width * self.expansion, statistics)
        self.relu3 = nn.ReLU()
        self.downsample = _shortcut(
            in_channels, width * self.expansion, stride, options["shortcut"], statistics
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `[N, in_channels, H, W]` to `[N, 4 * width, H / stride, W / stride]`."""
        h = self.relu1(self.bn1(self.conv1(x)))
        h = self.relu2(self.bn2(self.conv2(h)))
        h = self.bn3(self.conv3(h))
        y: Tensor = self.relu3(h + self.downsample(x))
        return y


def _shortcut(
    in_channels: int, out_channels: int, stride: int, kind: Shortcut, statistics: Statistics | None
) -> nn.Module:
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if kind == "padding":
        return PaddedShortcut(in_channels, out_channels, stride=stride)
    projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
    return nn.Sequential(projection, norm_of(out_channels, statistics))


def _check(blocks: Sequence[int], feature_maps: Sequence[int], shortcut: str) -> None:
    if len(blocks) != 4 or min(blocks) < 1:
        raise SpecError(f"blocks must be four positive numbers, got {list(blocks)}")
    if len(feature_maps) != 5 or min(feature_maps) < 1:
        raise SpecError(f"feature_maps must be five positive numbers, got {list(feature_maps)}")
    if shortcut not in get_args(Shortcut):
        raise SpecError(
            f"shortcut: there is no {shortcut!r}{did_you_mean(shortcut, get_args(Shortcut))}"
        )
