"""A hypernetwork that draws its weights like an image."""

from __future__ import annotations

import functools
import math
from typing import Annotated, Unpack

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from hypnet_core.errors import SpecError
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets._shared.base import InitializedHyperNetwork, check_batch
from hypnet_zoo.hypernets._shared.images import KernelSize, channels_of, image_shape_of, kernels_of
from hypnet_zoo.init.activations import gain_of
from hypnet_zoo.init.draw import draw_signs
from hypnet_zoo.init.effects import MOMENTS, TRUNK
from hypnet_zoo.init.heads import calibration_inputs
from hypnet_zoo.init.options import Init, InitOption, chosen_options
from hypnet_zoo.init.trunk import as_at_start, is_drawn
from hypnet_zoo.layers.activations import activation_module, activation_type
from hypnet_zoo.layers.enlarge import Enlarge, sizes_backwards
from hypnet_zoo.layers.hidden import ActivationOptions, NormOptions
from hypnet_zoo.layers.per_tensor import PerTensor
from hypnet_zoo.layers.self_attention import SelfAttention

_PIXELS = 2**18  # to measure the start with


class DeconvOptions(ActivationOptions, NormOptions, total=False):
    """Options of the network that draws an image."""

    num_layers: Annotated[
        int,
        Field(
            default=5,
            description="Number of layers: the linear one and the transposed convolutions.",
        ),
    ]
    filters: Annotated[
        tuple[int, ...] | None,
        Field(
            default=None,
            description=(
                "Channels after each layer but the last; by default 128 before the last layer and"
                " twice as many with every layer before that."
            ),
        ),
    ]
    kernel_size: Annotated[
        KernelSize,
        Field(
            default=5,
            description=(
                "Kernel of the transposed convolutions: one for all, or one each, a number or a"
                " pair (height, width)."
            ),
        ),
    ]
    attention_after: Annotated[
        tuple[int, ...],
        Field(
            default=(1, 3),
            description=(
                "Layers followed by self-attention, 0 for the linear one; not the last. Time and"
                " memory grow with the square of the number of pixels."
            ),
        ),
    ]


class HDeconvOptions(DeconvOptions, InitOption, total=False):
    """Options of `HDeconv` besides the shape of the image."""


