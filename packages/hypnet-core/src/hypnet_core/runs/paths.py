"""Paths in configurations, made absolute."""

from __future__ import annotations

import contextlib
import typing
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from hypnet_core.plugins.choice import Choice

Model = TypeVar("Model", bound=BaseModel)


def absolute_paths(config: Model) -> Model:
    """The configuration with absolute paths, so that it means the same anywhere.

    Every option whose type allows a `Path` is one, also those of chosen components and
    in groups. Relative paths begin at the working directory; `~` is the home directory.
    """
    fields = dict(type(config).model_fields)
    if isinstance(config, Choice):
        # The options of a component are declared by the component, not by the choice.
        fields |= config.entry.options().model_fields
    values = {**dict(config), **(config.model_extra or {})}
    changed = {
        name: new
        for name, value in values.items()
        if (new := _absolute(value, fields[name].annotation if name in fields else None))
        is not value
    }
    return config.model_copy(update=changed) if changed else config


def _absolute(value: Any, annotation: Any) -> Any:
    """The value of an option with absolute paths; itself if nothing changes."""
    if isinstance(value, BaseModel):
        return absolute_paths(value)
    if isinstance(value, Path) or (isinstance(value, str) and _allows_path(annotation)):
        return _path(value)
    if isinstance(value, (list, tuple)):
        parts = [_absolute(part, annotation) for part in value]
        return value if parts == list(value) else type(value)(parts)
    return value


def _path(value: str | Path) -> str | Path:
    # Without a home or a working directory the path stays as it is, and its use fails.
    with contextlib.suppress(RuntimeError, OSError):
        found = Path(value).expanduser().absolute()
        return value if str(found) == str(value) else type(value)(found)
    return value


def _allows_path(annotation: Any) -> bool:
    """Whether a type is `Path`, or has it among its members."""
    return (isinstance(annotation, type) and issubclass(annotation, Path)) or any(
        map(_allows_path, typing.get_args(annotation))
    )
