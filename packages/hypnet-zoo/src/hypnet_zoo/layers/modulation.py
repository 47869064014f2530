"""Context modulation of any network, put in from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat, model_validator
from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_zoo._activations import ACTIVATIONS
from hypnet_zoo.layers.context_mod import ContextMod, StepwiseContextMod
from hypnet_zoo.layers.local_conv2d import LocalConv2d

LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, LocalConv2d)
"""Layers whose outputs are modulated."""


class Modulation(BaseModel):
    """Where a network is modulated, and how.

    Attributes:
        inputs: Whether the network's inputs are modulated too.
        output: Whether the last layer's output is.
        position: Modulate the output of each linear layer or convolution (`before`
            norms and activation), or that of each activation (`after`). The last layer
            has no activation and is modulated directly.
        pixelwise: One gain and shift per pixel of a feature map instead of one per
            feature map.
        gains: Whether there are gains.
        shifts: Whether there are shifts.
        gain_offset: Multiply by 1 + gain.
        softplus: Keep gains positive with a softplus.
        softplus_scale: How sharp the softplus bends.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: bool = False
    output: bool = True
    position: Literal["before", "after"] = "before"
    pixelwise: bool = False
    gains: bool = True
    shifts: bool = True
    gain_offset: bool = False
    softplus: bool = False
    softplus_scale: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _something_is_modulated(self) -> Self:
        if not (self.gains or self.shifts):
            raise ValueError(
                "context modulation needs gains or shifts: not both can be switched off"
            )
        return self

    def layer(self, shape: Sequence[int], *, steps: int = 0) -> ContextMod:
        """A layer whose gains and shifts have this shape, or one set of them for each of so many time steps."""
        kind, full_shape = (
            (StepwiseContextMod, (steps, *shape)) if steps else (ContextMod, tuple(shape))
        )
        return kind(
            full_shape,
            gains=self.gains,
            shifts=self.shifts,
            gain_offset=self.gain_offset,
            softplus=self.softplus,
            softplus_scale=self.softplus_scale,
        )

    def layer_for(self, sample_shape: Sequence[int]) -> ContextMod:
        """A layer for activations of this shape: vectors `(F,)`, feature maps `(C, *space)`, time series `(T, F)` as vectors."""
        if len(sample_shape) < 3 or self.pixelwise:
            return self.layer(sample_shape)
        return self.layer((sample_shape[0], *(1 for _ in sample_shape[1:])))


def modulate(
    network: nn.Module,
    in_shape: Sequence[int],
    modulation: Modulation | None,
    *,
    input_context: Sequence[int] | None = None,
    sequences: bool = False,
    steps: int = 0,
) -> None:
    """Put context modulation into a network that knows nothing of it, in place.

    Each modulated layer gets a child `context`, a `ContextMod`, that a hook applies to
    its output; so the other parameters keep their names. One forward pass of zeros
    tells which layers run in which order, and the sizes of feature maps.

    Args:
        network: The network. Activations must be modules of their own, one for each
            place.
        in_shape: Shape of one sample.
        modulation: Where and how; nothing happens with `None`.
        input_context: Shape of the gains of the inputs, if they are not those of
            feature maps.
        sequences: Whether activations are `[N, T, F]`, with gains `(F,)`; `in_shape`
            begins with a `T` to try it with.
        steps: With sequences: gains and shifts of their own for each of so many time
            steps; 0 for the same at all.

    Raises:
        SpecError: The network has no linear layer or is modulated already, one module
            stands in several places, or the inputs of an `nn.Sequential` are to be
            modulated (put `modulation.layer_for(in_shape)` in front of it instead).

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
        >>> modulate(net, (1, 6, 6), Modulation(output=False))
        >>> [(name, tuple(p.shape)) for name, p in net.named_parameters() if "context" in name]
        [('0.context.gain', (4, 1, 1)), ('0.context.shift', (4, 1, 1))]
    """
    if modulation is None:
        return
    if any(isinstance(getattr(layer, "context", None), ContextMod) for layer in network.modules()):
        raise SpecError(f"{type(network).__name__} is modulated already")
    like = next(network.parameters(), torch.empty(0))
    calls = _calls(network, in_shape, like)
    linear = [(layer, shape) for layer, shape in calls if isinstance(layer, LINEAR)]
    if not linear:
        raise SpecError(f"{type(network).__name__} has no linear layer or convolution to modulate")
    last = next(i for i in reversed(range(len(calls))) if isinstance(calls[i][0], LINEAR))
    # An activation behind the last layer is one of the outputs.
    hidden = (
        linear[:-1]
        if modulation.position == "before"
        else [c for c in calls[:last] if isinstance(c[0], ACTIVATIONS)]
    )
    chosen = [*hidden, linear[-1]] if modulation.output else hidden
    repeated = len({id(layer) for layer, _ in chosen}) != len(chosen)
    if repeated:
        raise SpecError(
            "a layer that is used in several places cannot be modulated: give each place a module"
            " of its own"
        )
    for layer, shape in chosen:
        context = (
            modulation.layer(shape[-1:], steps=steps) if sequences else modulation.layer_for(shape)
        )
        attach(layer, context.to(like.device, like.dtype))
    if modulation.inputs:
        if isinstance(network, nn.Sequential):
            raise SpecError(
                "the inputs of an nn.Sequential cannot be modulated: put a ContextMod in front"
                " of it"
            )
        layer = (
            modulation.layer_for(in_shape)
            if input_context is None
            else modulation.layer(input_context, steps=steps)
        )
        network.add_module("context", layer.to(like.device, like.dtype))
        network.register_forward_pre_hook(_modulate_input)


def attach(layer: nn.Module, context: ContextMod) -> None:
    """Let a layer's output be modulated by a new child `context` of it."""
    layer.add_module("context", context)
    layer.register_forward_hook(_modulate_output)


def _modulate_output(layer: nn.Module, args: Any, output: Tensor) -> Tensor:  # noqa: ARG001  the hook's signature is torch's
    return layer.context(output)  # type: ignore[operator, no-any-return]


def _modulate_input(network: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (network.context(args[0]), *args[1:])  # type: ignore[operator]


@torch.no_grad()
def _calls(
    network: nn.Module, in_shape: Sequence[int], like: Tensor
) -> list[tuple[nn.Module, tuple[int, ...]]]:
    """The leaf layers that a forward pass runs, in order, with the shape of one sample's output."""
    calls: list[tuple[nn.Module, tuple[int, ...]]] = []

    def note(layer: nn.Module, args: Any, output: Tensor) -> None:  # noqa: ARG001  the hook's signature is torch's
        calls.append((layer, tuple(output.shape[1:])))

    kinds = (*LINEAR, *ACTIVATIONS)
    hooks = [
        layer.register_forward_hook(note) for layer in network.modules() if isinstance(layer, kinds)
    ]
    # A norm that sees this pass in training mode would take the zeros into its
    # statistics.
    modes = {module: module.training for module in network.modules()}
    try:
        network.eval()
        network(
            like.new_zeros(2, *in_shape)
        )  # two samples: a norm with the batch's statistics needs more than one
    finally:
        for module, training in modes.items():
            module.training = training
        for hook in hooks:
            hook.remove()
    return calls
