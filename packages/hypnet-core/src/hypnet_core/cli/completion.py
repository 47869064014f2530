"""Shell completion of component names and options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from textwrap import shorten

import typer

from hypnet_core.errors import HypnetError
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.registry import Entry, registry


def complete_kind(incomplete: str) -> list[tuple[str, str]]:
    """Kinds of components."""
    found = registry()
    return [
        (kind.value, f"{len(found.entries(kind))} installed")
        for kind in Kind
        if kind.value.startswith(incomplete)
    ]


def complete_name(*kinds: Kind) -> Callable[[str], list[tuple[str, str]]]:
    """A completion function for the components of some kinds, or of all."""

    def complete(incomplete: str) -> list[tuple[str, str]]:
        found = registry()
        names = [
            (found.shortest_name(entry), entry)
            for kind in kinds or tuple(Kind)
            for entry in found.entries(kind)
        ]
        return [
            (name, entry.component.summary) for name, entry in names if name.startswith(incomplete)
        ]

    return complete


def complete_override(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Options of the experiment before the cursor, and of the components it chooses."""
    experiment = context.params.get("experiment")
    if experiment is None:
        return []
    texts: list[str] = context.params.get("overrides") or []
    given = dict(text.split("=", 1) for text in texts if "=" in text)
    try:
        entry = registry().get(Kind.EXPERIMENT, experiment)
        found = list(_overrides(entry, "", given, incomplete))
    except HypnetError:
        # There is no place for a message here; the command itself gives it.
        return []
    # One line each, as a menu shows them.
    return [
        (text, shorten(description, 72, placeholder="…"))
        for text, description in found
        if text.startswith(incomplete)
    ]


def _overrides(
    entry: Entry, prefix: str, given: Mapping[str, str], incomplete: str
) -> Iterator[tuple[str, str]]:
    """Keys of overrides with descriptions; values once the key is complete."""
    # Lazily, since pydantic's models are only needed here.
    from hypnet_core.plugins.describe import describe

    for option in describe(entry.options()):
        key = f"{prefix}{option.key}"
        kind = next((kind for kind in Kind if option.type.split(" | ")[0] == kind.value), None)
        if kind is not None:
            if incomplete.startswith(f"{key}."):
                name = (
                    given.get(f"{key}.name")
                    or given.get(key)
                    or (option.default or {}).get("name", "")
                )
                yield from _overrides(registry().get(kind, name), f"{key}.", given, incomplete)
            key = f"{key}.name"
        if not incomplete.startswith(f"{key}="):
            yield f"{key}=", option.description
        elif kind is None:
            yield from ((f"{key}={value}", "") for value in _values(option.type))
        else:
            names = complete_name(kind)("")
            yield from ((f"{key}={name}", summary) for name, summary in names)


def _values(type_name: str) -> list[str]:
    """The possible values of a type if they are few: those of `bool` and `Literal`."""
    if type_name == "bool":
        return ["true", "false"]
    return [part.strip("'") for part in type_name.split(" | ") if part.startswith("'")]
