"""Functions of one variable for configuration files: by a name of ours, or by where they are found."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hypnet_core.errors import ConfigError, did_you_mean

Function: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From places `[n]` to values `[n]`."""

NAMED: Mapping[str, Function] = MappingProxyType(
    {
        "zero": np.zeros_like,
        "identity": np.positive,
        "absolute": np.abs,
        "square": np.square,
        "cube": lambda x: x**3,
        "sine": np.sin,
    }
)
"""The functions that have a name."""


def function_named(name: str) -> Function:
    """The function that a string stands for.

    Args:
        name: One of `NAMED`, or an import string `"package.module:function"`.

    Raises:
        ConfigError: There is no such function.

    Example:
        >>> function_named("numpy:cos") is np.cos
        True
    """
    if name in NAMED:
        return NAMED[name]
    if ":" not in name:
        raise ConfigError(
            f"there is no function {name!r}{did_you_mean(name, NAMED)} (or give"
            " 'package.module:function')"
        )
    return import_function(name)


def import_function(name: str) -> Function:
    """The function at an import string `"package.module:function"`.

    Raises:
        ConfigError: There is none.
    """
    module_name, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"cannot import the function {name!r}: {error}") from error
    if not callable(found):
        raise ConfigError(f"{name!r} is no function, but a {type(found).__name__}")
    function: Function = found
    return function


def evaluate(function: Function, x: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    """The values of a function at some places, checked.

    Raises:
        ConfigError: There is not one finite number per place.
    """
    values = np.asarray(function(x), dtype=np.float64)
    if values.shape != x.shape:
        raise ConfigError(
            f"{what} must give one number per place: {list(values.shape)} values came for"
            f" {list(x.shape)} places"
        )
    if not np.isfinite(values).all():
        raise ConfigError(
            f"{what} gives {values[~np.isfinite(values)][0]} at {x[~np.isfinite(values)][0]}"
        )
    return values
