"""The arguments of `learn`: methods, networks and callbacks, in all their forms."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, TypeAlias

from torch import nn

from hypnet_core.errors import ConfigError, message_of
from hypnet_core.plugins import Kind, MainnetChoice, MethodChoice, registry
from hypnet_core.protocols import Callback, Method
from hypnet_core.tasks import Problem
from hypnet_zoo.continual.assembly import MethodMaker
from hypnet_zoo.continual.contract import shown

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
            f"method: expected a name, class or function, got {shown(method)}{advice}"
        )
    _check_takes(method, 1, "method", "a Problem")
    made: MakesMethod = method
    return made


def maker_of(method: MethodChoice | MakesMethod) -> MethodMaker:
    """The maker of a method."""
    if isinstance(method, MethodChoice):
        return MethodMaker(method.name, method.entry.load(), method.build)
    if isinstance(method, functools.partial):
        choice = _component(method)
        if choice is not None:
            return MethodMaker(choice.name, choice.entry.load(), choice.build)
    kind = method.func if isinstance(method, functools.partial) else method
    return MethodMaker(getattr(kind, "__name__", type(kind).__name__), kind, method)


def _component(method: functools.partial[Any]) -> MethodChoice | None:
    """A known class with options, which are checked like those of a mapping."""
    if method.args:
        return None
    for entry in registry().entries(Kind.METHOD):
        if entry.load() is method.func:
            return MethodChoice.of({"name": entry.full_name, **method.keywords})
    return None


def check_plain(*, seed: object, device: object, directory: object) -> None:
    """Refuse arguments of other types than a configuration would take.

    Raises:
        ConfigError: A seed is no whole number from 0 to 2³² - 1, a device no name, or a
            directory no path.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ConfigError(f"seed: expected a whole number from 0 to 2**32 - 1, got {shown(seed)}")
    if not isinstance(device, str):
        raise ConfigError(f"device: expected a name such as 'cpu' or 'cuda', got {shown(device)}")
    if directory is not None and not isinstance(directory, (str, PathLike)):
        raise ConfigError(f"directory: expected a path, got {shown(directory)}")


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
        raise ConfigError(f"module: expected a network or its name, got {shown(module)}")
    if (
        isinstance(module, type)
        and issubclass(module, nn.Module)
        and module.__module__.startswith("torch.")
    ):
        raise ConfigError(
            f"module: {module.__name__} is a class of torch, which takes other arguments than the"
            " shape of inputs and the number of outputs: give a module of it, or a function"
        )
    _check_takes(module, 2, "module", "the shape of inputs and the number of outputs")
    made: MakesModule = module
    return made


def check_callbacks(callbacks: Sequence[Any]) -> None:
    """Refuse objects that do not observe all events.

    Raises:
        ConfigError: One is no callback.
    """
    given: object = callbacks
    if not isinstance(given, Sequence):
        raise ConfigError(f"callbacks: expected a list of callbacks, got {shown(given)}")
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
            f"{key}: {shown(function)} must take {what}: {message_of(error)}"
        ) from error
