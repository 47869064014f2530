"""Functions of one variable, chosen by name or by import string."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hypnet_core.errors import ConfigError, ImportStringError, did_you_mean
from hypnet_core.import_strings import import_callable

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
"""The functions that have a short name."""


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
    try:
        return import_callable(name)
    except ImportStringError as error:
        raise ConfigError(f"cannot import the function {name!r}: {error}") from error


def evaluate(function: Function, x: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    """Evaluate a function, and check its values.

    Raises:
        ConfigError: It does not return one finite number per place.
    """
    # Functions of integers or lists are accepted as well.
    values = np.asarray(function(x), dtype=np.float64)
    if values.shape != x.shape:
        raise ConfigError(
            f"{what} must return one number per place, but returned shape {list(values.shape)} for"
            f" {list(x.shape)} places"
        )
    if not np.isfinite(values).all():
        raise ConfigError(
            f"{what} gives {values[~np.isfinite(values)][0]} at {x[~np.isfinite(values)][0]}"
        )
    return values
