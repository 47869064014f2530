"""A bidirectional recurrent network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, Unpack, cast

import torch
from torch import Tensor, nn

from hypnet_core.errors import ImportStringError, SpecError, did_you_mean
from hypnet_core.import_strings import import_callable
from hypnet_core.plugins import with_defaults
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
            network, such as `{"cell": "elman", "before": [20]}`.
        preprocess: `module:function` that gets `(x, lengths)` and returns the input;
            the attribute `preprocess` takes any function.
        **options: See `RecurrentOptions`. They apply to the recurrent network of each
            direction; activation, biases and context modulation also to the MLP.

    Raises:
        SpecError: A size is not positive, there is no layer, sizes contradict each
            other, or `preprocess` cannot be imported.

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
        hidden = (
            None
            if context_mod is None
            # Inputs of a later layer are outputs of the one before, modulated already.
            else context_mod.model_copy(update={"inputs": False, "output": True})
        )
        own = [_merged(chosen, given) for given in _one_each("layers", layers, {}, recurrent)]
        after = tuple(_one_each("after", after, (), recurrent))
        self.forwards, self.backwards = nn.ModuleList(), nn.ModuleList()
        shape = self.in_shape
        for number, (units, options_here) in enumerate(zip(recurrent, own, strict=True)):
            options_here["context_mod"] = (
                context_mod and context_mod.model_copy(update={"output": True})
                if not number
                else hidden
            )
            widths = after[number]
            if options_here["cell"] == "lstm" and not (widths or options_here["before"]):
                # LSTM layers keep tanh; the network's activation is that of the head.
                options_here["activation"] = "tanh"
            features = widths[-1] if widths else units[-1]
            for direction in (self.forwards, self.backwards):
                # `fc_out=False`: the outputs of a layer are those of its hidden units.
                network = SimpleRNN(
                    shape, features, recurrent=units, after=widths, fc_out=False, **options_here
                )
                direction.append(network)
            shape = (2 * features,)  # both directions
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


_Given = TypeVar("_Given")


def _one_each(
    name: str, given: Sequence[_Given], none: _Given, recurrent: Sequence[object]
) -> list[_Given]:
    """One entry per bidirectional layer; none at all stands for empty ones."""
    if given and len(given) != len(recurrent):
        raise SpecError(
            f"{name}: there are {len(recurrent)} bidirectional layers, got {len(given)} entries"
        )
    return list(given) or [none for _ in recurrent]


def _merged(options: RecurrentOptions, given: Mapping[str, Any]) -> RecurrentOptions:
    """The network's options, but for modulation, with those of one layer."""
    known = [name for name in options if name != "context_mod"]
    for name in given:
        if name not in known:
            raise SpecError(f"layers: there is no option {name!r}{did_you_mean(name, known)}")
    return cast("RecurrentOptions", {**options, **given})


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
