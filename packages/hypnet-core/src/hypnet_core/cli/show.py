"""`hypnet show`: one component, its options, and where it is defined."""

from __future__ import annotations

import inspect
import json
from typing import Annotated, Any

import typer

from hypnet_core.cli.completion import complete_kind, complete_name
from hypnet_core.cli.output import Json, print_json, print_lines, print_table
from hypnet_core.cli.recipes.show import print_recipe
from hypnet_core.cli.schemas import ComponentDocument, OptionDocument, ShowDocument
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.recipe import Recipe
from hypnet_core.plugins.registry import Entry, registry

Name = Annotated[str, typer.Argument(help="Name, or plugin:name.", autocompletion=complete_name())]
KindOption = Annotated[
    str | None,
    typer.Option(
        "--kind",
        help="Needed if components of two kinds share the name.",
        autocompletion=complete_kind,
    ),
]


def show(name: Name, *, kind: KindOption = None, as_json: Json = False) -> None:
    """Show a component and its options.

    Options come with their types, defaults and descriptions. The providing plugin and
    the place of the definition are shown too.
    """
    entry = find(name, kind)
    if as_json:
        print_json(_document(entry))
        return
    _print_heading(entry)
    if entry.kind is Kind.RECIPE:  # its experiment need not be installed
        print_recipe(entry.load())
        return
    document = _document(entry)
    if not document.options:
        print_lines(["It has no options."])
        return
    print_table(
        ("option", "type", "default", "description"),
        [_row(option) for option in document.options],
        details=("type", "default", "description"),
    )


def _print_heading(entry: Entry) -> None:
    component = ComponentDocument.of(entry)
    print_lines(
        [
            f"{component.kind} {component.name}: {component.summary}",
            "",
            f"plugin   {_provider(component)}",
            f"object   {component.target}",
            f"source   {entry.source() or 'unknown'}",
            "",
        ]
    )


def find(name: str, kind: str | None) -> Entry:
    """A component by name, and by kind if one was given."""
    return registry().find(name) if kind is None else registry().get(kind, name)


def _document(entry: Entry) -> ShowDocument:
    from hypnet_core.plugins.describe import describe, json_schema

    model = entry.options()
    found = entry.load()
    is_recipe = isinstance(found, Recipe)
    options = [
        OptionDocument.model_validate(option, from_attributes=True) for option in describe(model)
    ]
    return ShowDocument(
        component=ComponentDocument.of(entry),
        source=entry.source(),
        documentation=found.summary if is_recipe else inspect.getdoc(found) or "",
        options=options,
        json_schema=json_schema(model),
        recipe=found.model_dump(mode="json") if is_recipe else None,
    )


def _provider(component: ComponentDocument) -> str:
    if not component.distribution:
        return "none: found by its import string"
    return f"{component.plugin} ({component.distribution} {component.version})"


def _row(option: OptionDocument) -> tuple[str, ...]:
    default = "required" if option.required else _value(option.default)
    return option.key, option.type, default, option.description


def _value(value: Any) -> str:
    """A default as written in an override.

    A component is shown as its name and the options that differ from its defaults.
    """
    if isinstance(value, dict) and "name" in value:
        options = ", ".join(f"{key}={_value(part)}" for key, part in value.items() if key != "name")
        return f"{value['name']} ({options})" if options else str(value["name"])
    # Text without quotes, except for empty text, which would be invisible.
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
