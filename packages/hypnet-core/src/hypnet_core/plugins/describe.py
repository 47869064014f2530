"""Descriptions of options: a flat list for people, JSON Schema for programs."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from hypnet_core.errors import safe_repr
from hypnet_core.plugins.choice import Choice, DefaultChoice, DefaultChoices
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.options import descriptions
from hypnet_core.plugins.validation import dotted, models_in


@dataclass(frozen=True)
class OptionInfo:
    """The description of one option.

    Attributes:
        key: Dotted key, as in an override.
        type: The type, in Python's notation; the kind, for a component.
        required: Whether it must be given.
        default: Its default, as JSON; `None` if it is required.
        description: What the docstring says.
        annotation: The type itself.
    """

    key: str
    type: str
    required: bool
    default: Any
    description: str
    annotation: Any


def describe(
    model: type[BaseModel], described: dict[str, str] | None = None, *, prefix: tuple[str, ...] = ()
) -> Iterator[OptionInfo]:
    """All options of a model, with groups of options unfolded.

    Args:
        model: The options.
        described: Descriptions by name; others come from the docstring of the model.
        prefix: Keys that lead to the model.
    """
    texts = {**descriptions(model), **(described or {})}
    for name, field in model.model_fields.items():
        path = (*prefix, name)
        group = _group(field.annotation) if len(prefix) < 8 else None  # a model may hold itself
        text = field.description or texts.get(name, "")
        # An optional group is shown both as an option and unfolded.
        if group is None or group is not field.annotation:
            yield OptionInfo(
                dotted(path),
                type_name(field.annotation),
                field.is_required(),
                _default(field),
                text,
                field.annotation,
            )
        if group is not None:
            yield from describe(group, prefix=path)


def _group(annotation: Any) -> type[BaseModel] | None:
    """The model of a group of options, also if optional; `None` for other options."""
    annotation = _without_none(annotation)
    models = list(models_in(annotation))
    return models[0] if models == [annotation] and not issubclass(models[0], Choice) else None


def kind_of(annotation: Any) -> Kind | None:
    """The kind of component that an option chooses; `None` for other options."""
    annotation = _without_none(annotation)
    is_choice = isinstance(annotation, type) and issubclass(annotation, Choice)
    return annotation.kind if is_choice else None


def kind_of_several(annotation: Any) -> Kind | None:
    """The kind of which an option chooses several components; else `None`."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    arguments = typing.get_args(annotation)
    is_list = typing.get_origin(annotation) in {tuple, list}
    return kind_of(arguments[0]) if is_list and arguments else None


def values_of_type(annotation: Any) -> list[str]:
    """The values of a type if they are few: of `bool`, `Literal` and enumerations.

    Example:
        >>> values_of_type(typing.Literal["relu", "tanh"] | None)
        ['relu', 'tanh']
    """
    if annotation is bool:
        return ["true", "false"]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(member.value) for member in annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return [str(value) for value in arguments]
    if origin in {typing.Union, types.UnionType}:
        return [value for argument in arguments for value in values_of_type(argument)]
    return []


def _without_none(annotation: Any) -> Any:
    """The type of an option that may also be `None`."""
    members = [member for member in typing.get_args(annotation) if member is not types.NoneType]
    is_union = typing.get_origin(annotation) in {typing.Union, types.UnionType}
    return members[0] if is_union and len(members) == 1 else annotation


def _default(field: FieldInfo) -> Any:
    if field.is_required():
        return None
    # Calling the factory would look up a component that need not be installed.
    if isinstance(field.default_factory, DefaultChoice):
        return as_json(dict(field.default_factory.values))
    if isinstance(field.default_factory, DefaultChoices):
        return list(field.default_factory.names)
    return as_json(field.get_default(call_default_factory=True, validated_data={}))


def as_json(value: Any) -> Any:
    """A value as JSON; a value without a JSON form as its `repr`."""
    # A default may be anything in Python, and describing must not fail.
    return TypeAdapter(Any).dump_python(value, mode="json", fallback=safe_repr, warnings=False)


def type_name(annotation: Any) -> str:
    """A type in the notation of Python.

    Example:
        >>> type_name(typing.Optional[tuple[int, ...]])
        'tuple[int, ...] | None'
        >>> type_name(typing.Literal["relu", "tanh"])
        "'relu' | 'tanh'"
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin in {typing.Union, types.UnionType}:
        return " | ".join(map(type_name, arguments))
    if origin is typing.Literal:
        return " | ".join(map(repr, arguments))
    if origin is not None and arguments:
        name = getattr(origin, "__name__", str(origin))
        return f"{name}[{', '.join(map(_argument_name, arguments))}]"
    return _plain_name(annotation)


def _plain_name(annotation: Any) -> str:
    if annotation is type(None):
        return "None"
    if isinstance(annotation, type) and issubclass(annotation, Choice):
        return str(getattr(annotation, "kind", annotation.__name__))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " | ".join(repr(member.value) for member in annotation)
    return getattr(annotation, "__name__", None) or str(annotation).replace("typing.", "")


def _argument_name(argument: Any) -> str:
    if isinstance(argument, list):
        return f"[{', '.join(map(type_name, argument))}]"
    return "..." if argument is ... else type_name(argument)


class _Lenient(GenerateJsonSchema):
    """Generates JSON Schema that allows anything for a type unknown to JSON."""

    def encode_default(self, dft: Any) -> Any:
        """A default as JSON, as text if it has no other form."""
        return as_json(dft)

    def emit_warning(self, kind: str, detail: str) -> None:
        """Ignore defaults and choices without a schema."""
        del kind, detail

    def handle_invalid_for_json_schema(
        self, schema: core_schema.CoreSchema, error_info: str
    ) -> JsonSchemaValue:
        del schema, error_info
        return {}


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema of a model, with the descriptions of its options."""
    schema = model.model_json_schema(schema_generator=_Lenient)
    schema.pop("description", None)
    texts = descriptions(model)
    for name, part in schema.get("properties", {}).items():
        if name in texts:
            part.setdefault("description", texts[name])
    return schema