class HDeconv(InitializedHyperNetwork):
    r"""A deconvolutional network that writes all weights as the pixels of one image.

    A linear layer maps the input $[e; u]$ to a small image of many channels. Transposed
    convolutions enlarge it like the generator of a DCGAN, and self-attention between
    all pixels relates distant weights. Pixels are read row by row, and surplus ones are
    dropped. A learned gain and a shift for each tensor of the target set its size:

    $$ \omega_t = a_t\, s_t \odot \mathrm{pixels}_t(e, u) + b_t $$

    The signs $s_t$, drawn once for each weight, keep neighbouring pixels, which are
    alike, from adding up in the main network.

    Every transposed convolution doubles height and width, except where its input would
    be smaller than 4; there it keeps the size. Batch norm requires two or more
    conditions in a training batch.

    Args:
        target: The parameters to generate.
        conditions: Number of conditions and sizes of embedding and unconditional input.
        image_shape: `(height, width)` or `(channels, height, width)` of the image; the
            smallest square that is large enough by default.
        **options: See `HDeconvOptions`.

    Raises:
        SpecError: The image is too small, there is no input, or the numbers of layers,
            filters and kernels do not fit together.

    References:
        A. Radford, L. Metz, S. Chintala: Unsupervised representation learning with deep
        convolutional generative adversarial networks. ICLR 2016, arXiv:1511.06434. H.
        Zhang et al.: Self-attention generative adversarial networks. ICML 2019,
        arXiv:1805.08318.

    Example:
        >>> target = TargetSpec.from_shapes([[30, 20], [30]])
        >>> conditions = ConditionSpec(count=2, size=8)
        >>> hnet = HDeconv(target, conditions, filters=(32, 16, 16, 8))
        >>> hnet.image_shape, hnet([0, 1])["0"].shape
        ((1, 26, 26), torch.Size([2, 30, 20]))
        >>> hnet.sizes
        ((4, 4), (4, 4), (7, 7), (13, 13), (26, 26))
    """

    signs: Tensor

    def __init__(
        self,
        target: TargetSpec,
        conditions: ConditionSpec,
        *,
        image_shape: tuple[int, ...] | None = None,
        **options: Unpack[HDeconvOptions],
    ) -> None:
        chosen = chosen_options(HDeconvOptions, options)
        super().__init__(target, conditions, chosen["init"])
        in_features = self._in_features()
        self.image_shape = image_shape_of(target, image_shape)
        num_layers = chosen["num_layers"]
        channels = [*channels_of(num_layers, chosen["filters"]), self.image_shape[0]]
        kernels = kernels_of(num_layers, chosen["kernel_size"])
        wrong = [index for index in chosen["attention_after"] if not 0 <= index < num_layers - 1]
        if wrong:
            raise SpecError(
                f"attention_after: there is no layer {wrong[0]} before the last; there are 0 to"
                f" {num_layers - 2}"
            )
        # Backwards from the image, so that its size is met exactly.
        self.sizes = sizes_backwards(self.image_shape[1:], num_layers)
        self.activation = chosen["activation"]
        self._needs_batch = chosen["batch_norm"]
        wrap = with_spectral_norm if chosen["spectral_norm"] else _unchanged
        images = list(zip(channels, self.sizes, strict=True))
        width, size = images[0]
        linear = nn.Linear(in_features, width * math.prod(size), bias=chosen["bias"])
        self.trunk = nn.Sequential(wrap(linear), nn.Unflatten(1, (width, *size)))
        self._append_hidden(0, width, chosen)
        for layer in range(1, num_layers):
            enlarge = Enlarge(
                images[layer - 1], images[layer], kernels[layer - 1], bias=chosen["bias"]
            )
            self.trunk.append(wrap(enlarge))
            if layer < num_layers - 1:
                self._append_hidden(layer, images[layer][0], chosen)
        self.per_tensor = PerTensor(target)
        # Neighbouring pixels repeat each other, and weights that repeat each other add
        # up in the main network instead of averaging out.
        self.register_buffer("signs", torch.ones(target.numel, dtype=torch.int8))
        self.initialize()

    def _append_hidden(self, layer: int, width: int, options: HDeconvOptions) -> None:
        """Norm, activation and self-attention after a layer."""
        if options["batch_norm"]:
            self.trunk.append(nn.BatchNorm2d(width))
        self.trunk.append(activation_module(self.activation))
        if layer in options["attention_after"]:
            attention = SelfAttention(
                width, reduction=min(8, width), spectral_norm=options["spectral_norm"]
            )
            self.trunk.append(attention)

    def _init_options(self) -> frozenset[str]:
        return MOMENTS | (TRUNK if is_drawn(self.trunk) else frozenset())

    def _initialize(self, init: Init) -> None:
        """Measure the pixels, and set the gain of each tensor accordingly."""
        for layer in self.trunk:
            if isinstance(layer, (nn.Linear, nn.ConvTranspose2d)) and not is_parametrized(layer):
                _fill(layer, init, gain_of(activation_type(self.activation)))
            elif isinstance(layer, SelfAttention):
                layer.gamma.zero_()
        self.signs.copy_(draw_signs(self.target.numel))
        # Images are expensive: fewer of large ones.
        samples = max(8, min(128, _PIXELS // math.prod(self.image_shape)))
        # There may be more rows than asked for: whole rounds of all conditions.
        inputs = calibration_inputs(self, init, samples=samples)[:samples]
        with as_at_start(self.trunk):
            # Self-attention starts as the identity, so it need not be computed.
            layers = [layer for layer in self.trunk if not isinstance(layer, SelfAttention)]
            image = functools.reduce(lambda x, layer: layer(x), layers, inputs)
        # Surplus pixels belong to no tensor.
        self.per_tensor.fit(self.starts, self._signed(image))

    def start_at_zero(self) -> None:
        """Set gains and shifts to zero, so that every weight is exactly zero."""
        self.per_tensor.zero_()

    def scale_outputs(self, factor: Tensor) -> None:
        """Multiply all generated weights."""
        self.per_tensor.scale_(factor)

    def generate(self, inputs: Tensor) -> Tensor:
        """Map `[B, n]` to flat weights `[B, numel]`."""
        if self._needs_batch:
            check_batch(len(inputs), training=self.training)
        weights: Tensor = self.per_tensor(self._pixels(inputs))
        return weights

    def _pixels(self, inputs: Tensor) -> Tensor:
        return self._signed(self.trunk(inputs))

    def _signed(self, image: Tensor) -> Tensor:
        return image.flatten(1)[:, : self.target.numel] * self.signs


def _unchanged(layer: nn.Module) -> nn.Module:
    return layer


def _fill(layer: nn.Linear | nn.ConvTranspose2d, init: Init, gain: float) -> None:
    """Draw weights that keep mean squares, on average over the pixels; no bias."""
    if isinstance(layer, nn.Linear):
        inputs = float(layer.in_features)
    else:
        # Strides leave gaps: an output pixel meets only one in `stride` entries of the
        # kernel per direction.
        inputs = layer.in_channels * math.prod(layer.kernel_size) / math.prod(layer.stride)
    if init.trunk == "orthogonal":
        nn.init.orthogonal_(layer.weight, gain)
    elif init.trunk == "xavier_fan_in":
        bound = math.sqrt(3.0 / inputs)  # variance 1 / inputs
        layer.weight.uniform_(-bound, bound)
    else:
        layer.weight.normal_(0.0, gain / math.sqrt(inputs))
    layer.weight.mul_(init.trunk_gain)
    if layer.bias is not None:
        layer.bias.zero_()
