"""Construction that residual networks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from hypnet_zoo.layers.modulation import modulate
from hypnet_zoo.layers.spectral_norms import with_spectral_norms
from hypnet_zoo.mainnets._options import ResidualOptions


def group_of_blocks(
    make_block: Callable[..., nn.Module],
    in_channels: int,
    width: int,
    *,
    count: int,
    halved: bool,
    expansion: int = 1,
) -> nn.Sequential:
    """Make the blocks of one group.

    Args:
        make_block: Makes a block from its channels, its width and `stride`.
        in_channels: Feature maps of the group's input.
        width: Width of all blocks.
        count: Number of blocks.
        halved: Whether the group halves the resolution.
        expansion: Feature maps of a block's output, in widths.
    """
    blocks = nn.Sequential()
    for block in range(count):
        # The first block alone changes resolution and number of feature maps, so the
        # shortcuts of all others are the identity.
        stride = 2 if halved and not block else 1
        blocks.append(make_block(in_channels, width, stride=stride))
        in_channels = width * expansion
    return blocks


def finish(network: nn.Module, in_shape: Sequence[int], options: ResidualOptions) -> None:
    """Draw the convolutions, then add spectral norm and context modulation, in place.

    Args:
        network: The complete network.
        in_shape: Shape of one sample.
        options: Its options, all of them.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            # With fan-out the draw keeps the size of gradients.
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    # After the draw: a parametrised weight would no longer be a plain parameter.
    if options["spectral_norm"]:
        with_spectral_norms(network)
    # Last, because the trial pass runs the network.
    modulate(network, in_shape, options["context_mod"])
