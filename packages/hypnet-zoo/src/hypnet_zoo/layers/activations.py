"""Activation functions by name."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from hypnet_core.errors import SpecError, did_you_mean

ActivationName = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "softplus"]

# Classes, so that every layer gets its own module: hooks need one per place.
_MODULES: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
}

ACTIVATIONS = tuple(_MODULES.values())
"""The classes of all activations."""


def activation_module(name: ActivationName | None) -> nn.Module:
    """A new module that applies the activation; `None` is the identity.

    Raises:
        SpecError: There is no activation of that name.

    Example:
        >>> activation_module("tanh")
        Tanh()
    """
    kind = activation_type(name)
    return nn.Identity() if kind is None else kind()


def activation_type(name: ActivationName | None) -> type[nn.Module] | None:
    """The class of an activation; `None` is the identity.

    Raises:
        SpecError: There is no activation of that name.
    """
    if name is None:
        return None
    if name not in _MODULES:
        raise SpecError(
            f"there is no activation {name!r}{did_you_mean(name, get_args(ActivationName))}"
        )
    return _MODULES[name]
