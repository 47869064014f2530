"""Subsets of groups of options."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import TypeVar

GroupType = TypeVar("GroupType")


def only(group: type[GroupType], options: Mapping[str, object]) -> GroupType:
    """Those of the options that belong to a group, to be handed to another component.

    Example:
        >>> class Size(typing.TypedDict, total=False):
        ...     width: int
        >>> only(Size, {"width": 3, "depth": 2})
        {'width': 3}
    """
    names = typing.get_type_hints(group)
    chosen = {name: value for name, value in options.items() if name in names}
    return typing.cast("GroupType", chosen)
