"""A hypernetwork that draws its weights like an image: transposed convolutions and self-attention."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from hypnet_core.errors import ConditionError, SpecError
from hypnet_core.networks import HyperNetwork
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo._activations import ActivationName, activation_module
from hypnet_zoo.hypernets.chunked import Chunked
from hypnet_zoo.init.heads import calibration_inputs
from hypnet_zoo.init.moments import BiasStart, Fan, Scheme, Start, check_choice, wanted_starts
from hypnet_zoo.init.trunk import TrunkStart, as_at_start, gain_of
from hypnet_zoo.layers.per_tensor import PerTensor
from hypnet_zoo.layers.self_attention import SelfAttention

__all__ = ["ChunkedHDeconv", "HDeconv"]

KernelSize: TypeAlias = int | tuple[int | tuple[int, int], ...]

_SMALLEST = 4
_PIXELS = 2**18


class HDeconv(HyperNetwork):
    r"""A deconvolutional network that writes all weights of the target as the pixels of one image.

    A linear layer makes a small image of many channels of the input $[e; u]$,
    transposed convolutions enlarge it as the generator of a DCGAN does, and
    self-attention between all pixels lets distant weights depend on each other. Pixels
    are read row by row; those that the target does not need are dropped. A learned gain
    and a shift for each tensor of the target bring it to its size:

    $$ \omega_t = a_t\, \mathrm{pixels}_t(e, u) + b_t $$

    Every transposed convolution doubles height and width, except where its input would
    be smaller than 4: there it changes nothing.

    Args:
        target: What to generate.
        conditions: Ids with embeddings, embedding size, size of the unconditional
            input.
        image_shape: `(height, width)` or `(channels, height, width)` of the image; the
            smallest square that is large enough by default.
        num_layers: Number of layers: the linear one and the transposed convolutions.
        filters: Channels after each layer but the last; 128 before the last layer and
            twice as many with every layer before that, by default.
        kernel_size: Of the transposed convolutions: one for all, or one each, a number
            or a pair (height, width).
        attention_after: Layers after which there is self-attention, 0 for the linear
            one; not the last. Time and memory grow with the square of the number of
            pixels.
        activation: Nonlinearity after each layer but the last; `None` for none.
        bias: Whether the layers have biases.
        spectral_norm: Spectral norm on all layers.
        batch_norm: Batch norm before each activation; the batch of conditions must be
            two or more in training.
        fan: Start with weights that keep the size of the main network's activations
            (`"in"`), of its gradients (`"out"`), or between (`"harmonic"`);
            `initialize` offers more.

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
        >>> hnet = HDeconv(target, ConditionSpec(count=2, size=8), filters=(32, 16, 16, 8))
        >>> hnet.image_shape, hnet.sizes, hnet([0, 1])["0"].shape
        ((1, 26, 26), ((4, 4), (4, 4), (7, 7), (13, 13), (26, 26)), torch.Size([2, 30, 20]))
    """

    def __init__(
        self,
        target: TargetSpec,
        conditions: ConditionSpec,
        *,
        image_shape: tuple[int, ...] | None = None,
        num_layers: int = 5,
        filters: tuple[int, ...] | None = None,
        kernel_size: KernelSize = 5,
        attention_after: tuple[int, ...] = (1, 3),
        activation: ActivationName | None = "relu",
        bias: bool = True,
        spectral_norm: bool = False,
        batch_norm: bool = False,
        fan: Fan = "in",
    ) -> None:
        super().__init__(target, conditions)
        in_features = sum(self.input_sizes.values())
        if in_features == 0:
            raise SpecError(
                "the hypernetwork has no input: give the conditions a size, or an input_size"
            )
        self.image_shape = _image_shape(target, image_shape)
        channels = _channels(num_layers, filters)
        kernels = _kernels(num_layers, kernel_size)
        wrong = [index for index in attention_after if not 0 <= index < num_layers - 1]
        if wrong:
            raise SpecError(
                f"attention_after: there is no layer {wrong[0]} before the last; there are 0 to"
                f" {num_layers - 2}"
            )
        self.sizes = sizes_backwards(self.image_shape[1:], num_layers)
        self.activation = activation
        self._needs_batch = batch_norm
        wrap = with_spectral_norm if spectral_norm else _unchanged
        self.trunk = nn.Sequential()
        for layer, (width, size) in enumerate(
            zip([*channels, self.image_shape[0]], self.sizes, strict=True)
        ):
            if layer == 0:
                self.trunk.append(wrap(nn.Linear(in_features, width * math.prod(size), bias=bias)))
                self.trunk.append(nn.Unflatten(1, (width, *size)))
            else:
                before = (channels[layer - 1], self.sizes[layer - 1])
                self.trunk.append(
                    wrap(Enlarge(before, (width, size), kernels[layer - 1], bias=bias))
                )
            if layer == num_layers - 1:
                break
            if batch_norm:
                self.trunk.append(nn.BatchNorm2d(width))
            self.trunk.append(activation_module(activation))
            if layer in attention_after:
                self.trunk.append(
                    SelfAttention(width, reduction=min(8, width), spectral_norm=spectral_norm)
                )
        self.per_tensor = PerTensor(target)
        self.starts: tuple[Start, ...] = ()
        self.initialize(fan=fan)

    @torch.no_grad()
    def initialize(
        self,
        *,
        fan: Fan = "in",
        scheme: Scheme = "kaiming",
        bias: BiasStart = "zero",
        trunk: TrunkStart = "kaiming",
        overrides: Mapping[str, Start | tuple[float, float]] | None = None,
        cond_var: float = 1.0,
        uncond_var: float = 1.0,
    ) -> None:
        """Start so that the generated weights have the means and variances that the main network should have.

        The pixels are measured, and the gain of each tensor is set accordingly.

        Args:
            fan: See `hypnet_zoo.init.moments.wanted_starts`, likewise `scheme`, `bias`
                and `overrides`.
            scheme: As above.
            bias: As above.
            trunk: How the layers start.
            overrides: As above.
            cond_var: Variance of embeddings, if they come from the caller.
            uncond_var: Variance of unconditional inputs.
        """
        check_choice("trunk", trunk, get_args(TrunkStart))
        self.starts = wanted_starts(
            self.target, fan=fan, scheme=scheme, bias=bias, overrides=overrides
        )
        for layer in self.trunk:
            if isinstance(layer, (nn.Linear, nn.ConvTranspose2d)) and not is_parametrized(layer):
                _fill(layer, trunk, gain_of(self.activation))
            elif isinstance(layer, SelfAttention):
                layer.gamma.zero_()
        samples = max(8, min(128, _PIXELS // math.prod(self.image_shape)))
        inputs = calibration_inputs(
            self, cond_var=cond_var, uncond_var=uncond_var, samples=samples
        )[:samples]
        with as_at_start(self.trunk):
            # Self-attention starts as the identity, which need not be computed.
            layers = [layer for layer in self.trunk if not isinstance(layer, SelfAttention)]
            image = functools.reduce(lambda x, layer: layer(x), layers, inputs)
        self.per_tensor.start(self.starts, image.flatten(1)[:, : self.target.numel])

    def start_at_zero(self) -> None:
        """Start anew so that every generated weight is exactly zero: gains and shifts are."""
        self.per_tensor.zero_()

    def scale_outputs(self, factor: Tensor) -> None:
        """Multiply all that is generated."""
        self.per_tensor.scale_(factor)

    def generate(self, inputs: Tensor) -> Tensor:
        """Map `[B, n]` to flat weights `[B, numel]`."""
        if self._needs_batch and self.training and len(inputs) < 2:
            raise ConditionError(
                "batch norm needs at least two conditions in one call while training: pass a batch,"
                " or call eval()"
            )
        weights: Tensor = self.per_tensor(self._pixels(inputs))
        return weights

    def _pixels(self, inputs: Tensor) -> Tensor:
        pixels: Tensor = self.trunk(inputs).flatten(1)
        return pixels[:, : self.target.numel]


class Enlarge(nn.ConvTranspose2d):
    """A transposed convolution from one size of image to another, the same or about twice as large.

    Args:
        before: Channels and `(height, width)` of the input.
        after: Channels and `(height, width)` of the output.
        kernel: `(height, width)` of the kernel.
        bias: Whether there is a bias.
    """

    def __init__(
        self,
        before: tuple[int, tuple[int, int]],
        after: tuple[int, tuple[int, int]],
        kernel: tuple[int, int],
        *,
        bias: bool,
    ) -> None:
        self.size = after[1]
        height, width = (
            1 if small == large else 2 for small, large in zip(before[1], after[1], strict=True)
        )
        super().__init__(
            before[0],
            after[0],
            kernel,
            stride=(height, width),
            padding=((kernel[0] - 1) // 2, (kernel[1] - 1) // 2),
            output_padding=(height - 1, width - 1),
            bias=bias,
        )

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map `[N, C, H, W]` to the larger image; the odd row and column of doubled sizes and even kernels are dropped."""
        return super().forward(x, output_size)[..., : self.size[0], : self.size[1]]


