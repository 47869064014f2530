"""Options of recurrent layers."""

from __future__ import annotations

from typing import Annotated, Literal, NoReturn, TypedDict, get_args

from pydantic import Field
from torch import nn

from hypnet_core.errors import SpecError, clipped, did_you_mean
from hypnet_zoo.layers.activations import Activation, activation_type

Cell = Literal["elman", "lstm"]
RecurrentInit = Literal["uniform", "orthogonal", "kaiming"]
ContextAt = Literal["every_step", "last_step"]


class RecurrentLayerOptions(TypedDict, total=False):
    """Options of a recurrent layer."""

    cell: Annotated[
        Cell, Field(default="lstm", description="Kind of recurrent layer: `elman` or `lstm`.")
    ]
    activation: Annotated[
        Activation | None,
        Field(
            default="tanh",
            description=(
                "Nonlinearity of Elman and fully connected layers; `None` for linear ones. LSTM"
                " layers keep their own."
            ),
        ),
    ]
    bias: Annotated[bool, Field(default=True, description="Whether layers have biases.")]
    output_step: Annotated[
        bool,
        Field(
            default=False,
            description=(
                "Whether an Elman layer computes an output from its hidden state with a matrix of"
                " its own."
            ),
        ),
    ]
    bptt_depth: Annotated[
        int | None,
        Field(
            default=None,
            description=(
                "Number of last time steps that gradients flow through, in each direction; all by"
                " default."
            ),
        ),
    ]
    context_at: Annotated[
        ContextAt,
        Field(
            default="every_step",
            description="Modulate recurrent layers at every time step, or at the last one only.",
        ),
    ]
    context_steps: Annotated[
        int,
        Field(
            default=0,
            description=(
                "Number of time steps with different gains and shifts, the most that a sequence"
                " may have; 0 for the same at all time steps."
            ),
        ),
    ]


def check_options(in_features: int, units: int, options: RecurrentLayerOptions) -> None:
    """Refuse impossible options.

    Raises:
        SpecError: A size is not positive, or an option does not exist.
    """
    if in_features < 1 or units < 1:
        raise SpecError(f"a recurrent layer needs inputs and units, got {in_features} and {units}")
    cell, context_at = options["cell"], options["context_at"]
    if cell not in get_args(Cell):
        raise SpecError(f"cell: there is no {cell!r}{did_you_mean(cell, get_args(Cell))}")
    depth = options["bptt_depth"]
    if depth is not None and depth < 1:
        raise SpecError(f"bptt_depth must be at least 1, got {depth}")
    if context_at not in get_args(ContextAt):
        raise SpecError(
            f"context_at: there is no {context_at!r}{did_you_mean(context_at, get_args(ContextAt))}"
        )
    if options["context_steps"] < 0:
        raise SpecError(f"context_steps must not be negative, got {options['context_steps']}")
    if options["output_step"] and cell != "elman":
        raise SpecError("output_step belongs to Elman layers: an LSTM has an output gate")
    if cell == "lstm" and not is_tanh(options["activation"]):
        refuse_activation(options["activation"], "")


def is_tanh(activation: Activation | None) -> bool:
    """Whether an activation is the one that LSTM layers keep."""
    return activation_type(activation) is nn.Tanh


def refuse_activation(activation: Activation | None, others: str) -> NoReturn:
    """Refuse an activation that no layer uses.

    Args:
        activation: The activation.
        others: The layers that are missing and would use it.

    Raises:
        SpecError: Always.
    """
    there = f", and there are no {others}" if others else ""
    raise SpecError(
        f"activation={clipped(repr(activation))} has no effect: LSTM layers keep tanh{there}"
    )
