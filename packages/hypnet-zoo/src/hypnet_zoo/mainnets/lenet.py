"""LeNet, in three common sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnet_core.errors import SpecError, did_you_mean
from hypnet_core.plugins import with_defaults
from hypnet_zoo.layers.batched import batched_conv2d, batched_linear
from hypnet_zoo.layers.contexts import context_layers
from hypnet_zoo.layers.images import channels_last, check_images, halved, image_shape
from hypnet_zoo.layers.modulation import modulate
from hypnet_zoo.layers.spectral_norms import with_spectral_norms
from hypnet_zoo.mainnets._options import ImageOptions

Arch = Literal["mnist_small", "mnist_large", "cifar"]

# Up to this number of images one grouped convolution for all sets of weights beats one
# convolution per set, on a CPU; its backward pass is slow.
_FEW_IMAGES, _FEW_IMAGES_TO_LEARN_FROM = 16, 4

# Filters of the two convolutions, and units of the hidden layer.
_SIZES: dict[str, tuple[int, int, int]] = {
    "mnist_small": (10, 20, 50),
    "mnist_large": (20, 50, 500),
    "cifar": (192, 192, 1000),
}


class LeNet(nn.Module):
    """LeNet: two 5x5 convolutions, a hidden layer and a linear output layer.

    Each convolution is followed by max pooling and a ReLU.

    | arch | filters | hidden | parameters |
    | --- | --- | --- | --- |
    | `mnist_small` | 10, 20 | 50 | 21,840 (1x28x28, 10 classes) |
    | `mnist_large` | 20, 50 | 500 | 431,080 (1x28x28, 10 classes) |
    | `cifar` | 192, 192 | 1000 | 5,747,394 (3x32x32, 10 classes) |

    Shapes:
        - Input: `[N, C, H, W]`
        - Output: `[N, out_features]`

    Args:
        in_shape: `(C, H, W)`, at least 16 pixels in each direction.
        out_features: Number of outputs.
        arch: The size.
        dropout: Probability that an activation is set to zero in training: after each
            convolution, before pooling, and after the hidden layer.
        **options: See `ImageOptions`.

    Raises:
        SpecError: `arch` does not exist, images are too small, or `dropout` is not in
            [0, 1).

    Example:
        >>> net = LeNet((1, 28, 28), 10, arch="mnist_small")
        >>> sum(p.numel() for p in net.parameters())
        21840

    References:
        LeCun et al., Gradient-Based Learning Applied to Document Recognition,
        Proceedings of the IEEE 1998. Connections, sizes and activations are those of
        its usual descendants, not of the paper.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_features: int,
        *,
        arch: Arch = "mnist_large",
        dropout: float = 0.0,
        **options: Unpack[ImageOptions],
    ) -> None:
        super().__init__()
        chosen = with_defaults(ImageOptions, options)
        if arch not in _SIZES:
            raise SpecError(f"arch: there is no LeNet {arch!r}{did_you_mean(arch, get_args(Arch))}")
        if not 0.0 <= dropout < 1.0:
            raise SpecError(f"dropout must lie in [0, 1), got {dropout}")
        self.in_shape = image_shape(in_shape, out_features)
        channels, height, width = self.in_shape
        # With 16 pixels one is left after both poolings, the least.
        if min(height, width) < 16:
            raise SpecError(
                f"in_shape: LeNet needs images of at least 16x16 pixels, got {height}x{width}"
            )
        first, second, hidden = _SIZES[arch]
        pixels = _after_convolutions(height) * _after_convolutions(width)
        self.conv1 = nn.Conv2d(channels, first, 5)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(first, second, 5)
        self.relu2 = nn.ReLU()
        self.fc1 = nn.Linear(second * pixels, hidden)
        self.relu3 = nn.ReLU()
        self.out = nn.Linear(hidden, out_features)
        # One module serves all places: it has no parameters.
        self.dropout = nn.Dropout(dropout)
        self._plain = not chosen["spectral_norm"]
        if chosen["spectral_norm"]:
            with_spectral_norms(self)
        modulate(self, self.in_shape, chosen["context_mod"])

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[N, C, H, W]` to outputs `[N, out_features]`."""
        check_images(x, self.in_shape)
        h = self.relu1(halved(self.dropout(self.conv1(channels_last(x)))))
        h = self.relu2(halved(self.dropout(self.conv2(h))))
        h = self.dropout(self.relu3(self.fc1(h.flatten(1))))
        y: Tensor = self.out(h)
        return y

    def forward_batched(self, x: Tensor, *, weights: Mapping[str, Tensor], paired: bool) -> Any:
        """Run many sets of weights at once: grouped convolutions, batched products.

        Args:
            x: `[N, C, H, W]` for all sets, or `[B, N, C, H, W]` if `paired`.
            weights: `[B, *shape]` for every parameter.
            paired: Whether each set reads a different input.

        Returns:
            `[B, N, out_features]`, or `NotImplemented` with spectral norm or context
            modulation.
        """
        if not self._plain or context_layers(self):
            return NotImplemented
        check_images(x[0] if paired else x, self.in_shape)
        # The backward pass of grouped convolutions is slow, so the limit is lower.
        learns = torch.is_grad_enabled() and weights["conv1.weight"].requires_grad
        # Images per set: the input is [..., N, C, H, W] in both forms.
        few = x.shape[-4] <= (_FEW_IMAGES_TO_LEARN_FROM if learns else _FEW_IMAGES)
        h = (
            self._grouped(x, weights, paired=paired)
            if few
            else self._one_by_one(x, weights, paired=paired)
        )
        h = self.dropout(self.relu3(batched_linear(h, weights["fc1.weight"], weights["fc1.bias"])))
        return batched_linear(h, weights["out.weight"], weights["out.bias"])

    def _grouped(self, x: Tensor, weights: Mapping[str, Tensor], *, paired: bool) -> Tensor:
        """Inputs of the hidden layer, `[B, N, features]`, by grouped convolutions."""
        h = x.transpose(0, 1) if paired else x
        for conv, relu in (("conv1", self.relu1), ("conv2", self.relu2)):
            h = self.dropout(batched_conv2d(h, weights[f"{conv}.weight"], weights[f"{conv}.bias"]))
            # Pooling and rectifier need no sets: all of them count as channels.
            h = relu(halved(h.flatten(1, 2))).unflatten(1, h.shape[1:3])
        return h.flatten(2).transpose(0, 1)  # [B, N, features]

    def _one_by_one(self, x: Tensor, weights: Mapping[str, Tensor], *, paired: bool) -> Tensor:
        """The same by one convolution per set: faster for more than a few images."""
        names = ("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias")
        inputs = (
            [channels_last(one) for one in x.unbind(0)]
            if paired
            else [channels_last(x)] * len(weights["out.weight"])
        )
        features = []
        for one, w1, b1, w2, b2 in zip(
            inputs, *(weights[name].unbind(0) for name in names), strict=True
        ):
            h = self.relu1(halved(self.dropout(F.conv2d(one, w1, b1))))
            features.append(self.relu2(halved(self.dropout(F.conv2d(h, w2, b2)))).flatten(1))
        return torch.stack(features)


def _after_convolutions(pixels: int) -> int:
    """Height or width after two convolutions of 5, each followed by pooling by 2."""
    return ((pixels - 4) // 2 - 4) // 2