def sizes_backwards(size: Sequence[int], num_layers: int) -> tuple[tuple[int, int], ...]:
    """Height and width after each layer, from those of the image backwards.

    Example:
        >>> sizes_backwards((32, 9), 5)
        ((4, 5), (4, 5), (8, 5), (16, 5), (32, 9))
    """
    height, width = size
    sizes = [(height, width)]
    for _ in range(num_layers - 1):
        height, width = (
            half if (half := -(-one // 2)) >= _SMALLEST else one for one in (height, width)
        )
        sizes.append((height, width))
    return tuple(reversed(sizes))


def _image_shape(target: TargetSpec, shape: Sequence[int] | None) -> tuple[int, int, int]:
    if shape is None:
        side = math.isqrt(target.numel - 1) + 1
        return (1, side, side)
    if len(shape) not in {2, 3} or min(shape) < 1:
        raise SpecError(
            f"image_shape must be (height, width) or (channels, height, width), got {list(shape)}"
        )
    pixels = math.prod(shape)
    if pixels < target.numel:
        beyond = next(
            p
            for p, offset in zip(target.params, target.offsets, strict=True)
            if offset + p.numel > pixels
        )
        raise SpecError(
            f"image_shape {list(shape)} is too small: it has {pixels:,} pixels, the target"
            f" {target.numel:,} weights; it ends within {beyond}"
        )
    height, width = shape[-2:]
    return (shape[0] if len(shape) == 3 else 1, height, width)


def _channels(num_layers: int, filters: Sequence[int] | None) -> Sequence[int]:
    if num_layers < 2:
        raise SpecError(f"num_layers must be at least 2, got {num_layers}")
    if filters is None:
        return [128 * 2**i for i in reversed(range(num_layers - 1))]
    if len(filters) != num_layers - 1 or min(filters) < 1:
        raise SpecError(
            f"filters must be {num_layers - 1} positive numbers for {num_layers} layers, got"
            f" {list(filters)}"
        )
    return filters


def _kernels(num_layers: int, size: KernelSize) -> list[tuple[int, int]]:
    each = [size] * (num_layers - 1) if isinstance(size, int) else list(size)
    kernels = [(one, one) if isinstance(one, int) else tuple(one) for one in each]
    if len(kernels) != num_layers - 1 or any(
        len(kernel) != 2 or min(kernel) < 1 for kernel in kernels
    ):
        raise SpecError(
            f"kernel_size must be one positive number, or {num_layers - 1} numbers or pairs for"
            f" {num_layers} layers, got {size}"
        )
    return [(kernel[0], kernel[-1]) for kernel in kernels]


def _unchanged(layer: nn.Module) -> nn.Module:
    return layer


def _fill(layer: nn.Linear | nn.ConvTranspose2d, start: TrunkStart, gain: float) -> None:
    """Weights that keep mean squares, on average over the pixels; the bias is zero."""
    if isinstance(layer, nn.Linear):
        inputs = float(layer.in_features)
    else:
        inputs = layer.in_channels * math.prod(layer.kernel_size) / math.prod(layer.stride)
    if start == "orthogonal":
        nn.init.orthogonal_(layer.weight, gain)
    elif start == "xavier_fan_in":
        bound = math.sqrt(3.0 / inputs)
        layer.weight.uniform_(-bound, bound)
    else:
        layer.weight.normal_(0.0, gain / math.sqrt(inputs))
    if layer.bias is not None:
        layer.bias.zero_()


class ChunkedHDeconv(Chunked):
    r"""A deconvolutional network that writes the target's weights one image at a time: `Chunked` around an `HDeconv`.

    Args:
        target: What to generate.
        conditions: Ids with embeddings, embedding size, size of the unconditional
            input.
        image_shape: `(height, width)` or `(channels, height, width)` of the image;
            every chunk has as many weights as it has pixels.
        chunk_embedding_size: Length of a chunk embedding.
        conditional_chunks: Each condition has chunk embeddings of its own; see
            `Chunked`.
        num_layers: Number of layers: the linear one and the transposed convolutions.
        filters: Channels after each layer but the last; see `HDeconv`.
        kernel_size: Of the transposed convolutions: one for all, or one each, a number
            or a pair (height, width).
        attention_after: Layers after which there is self-attention, 0 for the linear
            one; not the last.
        activation: Nonlinearity after each layer but the last; `None` for none.
        bias: Whether the layers have biases.
        spectral_norm: Spectral norm on all layers.
        batch_norm: Batch norm before each activation, over chunks and conditions.
        fan: Start with weights that keep the size of the main network's activations
            (`"in"`), of its gradients (`"out"`), or between (`"harmonic"`);
            `initialize` offers more.

    Raises:
        SpecError: A size is not positive, or the numbers of layers, filters and kernels
            do not fit together.

    Example:
        >>> target = TargetSpec.from_shapes([[30, 20], [30]])
        >>> hnet = ChunkedHDeconv(target, ConditionSpec(count=2), image_shape=(16, 16), filters=(32, 16, 16, 8))
        >>> hnet.num_chunks, hnet(0).flat.shape
        (3, torch.Size([630]))
    """

    inner: HDeconv

    def __init__(
        self,
        target: TargetSpec,
        conditions: ConditionSpec,
        *,
        image_shape: tuple[int, ...] = (32, 32),
        chunk_embedding_size: int = 8,
        conditional_chunks: bool = False,
        num_layers: int = 5,
        filters: tuple[int, ...] | None = None,
        kernel_size: KernelSize = 5,
        attention_after: tuple[int, ...] = (1, 3),
        activation: ActivationName | None = "relu",
        bias: bool = True,
        spectral_norm: bool = False,
        batch_norm: bool = False,
        fan: Fan = "in",
    ) -> None:
        make_inner = functools.partial(
            HDeconv,
            image_shape=image_shape,
            num_layers=num_layers,
            filters=filters,
            kernel_size=kernel_size,
            attention_after=attention_after,
            activation=activation,
            bias=bias,
            spectral_norm=spectral_norm,
            batch_norm=batch_norm,
        )
        super().__init__(
            target,
            conditions,
            make_inner,
            chunk_size=math.prod(image_shape),
            chunk_embedding_size=chunk_embedding_size,
            conditional_chunks=conditional_chunks,
            fan=fan,
        )
