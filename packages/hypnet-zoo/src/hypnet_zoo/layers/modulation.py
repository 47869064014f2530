"""Context modulation of any network, added from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self, TypedDict

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator
from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.networks import evaluating
from hypnet_zoo.layers.activations import ACTIVATIONS
from hypnet_zoo.layers.context_mod import ContextMod
from hypnet_zoo.layers.local_conv2d import LocalConv2d
from hypnet_zoo.layers.stepwise_context_mod import StepwiseContextMod

LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, LocalConv2d)
"""Layers whose outputs are modulated."""

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)  # noqa: SLF001
"""Layers whose outputs are modulated by `position="norm"`."""

SHORTCUT = "shortcut"
"""Name of the layers beside the blocks of residual networks."""

_CONTEXT = "context"


class _Call(NamedTuple):
    """A call of a layer in the trial pass.

    Attributes:
        layer: The layer.
        shape: Shape of one sample's output.
        in_shape: Shape of one sample's input.
        norm: The call of the norm whose output was the input, if it was one's.
    """

    layer: nn.Module
    shape: tuple[int, ...]
    in_shape: tuple[int, ...]
    norm: _Call | None


class _Place(NamedTuple):
    """A layer whose input or output is modulated, and the shape of one sample there."""

    layer: nn.Module
    shape: tuple[int, ...]
    at_input: bool = False


class Modulation(BaseModel):
    """Where and how gains and shifts modulate a network.

    Attributes:
        inputs: Whether the network's inputs are modulated too.
        output: Whether the last layer's output is.
        position: Modulate the output of each linear layer or convolution (`before`
            norms and activation), that of each norm (`norm`, before the activation), or
            that of each activation (`after`); or the input of each activation, before
            a norm that leads to it (`preactivation`), which differs from `before` where
            norms precede layers, as in wide residual networks. The last layer has no
            activation and is modulated directly; so are all layers where there are no
            activations. Networks without norms are refused by `norm`. A norm with the
            statistics of the batch undoes a gain at its input.
        shortcuts: Whether the convolutions in the shortcuts of residual networks are
            modulated too, where the outputs of convolutions are.
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
    position: Literal["before", "preactivation", "norm", "after"] = "before"
    shortcuts: bool = True
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
        """Make a layer whose gains and shifts have this shape.

        Args:
            shape: Their shape.
            steps: Number of time steps, each with its own set; 0 for one set.
        """
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
        """Make a layer for activations of this shape.

        Vectors are `(F,)` and feature maps `(C, *space)`; time series `(T, F)` count as
        vectors.
        """
        if len(sample_shape) < 3 or self.pixelwise:
            return self.layer(sample_shape)
        return self.layer((sample_shape[0], *(1 for _ in sample_shape[1:])))


class ContextOption(TypedDict, total=False):
    """The option `context_mod` of main networks."""

    context_mod: Annotated[
        Modulation | None,
        Field(
            default=None,
            description=(
                "Where and how gains and shifts modulate the layers, see `Modulation`; none by"
                " default."
            ),
        ),
    ]


def modulate(
    network: nn.Module,
    in_shape: Sequence[int],
    modulation: Modulation | None,
    *,
    input_context: Sequence[int] | None = None,
) -> None:
    """Add context modulation to a network, in place.

    Each modulated layer gets a child `context`, a `ContextMod`, that a hook applies to
    its output; the other parameters keep their names. One forward pass of zeros finds
    the order of the layers and the sizes of feature maps.

    Args:
        network: The network. Activations must be modules of torch, or made by
            `activation_module`, a different one at each place.
        in_shape: Shape of one sample.
        modulation: Where and how; `None` leaves the network alone.
        input_context: Shape of the gains of the inputs, if they differ from those of
            feature maps.

    Raises:
        SpecError: The network has no linear layer or is modulated already, one module
            is used in several places, or the inputs of an `nn.Sequential` are to be
            modulated (put `modulation.layer_for(in_shape)` in front of it instead).

    Example:
        >>> layers = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
        >>> net = nn.Sequential(*layers)
        >>> modulate(net, (1, 6, 6), Modulation(output=False))
        >>> {name: tuple(p.shape) for name, p in layers[0].context.named_parameters()}
        {'gain': (4, 1, 1), 'shift': (4, 1, 1)}
    """
    if modulation is None:
        return
    if any(isinstance(_context_of(layer), ContextMod) for layer in network.modules()):
        raise SpecError(f"{type(network).__name__} is modulated already")
    # The trial pass and the new layers follow the network's device and dtype.
    like = next(network.parameters(), torch.empty(0))
    calls = _calls(network, in_shape, like)
    linear = [i for i, call in enumerate(calls) if isinstance(call.layer, LINEAR)]
    if not linear:
        raise SpecError(f"{type(network).__name__} has no linear layer or convolution to modulate")
    last = calls[linear[-1]]
    # An activation after the last layer belongs to the outputs.
    chosen = _hidden_places(network, calls[: linear[-1]], modulation)
    if modulation.output:
        chosen.append(_output_of(last))
    # A hook runs at every call of its layer, so a shared layer would be modulated in
    # all of its places.
    if len({id(place.layer) for place in chosen}) != len(chosen):
        raise SpecError(
            "a layer that is used in several places cannot be modulated: give each place its"
            " own module"
        )
    for place in chosen:
        context = modulation.layer_for(place.shape).to(like.device, like.dtype)
        attach(place.layer, context, at_input=place.at_input)
    if modulation.inputs:
        # A child of an `nn.Sequential` would become one of its layers.
        if isinstance(network, nn.Sequential):
            raise SpecError(
                "the inputs of an nn.Sequential cannot be modulated: put a ContextMod in front"
                " of it"
            )
        layer = (
            modulation.layer_for(in_shape)
            if input_context is None
            else modulation.layer(input_context)
        )
        network.add_module(_CONTEXT, layer.to(like.device, like.dtype))
        # Before the forward pass, because the module's own input is modulated.
        network.register_forward_pre_hook(_modulate_input)


