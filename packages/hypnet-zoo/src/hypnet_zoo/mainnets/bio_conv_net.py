"""The locally connected network of Bartunov et al."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.plugins import with_defaults
from hypnet_zoo.layers.images import check_images, image_shape
from hypnet_zoo.layers.local_conv2d import LocalConv2d
from hypnet_zoo.layers.modulation import ContextOption, modulate


class BioConvNet(nn.Module):
    """A network of three locally connected layers and a hidden layer of 1,024 units.

    Each is followed by tanh; the output layer is linear.

    | layer | kernel | filters per pixel | stride | padding |
    | --- | --- | --- | --- | --- |
    | `local1` | 5 | 64 | 2 | 0 |
    | `local2` | 5 | 128 | 2 | 0 |
    | `local3` | 3 | 256 | 1 | 1 |

    The paper does not state the padding of the first two layers; zero is assumed.

    Shapes:
        - Input: `[N, C, H, W]`
        - Output: `[N, out_features]`

    Args:
        in_shape: `(C, H, W)`, at least 13 pixels in each direction.
        out_features: Number of outputs.
        **options: See `ContextOption`.

    Raises:
        SpecError: Images are too small.

    References:
        Bartunov et al., Assessing the Scalability of Biologically-Motivated Deep
        Learning Algorithms and Architectures, NeurIPS 2018, arXiv:1807.04587, table 3.
    """

    def __init__(
        self, in_shape: Sequence[int], out_features: int, **options: Unpack[ContextOption]
    ) -> None:
        super().__init__()
        chosen = with_defaults(ContextOption, options)
        self.in_shape = image_shape(in_shape, out_features)
        channels, height, width = self.in_shape
        # With 13 pixels the second layer has an output of one pixel, the least.
        if min(height, width) < 13:
            raise SpecError(
                f"in_shape: BioConvNet needs images of at least 13x13 pixels, got {height}x{width}"
            )
        self.local1 = LocalConv2d(channels, 64, (height, width), 5, stride=2)
        self.tanh1 = nn.Tanh()
        self.local2 = LocalConv2d(64, 128, self.local1.out_size, 5, stride=2)
        self.tanh2 = nn.Tanh()
        self.local3 = LocalConv2d(128, 256, self.local2.out_size, 3, padding=1)
        self.tanh3 = nn.Tanh()
        self.fc1 = nn.Linear(256 * self.local3.out_size[0] * self.local3.out_size[1], 1024)
        self.tanh4 = nn.Tanh()
        self.out = nn.Linear(1024, out_features)
        modulate(self, self.in_shape, chosen["context_mod"])

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[N, C, H, W]` to outputs `[N, out_features]`."""
        return self.activations(x)[-1]

    def activations(self, x: Tensor) -> list[Tensor]:
        """The activations of all layers, the outputs last.

        Learning rules other than back-propagation need them.
        """
        check_images(x, self.in_shape)
        first = self.tanh1(self.local1(x))
        second = self.tanh2(self.local2(first))
        third = self.tanh3(self.local3(second))
        fourth = self.tanh4(self.fc1(third.flatten(1)))
        return [first, second, third, fourth, self.out(fourth)]
