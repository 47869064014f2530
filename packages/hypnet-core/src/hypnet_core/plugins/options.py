"""Component options: a pydantic model derived from a signature.

What the caller supplies is positional; what the user configures is keyword-only, typed
and described in the docstring. Everything is declared once, there, and read from there.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Unpack, cast

from docstring_parser import DocstringStyle, ParseError, parse
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticUserError

from hypnet_core.errors import PluginError
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.groups import group_fields
from hypnet_core.plugins.validation import validated

__all__ = [
    "POSITIONAL",
    "descriptions",
    "options_from_signature",
    "options_of",
    "validated",
    "values_of",
]

POSITIONAL: Mapping[Kind, tuple[str, ...]] = {
    Kind.DATASET: (),
    Kind.MAINNET: ("in_shape", "out_features"),
    Kind.HYPERNET: ("target", "conditions"),
    Kind.METHOD: ("problem",),
    Kind.SAMPLER: ("log_density",),
    Kind.LOGGER: (),
    Kind.SCHEDULER: (),
    Kind.EXPERIMENT: (),
    Kind.RECIPE: (),
}
"""The positional arguments that hypnet passes to components of each kind."""

# In a configuration the name of a component stands beside its options.
_RESERVED = "name"


def options_of(kind: Kind, found: Callable[..., Any], label: str) -> type[BaseModel]:
    """Make the model of the options of a component.

    Args:
        kind: The component's kind.
        found: The component's object.
        label: How messages name the component.

    Raises:
        PluginError: The object does not follow the convention of its kind.
    """
    if kind is not Kind.EXPERIMENT:
        return options_from_signature(found, POSITIONAL[kind], label)
    # A class attribute, read without building the experiment.
    config = getattr(found, "Config", None)
    if not (isinstance(config, type) and issubclass(config, BaseModel)):
        raise PluginError(
            f"{label}: an experiment needs a pydantic model as its attribute Config, has {config!r}"
        )
    return config


def options_from_signature(
    found: Callable[..., Any], positional: tuple[str, ...], label: str
) -> type[BaseModel]:
    """Make a model of the keyword-only parameters of a function or class.

    It has their types, defaults and descriptions. Options that several components share
    stand in a `TypedDict`, and `**options: Unpack[Group]` takes all of them, see
    `hypnet_core.plugins.groups`. A parameter `**options` of any other type makes the
    model accept further keys, unvalidated.

    Args:
        found: The function or class.
        positional: Names of the positional arguments; only their number is checked.
        label: The name for messages.

    Raises:
        PluginError: It takes another number of positional arguments, or an option has
            no type.
    """
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        raise PluginError(f"{label}: its parameters cannot be read") from None
    _check_positional(signature, positional, label)
    described = descriptions(found)
    fields: dict[str, Any] = {}
    is_open = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            description = described.get(parameter.name)
            fields[parameter.name] = _field(parameter, found, description, label)
        elif parameter.kind is parameter.VAR_KEYWORD:
            group = _group_of(parameter, found, label)
            is_open = group is None
            fields.update({} if group is None else _group_fields(group, label))
    return _model_of(found, signature, fields, label, is_open=is_open)


def _model_of(
    found: Callable[..., Any],
    signature: inspect.Signature,
    fields: Mapping[str, Any],
    label: str,
    *,
    is_open: bool,
) -> type[BaseModel]:
    config = ConfigDict(
        extra="allow" if is_open else "forbid",
        arbitrary_types_allowed=True,
        # Options may begin with `model_`, a prefix that pydantic reserves.
        protected_namespaces=(),
        frozen=True,
    )
    name = f"{getattr(found, '__name__', 'Component')}Options"
    try:
        with warnings.catch_warnings():
            # pydantic warns of an option that is called like one of its own methods;
            # nobody calls those here.
            warnings.simplefilter("ignore", UserWarning)
            model: type[BaseModel] = create_model(name, __config__=config, **dict(fields))
    except (PydanticUserError, NameError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise PluginError(f"{label}: no options can be made of {signature}: {reason}") from error
    return model


def _group_of(parameter: inspect.Parameter, found: Callable[..., Any], label: str) -> Any:
    """The group in `**options: Unpack[Group]`; `None` for plain `**options`."""
    if parameter.annotation is inspect.Parameter.empty:
        return None
    annotation = _resolved(parameter, found, label)
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Unpack else None


def _group_fields(group: Any, label: str) -> dict[str, Any]:
    fields = group_fields(group)
    for name in fields:
        _check_name(name, label)
    return {name: (annotation, field) for name, (annotation, field) in fields.items()}


def _check_positional(
    signature: inspect.Signature, positional: tuple[str, ...], label: str
) -> None:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    # Without variadic parameters, which take any number.
    given = [parameter for parameter in signature.parameters.values() if parameter.kind in kinds]
    takes_any = any(
        parameter.kind is parameter.VAR_POSITIONAL for parameter in signature.parameters.values()
    )
    # A surplus parameter with a default is an option that lacks the "*".
    surplus = given[len(positional) :]
    if surplus and surplus[0].default is not inspect.Parameter.empty:
        raise PluginError(
            f"{label}: the option {surplus[0].name!r} must be keyword-only: write '*' before it"
        )
    if surplus or (len(given) < len(positional) and not takes_any):
        expected = ", ".join((*positional, "*", "options"))
        raise PluginError(f"{label}: it must take ({expected}), takes {_without_types(signature)}")


def _without_types(signature: inspect.Signature) -> str:
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    return str(inspect.Signature(bare))


def _field(
    parameter: inspect.Parameter, found: Callable[..., Any], description: str | None, label: str
) -> tuple[Any, Any]:
    name = parameter.name
    _check_name(name, label)
    if parameter.annotation is inspect.Parameter.empty:
        raise PluginError(f"{label}: the option {name!r} has no type: annotate it")
    annotation = _resolved(parameter, found, label)
    if parameter.default is inspect.Parameter.empty:
        default: Any = ...
    else:
        default = parameter.default
        # `width: int = None` means an optional width, also to readers of the schema.
        if default is None and not _accepts_none(annotation):
            # The annotation may be an object that does not know `|`.
            annotation = typing.Optional[annotation]  # noqa: UP045
    return annotation, (
        Field(default) if description is None else Field(default, description=description)
    )


def _check_name(name: str, label: str) -> None:
    if name == _RESERVED or name.startswith("_"):
        raise PluginError(f"{label}: an option cannot be called {name!r}")


def _resolved(parameter: inspect.Parameter, found: Callable[..., Any], label: str) -> Any:
    """Resolve an annotation, which may be a string (PEP 563)."""
    # `get_type_hints` resolves classes and modules, not single annotations.
    holder = type("Holder", (), {"__annotations__": {parameter.name: parameter.annotation}})
    try:
        return typing.get_type_hints(holder, _globals_of(found), include_extras=True)[
            parameter.name
        ]
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise PluginError(
            f"{label}: the type {parameter.annotation!r} of the option {parameter.name!r} cannot be"
            f" resolved ({error}): import it at run time, not under TYPE_CHECKING"
        ) from error


def _globals_of(found: Any) -> dict[str, Any]:
    """The namespace of an object's annotations."""
    if isinstance(found, functools.partial):
        return _globals_of(found.func)
    if isinstance(found, type):
        found = cast("Any", found).__init__
    elif not inspect.isroutine(found):
        found = type(found).__call__
    # A decorator may live in another module than the function.
    names: dict[str, Any] = getattr(inspect.unwrap(found), "__globals__", {})
    return names


