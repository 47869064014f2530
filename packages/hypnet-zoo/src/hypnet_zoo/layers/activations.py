"""Activation functions: by name, by import string, or any callable."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, cast, get_args

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
    "softmax",
    "softmin",
    "log_softmax",
]
"""Those of torch that need no arguments; `torch.nn`'s spelling will do too.

The softmax family works along the last dimension.
"""

if TYPE_CHECKING:
    Activation: TypeAlias = ActivationName | str | Callable[[Tensor], Tensor]
else:
    # Configurations hold names and import strings; callables come from Python.
    Activation = ActivationName | Annotated[str, Field(pattern=r"^[^:]+:[^:]+$")]


class Applied(nn.Module):
    """A function as a module.

    Args:
        function: It keeps the shape; a module is held as a child.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Apply it.

        Raises:
            SpecError: It changes the shape.
        """
        y = self.function(x)
        if y.shape != x.shape:
            raise SpecError(
                f"activation: {_name_of(self.function)} must keep the shape of its input, made"
                f" {list(y.shape)} of {list(x.shape)}"
            )
        return y

    def extra_repr(self) -> str:
        """The function's name, for `print`."""
        if isinstance(self.function, nn.Module):
            return ""  # printed as a child
        return _name_of(self.function)


def _name_of(function: object) -> str:
    return getattr(function, "__name__", repr(function))


_WANTED = {name.replace("_", "") for name in get_args(ActivationName)}
_ALONG = {"softmax": nn.Softmax, "softmin": nn.Softmin, "logsoftmax": nn.LogSoftmax}
# By the names of torch's classes in lower case.
_MODULES: dict[str, type[nn.Module]] = {
    name.lower(): kind
    for name, kind in vars(nn).items()
    if name.lower() in _WANTED - _ALONG.keys() and issubclass(kind, nn.Module)
}
_WITH_ARGUMENTS = {"threshold": "Threshold(0.1, 0.0)"}
_OTHER_SHAPES = {
    "glu": "halves its input",
    "softmax2d": "reads images alone",
    "multiheadattention": "reads three inputs",
}

ACTIVATIONS = (*_MODULES.values(), nn.Threshold, Applied)
"""The classes of elementwise activations, and that of all others."""


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
    if key in _ALONG:
        return _maker(_softmax, _ALONG[key])
    if key in _WITH_ARGUMENTS:
        raise SpecError(
            f"activation: {given} needs arguments: give a module, such as"
            f" torch.nn.{_WITH_ARGUMENTS[key]}"
        )
    if key in _OTHER_SHAPES:
        raise SpecError(f"activation: {given} {_OTHER_SHAPES[key]}, so it cannot follow a layer")
    if key not in _MODULES:
        raise SpecError(
            f"there is no activation {clipped(given)!r}"
            f"{did_you_mean(given, get_args(ActivationName))}"
        )
    return _MODULES[key]


def _made_from(given: Any) -> Callable[[], nn.Module]:
    # The class itself where it is known: its moments are computed once.
    if given in (*_MODULES.values(),):
        return cast("type[nn.Module]", given)
    if inspect.isclass(given) and issubclass(given, nn.Module):
        make = _softmax if given in _ALONG.values() else _made_by
        made: Callable[[], nn.Module] = _maker(make, cast("Hashable", given))
        return made
    if isinstance(given, nn.Module):
        return functools.partial(_copy_of, given)
    if not callable(given):
        raise SpecError(f"an activation is a name or a function, got {clipped(repr(given))}")
    return _maker(Applied, given)


@functools.cache
def _maker(make: Callable[[Any], nn.Module], given: Hashable) -> Callable[[], nn.Module]:
    # One object per function, so that its moments are computed once.
    return functools.partial(make, given)


def _made_by(kind: type[nn.Module]) -> nn.Module:
    try:
        return _marked(kind())
    except TypeError as error:
        raise SpecError(
            f"activation: {kind.__name__} needs arguments: give a module, such as"
            f" {kind.__name__}(…)"
        ) from error


def _copy_of(given: nn.Module) -> nn.Module:
    return _marked(copy.deepcopy(given))


def _softmax(kind: Callable[..., nn.Module]) -> nn.Module:
    return Applied(kind(dim=-1))


def _marked(module: nn.Module) -> nn.Module:
    # Context modulation recognises activations by their class.
    return module if isinstance(module, ACTIVATIONS) else Applied(module)
