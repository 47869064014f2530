"""Configurations in layers: defaults, a file, dotted overrides.

A value of a higher layer replaces that of a lower one, mappings are merged key by key,
lists are replaced whole. Where a mapping is a component (its name, with its options
beside it), another name drops the options of the lower layers: they belong to another
component.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hypnet_core.errors import ConfigError, clipped
from hypnet_core.plugins.choice import Choice, DefaultChoice
from hypnet_core.plugins.validation import (
    InvalidChoiceError,
    InvalidOptionsError,
    Mistake,
    OptionPath,
    models_in,
    shown,
    validated,
)
from hypnet_core.runs.parsing import parse_value, read_mapping, to_yaml
from hypnet_core.runs.paths import absolute_paths

__all__ = ["dump_config", "load_config", "parse_overrides"]

Model = TypeVar("Model", bound=BaseModel)


def load_config(
    model: type[Model],
    file: Path | str | Sequence[Path] | None = None,
    overrides: Iterable[str] = (),
    *,
    base: Mapping[str, Any] | None = None,
    layers: Sequence[Mapping[str, Any]] = (),
) -> Model:
    """Merge the layers of a configuration and validate the result.

    Paths in it become absolute.

    Args:
        model: Type of the configuration; its defaults are the lowest layer.
        file: A TOML or YAML file, the layer above; several are merged in order.
        overrides: `"key=value"` with dotted keys; the highest layer.
        base: A resolved configuration to use in place of the defaults.
        layers: Options, nested, between those and the files.

    Raises:
        ConfigError: The file cannot be read, or a key or value is wrong.
        ComponentError: A component is unknown, ambiguous or broken.
    """
    files = [] if file is None else [Path(file)] if isinstance(file, (str, Path)) else list(file)
    written = [(path, read_mapping(path.expanduser())) for path in files]
    overridden = parse_overrides(overrides)
    everything = [base or {}, *layers, *(content for _, content in written), overridden]
    try:
        # Defaults of groups are only unfolded where a layer changes a part of them.
        touched: Any = {}
        for layer in everything:
            touched = _merged(touched, layer, None)
        values: Any = _defaults(model, touched)
        for layer in everything:
            values = _merged(values, layer, model)
        return absolute_paths(validated(model, values))
    except RecursionError as error:
        raise ConfigError("the configuration is nested too deeply") from error
    except (InvalidOptionsError, InvalidChoiceError) as error:
        raise type(error)(
            _located(mistake, written, overridden) for mistake in error.mistakes
        ) from None


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """Parse dotted overrides into a nested mapping; later ones win.

    Args:
        overrides: `"key=value"` each; see `parse_value` for the values.

    Raises:
        ConfigError: There is no `=`, a key is empty, or a value is not well formed.

    Example:
        >>> parse_overrides(["train.lr=1e-3", "net=mlp", "net.hidden=[50,50]"])
        {'train': {'lr': 0.001}, 'net': {'name': 'mlp', 'hidden': [50, 50]}}
    """
    tree: dict[str, Any] = {}
    for override in overrides:
        key, sign, text = override.partition("=")
        parts = [part.strip() for part in key.split(".")]
        if not sign:
            # Refuse here: pydantic would report a missing key instead.
            raise ConfigError(f"{clipped(repr(override))} is not an override: write key=value")
        if not all(parts):
            raise ConfigError(
                f"{clipped(repr(override))}: the key {clipped(repr(key))} is not complete"
            )
        try:
            value = parse_value(text)
        except ConfigError as error:
            raise ConfigError(f"{clipped(key)}: {error}") from error
        # Builds the nested mappings on the way.
        node = tree
        for part in parts[:-1]:
            inner = node.get(part)
            node[part] = inner = (
                inner
                if isinstance(inner, dict)
                # `net=mlp` before `net.hidden=...`: the text becomes the component's
                # name.
                else {"name": inner}
                if isinstance(inner, str)
                else {}
            )
            node = inner
        # The other way round: the name joins the options that are there.
        name_first = isinstance(value, str) and isinstance(node.get(parts[-1]), dict)
        node[parts[-1]] = {**node[parts[-1]], "name": value} if name_first else value
    return tree


def dump_config(config: BaseModel) -> str:
    """A configuration as YAML that `load_config` reads back."""
    return to_yaml(config.model_dump(mode="json"))


def check_finite(config: BaseModel) -> None:
    """Refuse infinity and NaN, which `config.json` cannot hold.

    Raises:
        InvalidOptionsError: A number is not finite.
    """
    values = config.model_dump(warnings=False)
    mistakes = [
        Mistake(path, f"{value} is not possible, expected a finite number")
        for path, value in _numbers(values, ())
        if not math.isfinite(value)
    ]
    if mistakes:
        raise InvalidOptionsError(mistakes)


def _defaults(model: type[BaseModel], touched: Any) -> dict[str, Any]:
    """The defaults that higher layers may merge into: components and groups.

    All others are left to pydantic. Components that a default names are not looked up
    here: they need not be installed if the user chooses others.
    """
    values: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.default_factory, DefaultChoice):
            values[name] = dict(field.default_factory.values)
        elif isinstance(touched, Mapping) and isinstance(touched.get(name), (Mapping, str)):
            inner = _group(field.annotation)
            if inner is not None and (field.default_factory is inner or field.is_required()):
                values[name] = _defaults(inner, touched[name])
            elif not field.is_required():
                values[name] = _plain(_default_of(field))
    return {name: value for name, value in values.items() if value is not None}


def _default_of(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})


def _plain(value: Any) -> Any:
    """A default as nested mappings, for merging; `None` if it has no keys."""
    if isinstance(value, BaseModel):
        return {key: _plain(part) if isinstance(part, BaseModel) else part for key, part in value}
    return dict(value) if isinstance(value, Mapping) else None


def _group(annotation: Any) -> type[BaseModel] | None:
    """The model of a group of options: the only model in the type, not a choice."""
    models = list(models_in(annotation))
    return models[0] if len(models) == 1 and not issubclass(models[0], Choice) else None


def _merged(lower: Any, upper: Any, annotation: Any) -> Any:
    """Merge `upper` over `lower`."""
    group = _group(annotation)
    # Components are mappings with a name; groups are known by their model.
    has_name = group is None and isinstance(lower, Mapping) and "name" in lower
    if has_name and isinstance(upper, str):
        upper = {"name": upper}
    if not (isinstance(lower, Mapping) and isinstance(upper, Mapping)):
        return upper
    # Options of another component would not fit this one.
    if has_name and upper.get("name", lower["name"]) != lower["name"]:
        return upper
    merged = dict(lower)
    for key, value in upper.items():
        inner = (
            group.model_fields[key].annotation
            if group is not None and key in group.model_fields
            else None
        )
        merged[key] = _merged(lower[key], value, inner) if key in lower else value
    return merged


def _numbers(value: Any, path: OptionPath) -> Iterator[tuple[OptionPath, float]]:
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _numbers(part, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield from _numbers(part, (*path, index))


def _located(
    mistake: Mistake, written: Sequence[tuple[Path, Any]], overridden: Mapping[str, Any]
) -> Mistake:
    """The mistake with the name of the file, if it was made there."""
    if _holds(overridden, mistake):
        return mistake
    # The last file wins, so it is the one that holds the mistake.
    found = (path for path, content in reversed(written) if _holds(content, mistake))
    source = next(found, None)
    return mistake if source is None else replace(mistake, source=str(source))


def _holds(layer: Any, mistake: Mistake) -> bool:
    for part in mistake.path:
        if isinstance(layer, list) and isinstance(part, int):
            return True
        if isinstance(layer, str) and part == "name":
            return True
        if not isinstance(layer, Mapping) or part not in layer:
            return False
        layer = layer[part]
    return True


def difference(before: Any, after: Any) -> str:
    """The options in which two configurations differ, in words; no text if none does.

    Example:
        >>> difference({"a": 1, "net": {"depth": 2}}, {"a": 1, "net": {"depth": 3}})
        'net.depth was 2, is now 3'
    """
    found = list(_differences(before, after, ()))
    more = [f"and {len(found) - 3} more"] if len(found) > 3 else []
    return "; ".join([*found[:3], *more])


def _differences(before: Any, after: Any, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        for key in before:
            yield from _differences(before[key], after[key], (*path, key))
    elif _are_alike(before, after):
        for i, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differences(one, other, (*path, str(i)))
    elif before != after:
        where = ".".join(path) or "the configuration"
        old, new = shown(before), shown(after)
        if old == new:  # they differ in what is not shown
            old, new = f"{len(before)} entries", f"{len(after)} others"
        yield f"{where} was {old}, is now {new}"


def _are_alike(before: Any, after: Any) -> bool:
    """Whether two values are lists of as many groups of options."""
    if not isinstance(before, list) or not isinstance(after, list) or len(before) != len(after):
        return False
    return all(isinstance(one, dict) for one in (*before, *after))
