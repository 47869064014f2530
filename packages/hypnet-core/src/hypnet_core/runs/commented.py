"""Configurations as YAML with the descriptions of the options as comments."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from hypnet_core.plugins.choice import Choice
from hypnet_core.plugins.options import descriptions
from hypnet_core.runs.parsing import to_yaml

_WIDTH = 88


def commented_config(config: BaseModel, *, only_ascii: bool = False) -> str:
    """A configuration as YAML that `load_config` reads back, with comments.

    Args:
        config: The configuration.
        only_ascii: Whether to escape all other characters in values.
    """
    values = config.model_dump(mode="json")
    return "".join(f"{line}\n" for line in _lines(config, values, "", only_ascii=only_ascii))


def _lines(
    config: BaseModel, values: Mapping[str, Any], indent: str, *, only_ascii: bool
) -> Iterator[str]:
    texts = _texts(config)
    objects = {**dict(config), **(config.model_extra or {})}
    for key, value in values.items():
        for line in textwrap.wrap(texts.get(key, ""), max(_WIDTH - len(indent), 30)):
            yield f"{indent}# {line}"
        inner = objects.get(key)
        if isinstance(inner, BaseModel) and isinstance(value, Mapping) and value:
            # The key as YAML writes it, quoted where necessary.
            yield f"{indent}{to_yaml({key: None}).partition(':')[0]}:"
            yield from _lines(inner, value, f"{indent}  ", only_ascii=only_ascii)
        else:
            text = to_yaml({key: value}, only_ascii=only_ascii)
            yield from (f"{indent}{line}" for line in text.splitlines())


def _texts(config: BaseModel) -> dict[str, str]:
    """The description of each option."""
    fields = dict(type(config).model_fields)
    texts = descriptions(type(config))
    if isinstance(config, Choice):
        options = config.entry.options()
        fields |= options.model_fields
        texts = {**descriptions(options), "name": config.entry.component.summary}
    texts |= {name: field.description for name, field in fields.items() if field.description}
    return {name: " ".join(text.split()) for name, text in texts.items()}
