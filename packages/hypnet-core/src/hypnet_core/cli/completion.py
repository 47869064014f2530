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
        found = list(_overrides(entry, (), given, incomplete))
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
    entry: Entry, prefix: tuple[str, ...], given: Mapping[str, str], incomplete: str
) -> Iterator[tuple[str, str]]:
    """Keys of overrides with descriptions; values once the key is complete."""
    # Lazily, since pydantic's models are only needed here.
    from hypnet_core.plugins.describe import describe, kind_of, values_of_type

    for option in describe(entry.options(), prefix=prefix):
        key, kind = option.key, kind_of(option.annotation)
        if kind is not None:
            if incomplete.startswith(f"{key}."):
                default = (option.default or {}).get("name", "")
                chosen = registry().get(kind, given.get(f"{key}.name", given.get(key, default)))
                yield from _overrides(chosen, tuple(key.split(".")), given, incomplete)
            key = f"{key}.name"
        if not incomplete.startswith(f"{key}="):
            yield f"{key}=", option.description
        elif kind is None:
            yield from ((f"{key}={value}", "") for value in values_of_type(option.annotation))
        else:
            names = complete_name(kind)("")
            yield from ((f"{key}={name}", summary) for name, summary in names)
