"""Validation of options: one line per mistake, with key, value and expectation."""

from __future__ import annotations

import difflib
import inspect
import json
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from hypnet_core.errors import ComponentError, ConfigError, clipped, did_you_mean, safe_repr

OptionPath: TypeAlias = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)

# Pydantic's words are for programmers, these are for users.
_EXPECTED: Mapping[str, str] = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a group of options",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "mapping_type": "a group of options",
    "model_attributes_type": "a group of options",
    "model_type": "a group of options",
    "none_required": "null",
    "path_type": "a path",
    "string_type": "text (quote a number that is meant as text)",
    "tuple_type": "a list",
}


@dataclass(frozen=True)
class Mistake:
    """One mistake in a configuration.

    Attributes:
        path: Keys that lead to the mistake.
        text: The message.
        meant: Nearest existing paths.
        source: The file, if known.
    """

    path: OptionPath
    text: str
    meant: tuple[OptionPath, ...] = ()
    source: str = ""

    def __str__(self) -> str:
        hint = (
            f"; did you mean {' or '.join(repr(dotted(path)) for path in self.meant)}?"
            if self.meant
            else ""
        )
        # Whatever was typed, a message stays readable.
        parts = (self.source, clipped(dotted(self.path)), clipped(f"{self.text}{hint}", 400))
        return ": ".join(part for part in parts if part)

    def below(self, path: OptionPath) -> Mistake:
        """The same mistake in an enclosing model."""
        return replace(
            self, path=path + self.path, meant=tuple(path + other for other in self.meant)
        )


def _lines(mistakes: Sequence[Mistake]) -> str:
    """One line per mistake, the first twenty."""
    more = [f"and {len(mistakes) - 20} more mistakes"] if len(mistakes) > 20 else []
    return "\n".join([*map(str, mistakes[:20]), *more])


class InvalidOptionsError(ConfigError, ValueError):
    """Options are unknown, missing or invalid.

    A `ValueError`, so that pydantic adds the location.

    Args:
        mistakes: All mistakes; the message has one line for each.
    """

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__(_lines(self.mistakes))


class InvalidChoiceError(ComponentError, ValueError):
    """A configuration names a component that is unknown, ambiguous or broken.

    A `ValueError`, so that pydantic adds the location.

    Args:
        mistakes: All mistakes; the message has one line for each.
    """

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__(_lines(self.mistakes))


