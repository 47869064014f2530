"""Objects found by an import string, `"package.module:attribute"`."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable
from typing import Any

from hypnet_core.errors import ImportStringError, did_you_mean, error_line

PATTERN = r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"


def import_object(target: str) -> Any:
    """The object at an import string.

    Args:
        target: `"package.module:attribute"`; the attribute may have dots.

    Raises:
        ImportStringError: It is malformed, the module cannot be imported, or the module
            has no such attribute.

    Example:
        >>> import_object("math:sqrt")(4.0)
        2.0
        >>> import_object("math:sinc")
        Traceback (most recent call last):
        hypnet_core.errors.ImportStringError: math has no 'sinc'; did you mean ...
    """
    # `resolve_name` also accepts other forms, which would be ambiguous here.
    if not re.match(PATTERN, target):
        raise ImportStringError(
            f"{target!r} is not an import string: write package.module:attribute"
        )
    module, _, path = target.partition(":")
    try:
        # The module first, so that its own errors differ from a missing attribute.
        pkgutil.resolve_name(f"{module}:")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may raise anything, SystemExit too
        raise ImportStringError(f"cannot import {module}: {error_line(error)}") from error
    try:
        return pkgutil.resolve_name(target)
    except AttributeError as error:
        public = [name for name in dir(error.obj) if not name.startswith("_")]
        hint = did_you_mean(error.name or "", public)
        raise ImportStringError(f"{module} has no {path!r}{hint}") from error


def import_callable(target: str) -> Callable[..., Any]:
    """The function or class at an import string.

    Raises:
        ImportStringError: There is no such object, or it cannot be called.
    """
    found = import_object(target)
    if not callable(found):
        raise ImportStringError(
            f"{target} is not a function or class, but a {type(found).__name__}"
        )
    called: Callable[..., Any] = found
    return called
