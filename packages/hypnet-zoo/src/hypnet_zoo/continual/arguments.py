"""The arguments of `learn`: methods, networks and callbacks, in all their forms."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from torch import nn

from hypnet_core.errors import ConfigError, clipped, message_of, safe_repr
from hypnet_core.plugins import MainnetChoice, MethodChoice
from hypnet_core.protocols import Callback, Method
from hypnet_core.tasks import Problem
from hypnet_zoo.continual.assembly import MethodMaker

MakesMethod: TypeAlias = Callable[[Problem], Method]
MakesModule: TypeAlias = Callable[[Sequence[int], int], nn.Module]
MethodLike: TypeAlias = str | Mapping[str, Any] | MethodChoice | MakesMethod
ModuleLike: TypeAlias = str | Mapping[str, Any] | MainnetChoice | nn.Module | MakesModule


def chosen_method(method: Any) -> MethodChoice | MakesMethod:
    """A component with its options, or a class or function that makes a method.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(method, (str, Mapping)):
        return MethodChoice.of(method)
    if isinstance(method, MethodChoice):
        return method
    network = isinstance(method, nn.Module)
    if network or not callable(method):
        advice = ": networks are given as module=" if network else ""
        raise ConfigError(
            f"method: expected a name, class or function, got {_shown(method)}{advice}"
        )
    _check_takes(method, 1, "method", "a Problem")
    made: MakesMethod = method
    return made


def maker_of(method: MethodChoice | MakesMethod) -> MethodMaker:
    """The maker of a method."""
    if isinstance(method, MethodChoice):
        return MethodMaker(method.name, method.entry.load(), method.build)
    kind = method.func if isinstance(method, functools.partial) else method
    return MethodMaker(getattr(kind, "__name__", type(kind).__name__), kind, method)


def chosen_module(module: Any) -> nn.Module | MainnetChoice | MakesModule:
    """A network, a component with its options, or a function that makes one.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(module, (str, Mapping)):
        return MainnetChoice.of(module)
    if isinstance(module, (nn.Module, MainnetChoice)):
        return module
    if not callable(module):
        raise ConfigError(f"module: expected a network or its name, got {_shown(module)}")
    _check_takes(module, 2, "module", "the shape of inputs and the number of outputs")
    made: MakesModule = module
    return made


def check_callbacks(callbacks: Sequence[Any]) -> None:
    """Refuse objects that do not observe all events.

    Raises:
        ConfigError: One is no callback.
    """
    events = [name for name in vars(Callback) if not name.startswith("_")]
    for callback in callbacks:
        missing = [name for name in events if not hasattr(callback, name)]
        if missing:
            raise ConfigError(
                f"callbacks: a {type(callback).__name__} has no {missing[0]}: derive from"
                " hypnet_core.protocols.Callback"
            )


def _check_takes(function: Callable[..., Any], count: int, key: str, what: str) -> None:
    """Refuse a function that cannot be called with some positional arguments."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # one that is written in C tells nothing
        return
    try:
        signature.bind(*[None] * count)
    except TypeError as error:
        raise ConfigError(
            f"{key}: {_shown(function)} must take {what}: {message_of(error)}"
        ) from error


def _shown(value: Any) -> str:
    return clipped(" ".join(safe_repr(value).split()))