def _accepts_none(annotation: Any) -> bool:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _accepts_none(arguments[0])
    if origin in {typing.Union, types.UnionType}:
        return any(map(_accepts_none, arguments))
    if origin is typing.Literal:
        return None in arguments
    return annotation in {None, type(None), Any, object}


def descriptions(found: Any) -> dict[str, str]:
    """Descriptions of parameters and attributes, from the docstring.

    For a class the docstrings of its bases and constructors are read too.
    """
    result: dict[str, str] = {}
    for text in _docstrings(found):
        try:
            parsed = parse(inspect.cleandoc(text), DocstringStyle.GOOGLE)
        except ParseError:  # a docstring in another style
            continue
        for parameter in parsed.params:
            name = parameter.arg_name.lstrip("*").split(" ")[0]
            if parameter.description:
                # `setdefault`: a subclass describes its options before its bases do.
                result.setdefault(name, " ".join(parameter.description.split()))
    return result


def _docstrings(found: Any) -> Iterator[str]:
    owners = inspect.getmro(found) if isinstance(found, type) else (inspect.unwrap(found),)
    for owner in owners:
        # Skip base classes from libraries: their docstrings describe other options.
        if owner.__module__ in {"builtins", "pydantic.main", "torch.nn.modules.module"}:
            continue
        yield owner.__doc__ or ""
        if isinstance(owner, type) and "__init__" in vars(owner):
            yield cast("Any", owner).__init__.__doc__ or ""


def values_of(options: BaseModel) -> dict[str, Any]:
    """The values of validated options, as Python objects, by name."""
    return dict(options)