def validated(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Make an instance of a model, stricter than pydantic about booleans and keys.

    A list is accepted for a tuple and a whole number for a float, but not `true` for a
    number.

    Args:
        model: A pydantic model.
        values: The configured values, nested like the model.

    Raises:
        InvalidOptionsError: A key is unknown or missing, or a value is impossible.
        InvalidChoiceError: The only mistakes are components that cannot be found.
    """
    try:
        result = model.model_validate(values)
    except ValidationError as error:
        raise error_from(error, model, values) from None
    # pydantic has accepted the values; look for what it ignored or converted.
    mistakes = [*_lost(model, values, result, ())]
    if mistakes:
        raise InvalidOptionsError(mistakes)
    return result


def error_from(
    error: ValidationError, model: type[BaseModel], values: Mapping[str, Any]
) -> InvalidOptionsError | InvalidChoiceError:
    """Convert an error of pydantic into ours, with one readable line per mistake."""
    # Each member of a union reports its own error for the same key.
    grouped: dict[OptionPath, list[Mistake]] = {}
    only_choices = True
    for details in error.errors(include_url=False):
        # Our validators raise our errors, which pydantic wraps.
        cause = details.get("ctx", {}).get("error")
        only_choices = only_choices and isinstance(cause, InvalidChoiceError)
        for mistake in _mistakes(details, cause, model, values):
            grouped.setdefault(mistake.path, []).append(mistake)
    mistakes = [_merged(same_place) for same_place in grouped.values()]
    return InvalidChoiceError(mistakes) if only_choices else InvalidOptionsError(mistakes)


def _mistakes(
    details: Any, cause: object, model: type[BaseModel], values: Mapping[str, Any]
) -> Iterator[Mistake]:
    path, kind = _where(details["loc"], values), details["type"]
    if isinstance(cause, (InvalidOptionsError, InvalidChoiceError)):
        yield from (mistake.below(path) for mistake in cause.mistakes)
    elif kind == "missing":
        yield Mistake((*path, details["loc"][-1]), "must be given")
    elif kind == "extra_forbidden":
        yield unknown_key(model, path)
    elif kind in {"value_error", "assertion_error"}:
        yield Mistake(path, str(cause))
    else:
        expected = _EXPECTED.get(kind) or details["msg"].removeprefix("Input should be ")
        if expected.startswith(("greater", "less")):
            expected = f"a number {expected}"
        yield Mistake(path, f"{shown(details['input'])} is not possible, expected {expected}")


def _where(location: Sequence[str | int], values: Any) -> OptionPath:
    """The keys in a location of pydantic, which may end with tags of union members."""
    path: list[str | int] = []
    for part in location:
        is_key = isinstance(values, Mapping) and part in values
        is_index = (
            isinstance(values, (list, tuple)) and isinstance(part, int) and part < len(values)
        )
        # The first part that is not a key is a tag of a union member.
        if not (is_key or is_index):
            break
        values = values[part]
        path.append(part)
    return tuple(path)


def _merged(mistakes: Sequence[Mistake]) -> Mistake:
    """Merge the mistakes that the members of a union report for one key."""
    marker = ", expected "
    first = mistakes[0]
    expected = list(
        dict.fromkeys(m.text.partition(marker)[2] for m in mistakes if marker in m.text)
    )
    if len(mistakes) == 1 or not expected:
        return first
    return replace(first, text=first.text.partition(marker)[0] + marker + " or ".join(expected))


def _lost(model: type[BaseModel], values: Any, result: Any, path: OptionPath) -> Iterator[Mistake]:
    """Mistakes that pydantic accepts silently: ignored keys, booleans as numbers."""
    if (
        isinstance(values, bool)
        and isinstance(result, (int, float))
        and not isinstance(result, bool)
    ):
        yield Mistake(path, f"{shown(values)} is not possible, expected a number")
    if (
        isinstance(values, Mapping)
        and isinstance(result, BaseModel)
        and result.model_config.get("extra") != "allow"
    ):
        known = {
            key for name, field in type(result).model_fields.items() for key in (name, field.alias)
        }
        yield from (unknown_key(model, (*path, key)) for key in values if key not in known)
    for key, value, outcome in _pairs(values, result):
        yield from _lost(model, value, outcome, (*path, key))


def _pairs(values: Any, result: Any) -> Iterator[tuple[str | int, Any, Any]]:
    """Key, configured value and validated value of each part of a container."""
    if isinstance(values, Mapping) and isinstance(result, BaseModel):
        for name, field in type(result).model_fields.items():
            key = field.alias if field.alias is not None and field.alias in values else name
            if key in values:
                yield key, values[key], getattr(result, name)
    elif isinstance(values, Mapping) and isinstance(result, Mapping):
        yield from ((key, values[key], result[key]) for key in values if key in result)
    elif (
        isinstance(values, (list, tuple))
        and isinstance(result, (list, tuple))
        and len(values) == len(result)
    ):
        yield from ((index, *pair) for index, pair in enumerate(zip(values, result, strict=True)))


def unknown_key(model: type[BaseModel], path: OptionPath) -> Mistake:
    """The mistake of an unknown key, with the nearest keys anywhere in the model."""
    parent, key = path[:-1], str(path[-1])
    siblings = sorted(
        {field for found in _models_at(model, parent) for field in found.model_fields}
    )
    likeness = {found: _likeness(key, str(found[-1])) for found in paths_in(model)}
    # Without the place in a list no key leads to an item's option.
    bare = tuple(part for part in parent if not isinstance(part, int))
    for name in siblings:  # prefer keys of the same group
        likeness.pop((*bare, name), None)
        likeness[*parent, name] = _likeness(key, name) + 0.05
    # Keep candidates that are nearly as close as the best, if that one is close at all.
    best = max(likeness.values(), default=0.0)
    close = [found for found, value in likeness.items() if value >= max(best - 0.1, 0.6)]
    text = "there is no such option"
    return (
        Mistake(path, text, tuple(close[:3]))
        if close
        else Mistake(path, text + did_you_mean(key, siblings))
    )


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def paths_in(model: type[BaseModel], prefix: OptionPath = ()) -> Iterator[OptionPath]:
    """The paths to all fields of a model and of the models in it."""
    for name, field in model.model_fields.items():
        yield (*prefix, name)
        for inner in models_in(field.annotation):
            if len(prefix) < 8:  # a model may hold itself
                yield from paths_in(inner, (*prefix, name))


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The pydantic models in a type, also inside unions, lists and mappings."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


def _models_at(model: type[BaseModel], path: OptionPath) -> list[type[BaseModel]]:
    found = [model]
    for part in path:
        # An index leads from a list to its items, which `models_in` has found already.
        if not isinstance(part, int):
            fields = [
                candidate.model_fields[part]
                for candidate in found
                if part in candidate.model_fields
            ]
            found = [inner for field in fields for inner in models_in(field.annotation)] or found
    return found


def dotted(path: OptionPath) -> str:
    """A path of keys in dotted notation.

    Example:
        >>> dotted(("hnet", "hidden", 0))
        'hnet.hidden.0'
    """
    return ".".join(map(str, path))


def shown(value: Any) -> str:
    """A value for an error message, in JSON, shortened if necessary.

    Example:
        >>> shown([True, None, "a"])
        '[true, null, "a"]'
    """
    return clipped(json.dumps(value, default=safe_repr, ensure_ascii=False), 60)
