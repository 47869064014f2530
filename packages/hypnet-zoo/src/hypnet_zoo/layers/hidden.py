"""Hidden layers of a fully connected network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypedDict

from pydantic import Field
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm

from hypnet_core.errors import SpecError
from hypnet_zoo.layers.activations import Activation, activation_module


class ActivationOptions(TypedDict, total=False):
    """Activation and biases."""

    activation: Annotated[
        Activation | None,
        Field(default="relu", description="Nonlinearity of the hidden layers; `None` for none."),
    ]
    bias: Annotated[bool, Field(default=True, description="Whether the layers have biases.")]


class LayerOptions(ActivationOptions, total=False):
    """Options of the layers of a fully connected network."""

    dropout: Annotated[
        float,
        Field(
            default=0.0,
            description="Probability that a hidden activation is set to zero in training.",
        ),
    ]


class HiddenOptions(LayerOptions, total=False):
    """Options of a fully connected network."""

    hidden: Annotated[
        tuple[int, ...],
        Field(
            default=(100, 100),
            description="Width of each hidden layer; empty for a linear network.",
        ),
    ]


class SpectralOption(TypedDict, total=False):
    """The option `spectral_norm`."""

    spectral_norm: Annotated[
        bool,
        Field(
            default=False,
            description="Divide each weight by an estimate of its largest singular value.",
        ),
    ]


class NormOptions(SpectralOption, total=False):
    """Spectral norm and batch norm."""

    batch_norm: Annotated[
        bool, Field(default=False, description="Batch norm before each hidden activation.")
    ]


def hidden_layers(
    in_features: int,
    options: HiddenOptions,
    *,
    spectral_norm: bool = False,
    batch_norm: bool = False,
    track_statistics: bool = True,
) -> nn.Sequential:
    """Linear layers, each followed by batch norm, activation and dropout, as chosen.

    Args:
        in_features: Length of the input.
        options: Widths, activation, bias and dropout, all of them.
        spectral_norm: Divide each weight by an estimate of its largest singular value.
        batch_norm: Normalise before the activation.
        track_statistics: Whether batch norm uses running statistics in evaluation, or
            those of the batch.

    Raises:
        SpecError: A width is not positive, or `dropout` is not in [0, 1).
    """
    hidden, dropout = options["hidden"], options["dropout"]
    if not 0.0 <= dropout < 1.0:
        raise SpecError(f"dropout must lie in [0, 1), got {dropout}")
    given: object = hidden
    if not isinstance(given, Sequence) or not all(isinstance(width, int) for width in given):
        raise SpecError(f"hidden must be a sequence of widths such as (100,), got {hidden!r}")
    layers: list[nn.Module] = []
    for width in hidden:
        if width < 1:
            raise SpecError(f"hidden: a layer must have at least one unit, got {list(hidden)}")
        linear = nn.Linear(in_features, width, bias=options["bias"])
        layers.append(with_spectral_norm(linear) if spectral_norm else linear)
        # Before the activation, as in Ioffe and Szegedy (2015).
        if batch_norm:
            layers.append(nn.BatchNorm1d(width, track_running_stats=track_statistics))
        if options["activation"] is not None:
            layers.append(activation_module(options["activation"]))
        if dropout:
            layers.append(nn.Dropout(dropout))
        in_features = width
    return nn.Sequential(*layers)
