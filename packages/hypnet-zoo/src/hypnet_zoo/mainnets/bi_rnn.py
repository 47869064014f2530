"""A bidirectional recurrent network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack, cast

import torch
from pydantic import create_model
from torch import Tensor, nn

from hypnet_core.errors import ImportStringError, SpecError, clipped
from hypnet_core.import_strings import import_callable
from hypnet_core.plugins import options_from_signature, validated, with_defaults
from hypnet_zoo.layers.recurrent_options import is_tanh, refuse_activation
from hypnet_zoo.mainnets._options import RecurrentOptions
from hypnet_zoo.mainnets.mlp import MLP
from hypnet_zoo.mainnets.simple_rnn import SimpleRNN, check_sequences

Preprocess = Callable[[Tensor, Tensor | None], Tensor]


class BiRNN(nn.Module):
    r"""Bidirectional recurrent layers and an MLP, with one output per time step.

    Each bidirectional layer runs one recurrent network forwards and one backwards over
    its input and concatenates their outputs: $h_t = [h_t^{f}; h_t^{b}]$. With
    `lengths`, only the real frames of a padded sequence are reversed, so outputs at
    real frames do not depend on the padding.

    Shapes:
        - Input: `[N, T, *in_shape]`
        - Output: `[N, T, out_features]`

    Args:
        in_shape: Shape of one frame, after preprocessing.
        out_features: Number of outputs per time step.
        recurrent: For each bidirectional layer, the units of the recurrent layers that
            each of its directions stacks.
        head: Units of each hidden layer of the MLP; `None` for no MLP, so that twice
            the last units must be `out_features`.
        head_dropout: Dropout probability of the MLP.
        head_batch_norm: Whether the MLP has batch norm; its statistics are over the
            frames of all sequences, padding included.
        after: Units of fully connected hidden layers after the recurrent ones of each
            direction, for each bidirectional layer; none by default.
        layers: For each bidirectional layer, options that differ from those of the
            network, such as `{"cell": "elman", "before": [20]}`. A layer's own
            `context_mod` is used as it is; the network's modulates the outputs of all
            layers, and the inputs of the first at most.
        preprocess: `module:function` that gets `(x, lengths)` and returns the input;
            the attribute `preprocess` takes any function.
        **options: See `RecurrentOptions`. They apply to the recurrent network of each
            direction; activation, biases and context modulation also to the MLP.

    Raises:
        SpecError: A size is not positive, there is no layer, sizes contradict each
            other, no layer would use `activation`, or `preprocess` cannot be imported.
        ConfigError: `layers` has an option that is unknown or impossible.

    References:
        Schuster and Paliwal, Bidirectional Recurrent Neural Networks, IEEE Transactions
        on Signal Processing 1997.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_features: int,
        *,
        recurrent: tuple[tuple[int, ...], ...] = ((10,),),
        head: tuple[int, ...] | None = (),
        head_dropout: float = 0.0,
        head_batch_norm: bool = False,
        after: tuple[tuple[int, ...], ...] = (),
        layers: tuple[dict[str, Any], ...] = (),
        preprocess: str | None = None,
        **options: Unpack[RecurrentOptions],
    ) -> None:
        super().__init__()
        chosen = with_defaults(RecurrentOptions, options)
        _check_units(recurrent)
        self.in_shape = tuple(in_shape)
        self.preprocess: Preprocess | None = None if preprocess is None else _imported(preprocess)
        context_mod = chosen["context_mod"]
        first = hidden = None
        if context_mod is not None:
            first = context_mod.model_copy(update={"output": True})
            # Inputs of a later layer are outputs of the one before, modulated already.
            hidden = first.model_copy(update={"inputs": False})
        given = _given(layers, len(recurrent))
        around = _widths(after, len(recurrent))
        used = bool(head)
        self.forwards, self.backwards = nn.ModuleList(), nn.ModuleList()
        shape = self.in_shape
        for number, (units, widths) in enumerate(zip(recurrent, around, strict=True)):
            here: RecurrentOptions = {**chosen, "context_mod": hidden if number else first}
            here |= given[number]
            if "activation" not in given[number]:
                if here["cell"] == "lstm" and not (widths or here["before"]):
                    here["activation"] = "tanh"  # the network's is that of other layers
                else:
                    used = True
            features = widths[-1] if widths else units[-1]
            for direction in (self.forwards, self.backwards):
                # `fc_out=False`: the outputs of a layer are those of its hidden units.
                network = SimpleRNN(
                    shape, features, recurrent=units, after=widths, fc_out=False, **here
                )
                direction.append(network)
            shape = (2 * features,)  # both directions
        if not (used or is_tanh(chosen["activation"])):
            refuse_activation(chosen["activation"], "other hidden layers that would use it")
        if head is None and shape[0] != out_features:
            raise SpecError(
                f"head: without an MLP there are {shape[0]} outputs (twice the last units), not"
                f" {out_features}"
            )
        modulation = (
            None if context_mod is None else context_mod.model_copy(update={"inputs": False})
        )
        self.head = (
            nn.Identity()
            if head is None
            else MLP(
                shape,
                out_features,
                hidden=head,
                activation=chosen["activation"],
                bias=chosen["bias"],
                dropout=head_dropout,
                batch_norm=head_batch_norm,
                context_mod=modulation,
            )
        )

    def forward(self, x: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        """Map sequences `[N, T, *in_shape]` to outputs `[N, T, out_features]`.

        Args:
            x: The sequences.
            lengths: Number of real frames of each sequence `[N]`; all by default.

        Raises:
            SpecError: `x` or `lengths` has another shape, or a length is not between 1
                and `T`.
        """
        if self.preprocess is not None:
            x = self.preprocess(x, lengths)
        check_sequences(x, self.in_shape)
        # The same permutation reverses inputs and puts outputs back.
        order = _reversed(x, lengths)
        h = x.flatten(2)
        for number, (forwards, backwards) in enumerate(
            zip(self.forwards, self.backwards, strict=True)
        ):
            shaped = h.unflatten(2, self.in_shape) if not number else h
            ahead = forwards(shaped)
            # Flat frames for the permutation, and back to their own shape.
            back = _take(backwards(_take(shaped.flatten(2), order).view_as(shaped)), order)
            h = torch.cat([ahead, back], 2)
        # The MLP sees every time step as a sample.
        outputs: Tensor = self.head(h.flatten(0, 1))
        return cast("Tensor", outputs.unflatten(0, h.shape[:2]))


def _layer(**options: Unpack[RecurrentOptions]) -> RecurrentOptions:
    """The options of one bidirectional layer."""
    return options


def _given(layers: Any, count: int) -> list[RecurrentOptions]:
    """The checked options of each bidirectional layer that differ."""
    each = _each("layers", layers, count, {})
    # Functions come from Python alone and are checked where they are used.
    free = [
        {"activation": one["activation"]}
        if isinstance(one, Mapping) and not isinstance(one.get("activation", ""), str)
        else {}
        for one in each
    ]
    kind = options_from_signature(_layer, (), "bi_rnn")
    holder = create_model("Layers", layers=(tuple[kind, ...], ...))  # type: ignore[valid-type]
    plain = [
        {name: one[name] for name in one if name not in own} if isinstance(one, Mapping) else one
        for one, own in zip(each, free, strict=True)
    ]
    found: Any = validated(holder, {"layers": plain})
    return [
        cast("RecurrentOptions", {name: getattr(one, name) for name in one.model_fields_set} | own)
        for one, own in zip(found.layers, free, strict=True)
    ]


def _widths(after: object, count: int) -> list[tuple[int, ...]]:
    each = _each("after", after, count, ())
    for widths in each:
        if not isinstance(widths, Sequence) or not all(isinstance(n, int) for n in widths):
            raise SpecError(
                "after: each bidirectional layer has a list of widths, such as [[20], []], got"
                f" {clipped(repr(each))}"
            )
    return [tuple(widths) for widths in each]


def _each(name: str, given: object, count: int, none: object) -> list[Any]:
    """One entry per bidirectional layer; an empty sequence stands for none in all."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise SpecError(
            f"{name} must have one entry per bidirectional layer, got {clipped(repr(given))}"
        )
    if given and len(given) != count:
        raise SpecError(f"{name}: there are {count} bidirectional layers, got {len(given)} entries")
    return list(given) or [none] * count


def _check_units(recurrent: object) -> None:
    layers = list(recurrent) if isinstance(recurrent, Sequence) else []
    if not layers or not all(isinstance(units, Sequence) and units for units in layers):
        raise SpecError(
            f"recurrent: each bidirectional layer needs at least one recurrent layer, got {layers}"
        )


def _reversed(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Index of the frame at each place of the reversed sequence, `[N, T]`.

    Padding stays where it is.
    """
    count, steps = x.shape[:2]
    places = torch.arange(steps, device=x.device).expand(count, steps)
    if lengths is None:
        return steps - 1 - places
    lengths = torch.as_tensor(lengths, device=x.device)
    if lengths.shape != (count,):
        raise SpecError(f"lengths must have shape [{count}], got {list(lengths.shape)}")
    if lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise SpecError(f"lengths must be whole numbers, got {lengths.dtype}")
    if bool((lengths < 1).any()) or bool((lengths > steps).any()):
        raise SpecError(f"lengths must lie between 1 and {steps}, got {lengths.tolist()}")
    mirrored = lengths.unsqueeze(1) - 1 - places
    # Padding has mirrored places below zero and stays where it is.
    return torch.where(mirrored >= 0, mirrored, places)


def _take(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(1, order.unsqueeze(2).expand(-1, -1, math.prod(x.shape[2:])))


def _imported(path: str) -> Preprocess:
    try:
        return import_callable(path)
    except ImportStringError as error:
        raise SpecError(f"preprocess: {error}") from error
