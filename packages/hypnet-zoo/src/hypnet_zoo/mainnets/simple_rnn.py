"""A recurrent network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, Unpack, overload

from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.plugins import only, with_defaults
from hypnet_zoo.layers.activations import Activation, activation_module
from hypnet_zoo.layers.context_mod import ContextMod
from hypnet_zoo.layers.modulation import Modulation, attach
from hypnet_zoo.layers.recurrent import Recurrent
from hypnet_zoo.layers.recurrent_options import (
    RecurrentLayerOptions,
    is_tanh,
    refuse_activation,
)
from hypnet_zoo.mainnets._options import RecurrentOptions


class Hidden(NamedTuple):
    """Activations of the hidden layers, first layer first.

    Attributes:
        outputs: `[N, T, units]` of each hidden layer, the inputs of the next one.
        internal: Cell states of LSTM layers and hidden states of Elman layers, `[N, T,
            units]`; `None` for fully connected ones.
    """

    outputs: tuple[Tensor, ...]
    internal: tuple[Tensor | None, ...]


class SimpleRNN(nn.Module):
    r"""Recurrent layers between fully connected ones, with one output per time step.

    Recurrent layers have the parameters of torch's. LSTM layers run as its fused
    kernel, unless there is context modulation inside the recurrence or their cell
    states are returned; Elman layers run step by step.

    Shapes:
        - Input: `[N, T, *in_shape]`
        - Output: `[N, T, out_features]`

    Args:
        in_shape: Shape of one frame.
        out_features: Number of outputs per time step.
        recurrent: Units of each recurrent layer; at least one.
        after: Units of each fully connected hidden layer after them.
        fc_out: Whether a linear layer gives the outputs. Otherwise the last hidden
            layer does, which must have `out_features` units.
        **options: See `RecurrentOptions`.

    Raises:
        SpecError: A size is not positive, there is no recurrent layer, or options
            contradict each other.

    References:
        Elman, Finding Structure in Time, Cognitive Science 1990. Hochreiter and
        Schmidhuber, Long Short-Term Memory, Neural Computation 1997.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_features: int,
        *,
        recurrent: tuple[int, ...] = (10,),
        after: tuple[int, ...] = (),
        fc_out: bool = True,
        **options: Unpack[RecurrentOptions],
    ) -> None:
        super().__init__()
        chosen = with_defaults(RecurrentOptions, options)
        before, context_mod = chosen["before"], chosen["context_mod"]
        activation, bias, steps = chosen["activation"], chosen["bias"], chosen["context_steps"]
        self.in_shape = tuple(in_shape)
        _check(self.in_shape, out_features, recurrent, before, after, fc_out=fc_out)
        if chosen["cell"] == "lstm" and not (before or after or is_tanh(activation)):
            refuse_activation(activation, "fully connected hidden layers")
        if context_mod is None and (steps > 0 or chosen["context_at"] == "last_step"):
            raise SpecError(
                "context_at and context_steps say where context_mod modulates, which is not given"
            )
        self.before = _hidden(math.prod(self.in_shape), before, activation, bias=bias)
        features = before[-1] if before else math.prod(self.in_shape)
        # A last layer that gives the outputs is modulated only if outputs are.
        last = None
        if context_mod is not None and not context_mod.output and not after:
            last = len(recurrent) - 1
        layer_options = only(RecurrentLayerOptions, chosen)
        if chosen["cell"] == "lstm":
            layer_options["activation"] = "tanh"  # the network's is that of the others
        self.recurrent = nn.ModuleList()
        for number, units in enumerate(recurrent):
            unmodulated = not fc_out and number == last
            layer = Recurrent(
                features,
                units,
                modulation=None if unmodulated else context_mod,
                **layer_options,
            )
            layer.initialize(chosen["recurrent_init"])
            self.recurrent.append(layer)
            features = units
        self.after = _hidden(features, after, activation, bias=bias)
        self.out = (
            nn.Linear(after[-1] if after else features, out_features, bias=bias)
            if fc_out
            else nn.Identity()
        )
        self.context: ContextMod | None = None
        self._modulate(context_mod, steps)

    def _modulate(self, modulation: Modulation | None, steps: int) -> None:
        if modulation is None:
            return
        if modulation.position == "norm":
            raise SpecError("context_mod.position: recurrent networks have no norms to modulate")
        # Recurrent layers modulate inside; the layers around them like any others.
        around = [*self.before, *self.after]
        if isinstance(self.out, nn.Identity) and not modulation.output and self.after:
            around = around[:-2]  # the last hidden layer gives the outputs
        for layer in around:
            # An activation has the width of the linear layer before it.
            if isinstance(layer, nn.Linear):
                width = layer.out_features
            if isinstance(layer, nn.Linear) == (modulation.position != "after"):
                attach(layer, modulation.layer((width,), steps=steps))
        if modulation.output and isinstance(self.out, nn.Linear):
            attach(self.out, modulation.layer((self.out.out_features,), steps=steps))
        if modulation.inputs:
            self.context = modulation.layer((math.prod(self.in_shape),), steps=steps)

    @overload
    def forward(self, x: Tensor, *, return_hidden: Literal[False] = False) -> Tensor: ...

    @overload
    def forward(self, x: Tensor, *, return_hidden: Literal[True]) -> tuple[Tensor, Hidden]: ...

    def forward(self, x: Tensor, *, return_hidden: bool = False) -> Tensor | tuple[Tensor, Hidden]:
        """Map sequences `[N, T, *in_shape]` to outputs `[N, T, out_features]`.

        Args:
            x: The sequences.
            return_hidden: Whether to return the activations of the hidden layers as
                well.

        Raises:
            SpecError: `x` has another shape, or no time steps.
        """
        check_sequences(x, self.in_shape)
        h = x.flatten(2)
        if self.context is not None:
            h = self.context(h)
        outputs: list[Tensor] = []
        internal: list[Tensor | None] = []
        for layer in self.before:
            h = layer(h)
            # Only activations count as outputs of a hidden layer.
            if not isinstance(layer, nn.Linear):
                outputs.append(h)
                internal.append(None)
        for layer in self.recurrent:
            h, states = layer(h, want_internal=return_hidden)
            outputs.append(h)
            internal.append(states)
        for layer in self.after:
            h = layer(h)
            if not isinstance(layer, nn.Linear):
                outputs.append(h)
                internal.append(None)
        y: Tensor = self.out(h)
        return (y, Hidden(tuple(outputs), tuple(internal))) if return_hidden else y


