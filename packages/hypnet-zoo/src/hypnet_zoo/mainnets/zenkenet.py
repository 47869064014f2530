"""The convolutional network of the synaptic-intelligence paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.plugins import with_defaults
from hypnet_zoo.layers.images import check_images, halved, image_shape
from hypnet_zoo.layers.modulation import modulate
from hypnet_zoo.layers.spectral_norms import with_spectral_norms
from hypnet_zoo.mainnets._options import ImageOptions


class ZenkeNet(nn.Module):
    """The network of four 3x3 convolutions from the synaptic-intelligence paper.

    The convolutions form two groups, each with pooling and dropout; a hidden layer of
    512 units and a linear output layer follow. The first convolution of each group is
    padded, the second is not; 32 filters in the first group, 64 in the second.

    Shapes:
        - Input: `[N, C, H, W]`
        - Output: `[N, out_features]`

    Args:
        in_shape: `(C, H, W)`, at least 10 pixels in each direction.
        out_features: Number of outputs.
        dropout: Probability that an activation is set to zero in training, after each
            group; twice that after the hidden layer.
        **options: See `ImageOptions`.

    Raises:
        SpecError: Images are too small, or `dropout` is not in [0, 0.5).

    Example:
        >>> sum(p.numel() for p in ZenkeNet((3, 32, 32), 10).parameters())
        1250858

    References:
        Zenke, Poole and Ganguli, Continual Learning Through Synaptic Intelligence, ICML
        2017, arXiv:1703.04200, appendix.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_features: int,
        *,
        dropout: float = 0.25,
        **options: Unpack[ImageOptions],
    ) -> None:
        super().__init__()
        chosen = with_defaults(ImageOptions, options)
        if not 0.0 <= dropout < 0.5:
            raise SpecError(
                "dropout must lie in [0, 0.5), because the hidden layer has twice as much, got"
                f" {dropout}"
            )
        self.in_shape = image_shape(in_shape, out_features)
        channels, height, width = self.in_shape
        # With 10 pixels one is left after both poolings, the least.
        if min(height, width) < 10:
            raise SpecError(
                f"in_shape: ZenkeNet needs images of at least 10x10 pixels, got {height}x{width}"
            )
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=1)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(32, 32, 3)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1)
        self.relu3 = nn.ReLU()
        self.conv4 = nn.Conv2d(64, 64, 3)
        self.relu4 = nn.ReLU()
        self.fc1 = nn.Linear(64 * _after_convolutions(height) * _after_convolutions(width), 512)
        self.relu5 = nn.ReLU()
        self.out = nn.Linear(512, out_features)
        # One module serves all places: it has no parameters.
        self.dropout = nn.Dropout(dropout)
        self.hidden_dropout = nn.Dropout(2 * dropout)
        if chosen["spectral_norm"]:
            with_spectral_norms(self)
        modulate(self, self.in_shape, chosen["context_mod"])

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[N, C, H, W]` to outputs `[N, out_features]`."""
        check_images(x, self.in_shape)
        h = self.relu2(self.conv2(self.relu1(self.conv1(x))))
        h = halved(self.dropout(h))
        h = self.relu4(self.conv4(self.relu3(self.conv3(h))))
        h = halved(self.dropout(h))
        h = self.hidden_dropout(self.relu5(self.fc1(h.flatten(1))))
        y: Tensor = self.out(h)
        return y


def _after_convolutions(pixels: int) -> int:
    """Height or width after two groups that lose two pixels and are pooled by 2."""
    return ((pixels - 2) // 2 - 2) // 2
