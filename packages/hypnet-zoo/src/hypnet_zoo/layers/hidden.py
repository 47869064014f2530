"""The hidden layers of a fully connected network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm

from hypnet_core.errors import SpecError
from hypnet_zoo._activations import ActivationName, activation_module


def hidden_layers(
    in_features: int,
    hidden: Sequence[int],
    *,
    activation: ActivationName | None = "relu",
    bias: bool = True,
    dropout: float = 0.0,
    spectral_norm: bool = False,
    batch_norm: bool = False,
    track_statistics: bool = True,
) -> nn.Sequential:
    """Linear layers, each followed by batch norm (if asked for), the activation, and dropout (if asked for).

    Args:
        in_features: Length of the input.
        hidden: Width of each layer; empty for none.
        activation: Applied after every layer; `None` for none.
        bias: Whether linear layers have biases.
        dropout: Probability that an activation is set to zero in training.
        spectral_norm: Divide each weight matrix by an estimate of its largest singular
            value.
        batch_norm: Normalise before the activation.
        track_statistics: Whether batch norm uses running statistics in evaluation, or
            those of the batch.

    Raises:
        SpecError: A width is not positive, or `dropout` is not in [0, 1).
    """
    if not 0.0 <= dropout < 1.0:
        raise SpecError(f"dropout must lie in [0, 1), got {dropout}")
    if not isinstance(hidden, Sequence):
        raise SpecError(f"hidden must be a sequence of widths such as (100,), got {hidden!r}")
    layers: list[nn.Module] = []
    for width in hidden:
        if width < 1:
            raise SpecError(f"hidden: a layer must have at least one unit, got {list(hidden)}")
        linear = nn.Linear(in_features, width, bias=bias)
        layers.append(with_spectral_norm(linear) if spectral_norm else linear)
        if batch_norm:
            layers.append(nn.BatchNorm1d(width, track_running_stats=track_statistics))
        if activation is not None:
            layers.append(activation_module(activation))
        if dropout:
            layers.append(nn.Dropout(dropout))
        in_features = width
    return nn.Sequential(*layers)
