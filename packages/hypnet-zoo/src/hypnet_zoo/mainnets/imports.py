"""Import strings of a user's own functions."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from hypnet_core.errors import SpecError, did_you_mean


def imported(path: str, option: str) -> Callable[..., Any]:
    """The function or class that `module:name` stands for.

    Args:
        path: The import string; the name may have dots.
        option: How messages name the option that it comes from.

    Raises:
        SpecError: It is no import string, the module cannot be imported or has no such
            name, or that cannot be called.

    Example:
        >>> imported("math:sqrt", "factory")(4.0)
        2.0
    """
    module_name, colon, names = path.partition(":")
    if not (module_name and colon and names):
        raise SpecError(f"{option}: an import string looks like module:name, got {path!r}")
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise SpecError(f"{option}: cannot import {module_name}: {error}") from error
    for name in names.split("."):
        if not hasattr(found, name):
            raise SpecError(
                f"{option}: {module_name} has no {names!r}{did_you_mean(name, dir(found))}"
            )
        found = getattr(found, name)
    if not callable(found):
        raise SpecError(f"{option}: {path} cannot be called, it is a {type(found).__name__}")
    return found  # type: ignore[no-any-return]
