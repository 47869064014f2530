"""Activation functions: by name, by import string, or any callable."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Field
from torch import Tensor, nn

from hypnet_core.errors import ImportStringError, SpecError, clipped, did_you_mean
from hypnet_core.import_strings import import_callable

ActivationName = Literal[
    "relu",
    "leaky_relu",
    "elu",
    "gelu",
    "silu",
    "tanh",
    "sigmoid",
    "softplus",
    "celu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "log_sigmoid",
    "mish",
    "prelu",
    "relu6",
    "rrelu",
    "selu",
    "softshrink",
    "softsign",
    "tanhshrink",
]
"""Those of torch that need no arguments; `torch.nn`'s spelling will do too."""

if TYPE_CHECKING:
    Activation: TypeAlias = ActivationName | str | Callable[[Tensor], Tensor]
else:
    # Configurations hold names and import strings; callables come from Python.
    Activation = ActivationName | Annotated[str, Field(pattern=r"^[^:]+:[^:]+$")]


class Applied(nn.Module):
    """A function as a module.

    Args:
        function: It works elementwise.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Apply it."""
        return self.function(x)

    def extra_repr(self) -> str:
        """The function's name, for `print`."""
        return getattr(self.function, "__name__", repr(self.function))


_WANTED = {name.replace("_", "") for name in get_args(ActivationName)}
# By the names of torch's classes in lower case.
_MODULES: dict[str, type[nn.Module]] = {
    name.lower(): kind
    for name, kind in vars(nn).items()
    if name.lower() in _WANTED and issubclass(kind, nn.Module)
}

ACTIVATIONS = (*_MODULES.values(), Applied)
"""The classes of all activations known by name, and that of other functions."""


def activation_module(given: Activation | None) -> nn.Module:
    """A new module that applies the activation; `None` is the identity.

    Args:
        given: A name, a function, or a module or its class. Import strings
            (`package.module:function`) stand for these.

    Raises:
        SpecError: There is no activation of that name, or it is no function.

    Example:
        >>> activation_module("tanh"), activation_module(nn.functional.silu)
        (Tanh(), Applied(silu))
    """
    kind = activation_type(given)
    return nn.Identity() if kind is None else kind()


def activation_type(given: Activation | None) -> Callable[[], nn.Module] | None:
    """A function that makes the activation, such as its class; `None` is the identity.

    Every place needs a module of its own, since hooks belong to one place.

    Raises:
        SpecError: There is no activation of that name, or it is no function.
    """
    if given is None:
        return None
    if not isinstance(given, str):
        return _made_from(given)
    if ":" in given:
        try:
            return _made_from(import_callable(given))
        except ImportStringError as error:
            raise SpecError(f"activation: {error}") from error
    key = given.lower().replace("_", "")
    if key not in _MODULES:
        raise SpecError(
            f"there is no activation {clipped(given)!r}"
            f"{did_you_mean(given, get_args(ActivationName))}"
        )
    return _MODULES[key]


def _made_from(given: Any) -> Callable[[], nn.Module]:
    if inspect.isclass(given) and issubclass(given, nn.Module):
        made: Callable[[], nn.Module] = given
        return made
    if isinstance(given, nn.Module):
        return functools.partial(copy.deepcopy, given)
    if not callable(given):
        raise SpecError(f"an activation is a name or a function, got {clipped(repr(given))}")
    return _applied(given)


@functools.cache
def _applied(function: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    # One object per function, so that what is known about it is computed once.
    return functools.partial(Applied, function)
