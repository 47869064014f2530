"""Groups of options that several components share.

A group is a `TypedDict`. Each key is an option, and its annotation declares the type,
the default and the description:

```python
class FileOptions(TypedDict, total=False):
    \"\"\"Where the files of a dataset lie.\"\"\"

    root: Annotated[str | None, Field(default=None, description="Folder of the files.")]
    download: Annotated[bool, Field(default=True, description="Fetch missing files.")]

def my_dataset(*, classes: int = 10, **options: Unpack[FileOptions]) -> Task:
    chosen = with_defaults(FileOptions, options)
    return read(chosen["root"], classes)
```

The component is called with plain keyword arguments, type checkers know each of them,
and `hypnet show`, configurations and JSON Schema list them beside the component's own.
A group may inherit from others.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic.fields import FieldInfo

from hypnet_core.errors import PluginError, did_you_mean

GroupType = TypeVar("GroupType")


def with_defaults(group: type[GroupType], given: GroupType) -> GroupType:
    """Complete options with the defaults of their group.

    Args:
        group: The `TypedDict`.
        given: The options that a caller passed, some of its keys.

    Raises:
        TypeError: A key is unknown, or an option without a default is missing.
    """
    fields = group_fields(group)
    passed: dict[str, Any] = dict(typing.cast("Any", given))
    # Type checkers know the names; callers from configurations need the check.
    for key in passed:
        if key not in fields:
            raise TypeError(f"there is no option {key!r}{did_you_mean(key, fields)}")
    for key, (_, field) in fields.items():
        if field.is_required() and key not in passed:
            raise TypeError(f"the option {key!r} must be given")
    values = {
        key: passed[key] if key in passed else _default(field) for key, (_, field) in fields.items()
    }
    return typing.cast("GroupType", values)


def only(group: type[GroupType], options: Mapping[str, object]) -> GroupType:
    """The options of one group among those of several, for another component.

    Args:
        group: The `TypedDict`.
        options: Options of this and of other groups.

    Example:
        >>> class SizeOptions(typing.TypedDict, total=False):
        ...     width: int
        >>> only(SizeOptions, {"width": 3, "depth": 2})
        {'width': 3}
    """
    # Includes the options of the groups that it inherits from.
    names = group.__annotations__
    return typing.cast("GroupType", {key: options[key] for key in options if key in names})


def group_fields(group: Any) -> dict[str, tuple[Any, FieldInfo]]:
    """The annotation and the pydantic field of each option of a group, by name.

    Raises:
        PluginError: It is not a `TypedDict`, or an annotation cannot be resolved.
    """
    if not typing.is_typeddict(group):
        raise PluginError(f"{group!r} is not a TypedDict: a group of options must be one")
    try:
        hints = typing.get_type_hints(group, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise PluginError(
            f"the types of the options in {group.__name__} cannot be resolved ({error}): import"
            " them at run time, not under TYPE_CHECKING"
        ) from error
    annotations = {name: _unqualified(hint) for name, hint in hints.items()}
    # `FieldInfo` reads default and description from `Annotated`.
    return {name: (kind, FieldInfo.from_annotation(kind)) for name, kind in annotations.items()}


def _unqualified(annotation: Any) -> Any:
    """An annotation without `Required` or `NotRequired`, which pydantic refuses."""
    if typing.get_origin(annotation) in {typing.Required, typing.NotRequired}:
        return typing.get_args(annotation)[0]
    return annotation


def _default(field: FieldInfo) -> Any:
    # Made anew at each call, since a default may be mutable.
    return field.get_default(call_default_factory=True, validated_data={})