def check_sequences(x: Tensor, in_shape: Sequence[int]) -> None:
    """Check that inputs are `[N, T, *in_shape]` with at least one time step.

    Raises:
        SpecError: They are not.
    """
    if x.ndim != len(in_shape) + 2 or tuple(x.shape[2:]) != tuple(in_shape):
        raise SpecError(
            f"the network expects sequences [N, T, {', '.join(map(str, in_shape))}], got inputs"
            f" {list(x.shape)}"
        )
    if x.shape[1] < 1:
        raise SpecError("a sequence must have at least one time step")


def _hidden(
    in_features: int, widths: Sequence[int], activation: Activation | None, *, bias: bool
) -> nn.Sequential:
    layers = nn.Sequential()
    for width in widths:
        layers.append(nn.Linear(in_features, width, bias=bias))
        layers.append(activation_module(activation))
        in_features = width
    return layers


def _check(
    in_shape: Sequence[int],
    out_features: int,
    recurrent: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    *,
    fc_out: bool,
) -> None:
    for name, widths in (("recurrent", recurrent), ("before", before), ("after", after)):
        if any(width < 1 for width in widths):
            raise SpecError(f"{name}: a layer must have at least one unit, got {list(widths)}")
    if math.prod(in_shape) < 1 or out_features < 1:
        raise SpecError(
            f"in_shape and out_features must be positive, got {list(in_shape)} and {out_features}"
        )
    if not recurrent:
        raise SpecError("recurrent: there must be at least one recurrent layer")
    last = after[-1] if after else recurrent[-1]
    if not fc_out and last != out_features:
        raise SpecError(
            f"fc_out: without an output layer the last hidden layer must have {out_features}"
            f" units, has {last}"
        )