def _hidden_places(
    network: nn.Module, calls: Sequence[_Call], modulation: Modulation
) -> list[_Place]:
    """The places before the last layer that are modulated.

    Raises:
        SpecError: There are no norms, which should be modulated.
    """
    position = modulation.position
    linear = [_output_of(call) for call in calls if isinstance(call.layer, LINEAR)]
    activations = [call for call in calls if isinstance(call.layer, ACTIVATIONS)]
    if position == "norm":
        norms = [_output_of(call) for call in calls if isinstance(call.layer, NORMS)]
        if linear and not norms:
            raise SpecError(
                f"context_mod.position: {type(network).__name__} has no norms to modulate: use"
                " 'before' or 'after'"
            )
        return norms
    # Without activations, the outputs of the layers themselves are the activity.
    if position != "before" and activations:
        place = _output_of if position == "after" else _input_of
        return [place(call) for call in activations]
    if modulation.shortcuts:
        return linear
    beside = {id(part) for name, part in network.named_modules() if SHORTCUT in name.split(".")}
    return [place for place in linear if id(place.layer) not in beside]


def _output_of(call: _Call) -> _Place:
    return _Place(call.layer, call.shape)


def _input_of(call: _Call) -> _Place:
    first = call.norm or call
    return _Place(first.layer, first.in_shape, at_input=True)


def attach(layer: nn.Module, context: ContextMod, *, at_input: bool = False) -> None:
    """Modulate a layer's output, or its input, by a new child `context`."""
    layer.add_module(_CONTEXT, context)
    if at_input:
        layer.register_forward_pre_hook(_modulate_input)
    else:
        layer.register_forward_hook(_modulate_output)


def _context_of(layer: nn.Module) -> nn.Module | None:
    return dict(layer.named_children()).get(_CONTEXT)


# Hooks look their layer up instead of holding it, so that copies of a network use their
# own.
def _modulate_output(layer: nn.Module, _args: Any, output: Tensor) -> Tensor:
    modulated: Tensor = layer.get_submodule(_CONTEXT)(output)
    return modulated


def _modulate_input(network: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (network.get_submodule(_CONTEXT)(args[0]), *args[1:])


@torch.no_grad()
def _calls(network: nn.Module, in_shape: Sequence[int], like: Tensor) -> list[_Call]:
    """The calls of layers in a forward pass, in order."""
    calls: list[_Call] = []
    # The tensors are kept, so that their ids stay theirs.
    normed: dict[int, tuple[Tensor, _Call]] = {}

    def note(layer: nn.Module, args: Any, output: Tensor) -> None:
        x = args[0]
        _, norm = normed.get(id(x), (None, None))
        call = _Call(layer, tuple(output.shape[1:]), tuple(x.shape[1:]), norm)
        calls.append(call)
        if isinstance(layer, NORMS):
            normed[id(output)] = output, call

    # Containers are left out: only their leaves compute.
    kinds = (*LINEAR, *NORMS, *ACTIVATIONS)
    hooks = [
        layer.register_forward_hook(note) for layer in network.modules() if isinstance(layer, kinds)
    ]
    try:
        # In training mode the zeros of this pass would enter the statistics of norms.
        with evaluating(network):
            # Two samples: a norm with the batch's statistics needs more than one.
            network(like.new_zeros(2, *in_shape))
    finally:
        for hook in hooks:
            hook.remove()
    return calls
