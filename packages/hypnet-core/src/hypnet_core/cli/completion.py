"""Shell completion of component names and options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from textwrap import shorten
from typing import Any

import typer

from hypnet_core.cli.option_cache import cached_options, kind_named
from hypnet_core.errors import HypnetError
from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.registry import Entry, registry
from hypnet_core.recipes.seeds import experiment_of


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
    """Options of the experiment before the cursor, and of the components it chooses.

    A recipe takes those of its experiment, with its own choices.
    """
    experiment = context.params.get("experiment")
    if experiment is None:
        return []
    texts: list[str] = context.params.get("overrides") or []
    given = dict(text.split("=", 1) for text in texts if "=" in text)
    try:
        entry = registry().find(experiment, Kind.EXPERIMENT, Kind.RECIPE)
        if entry.kind is Kind.RECIPE:
            given = {**dict(_names(entry.load().options, "")), **given}
            entry = experiment_of(entry)
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
    for option in cached_options(entry):
        key, kind = f"{prefix}{option.key}", kind_named(option.kind)
        if kind is None or option.several:
            if not incomplete.startswith(f"{key}="):
                yield f"{key}=", option.description
            elif kind is None:
                yield from ((f"{key}={value}", "") for value in option.values)
            else:
                yield from _named(f"{key}=", kind)
        # `mnet=mlp` chooses, and `mnet.hidden=…` configures what is chosen.
        elif incomplete.startswith(f"{key}.name="):
            yield from _named(f"{key}.name=", kind)
        elif incomplete.startswith(f"{key}="):
            yield from _named(f"{key}=", kind)
        elif incomplete.startswith(f"{key}."):
            chosen = given.get(f"{key}.name", given.get(key, option.chosen))
            yield from _overrides(registry().get(kind, chosen), f"{key}.", given, incomplete)
            yield f"{key}.name=", option.description
        else:
            yield f"{key}=", option.description
            yield f"{key}.", "Its options."


def _names(options: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """The components that options choose, as overrides."""
    for key, value in options.items():
        if key == "name" and prefix:
            yield f"{prefix}name", str(value)
        elif isinstance(value, Mapping):
            yield from _names(value, f"{prefix}{key}.")


def _named(prefix: str, kind: Kind) -> Iterator[tuple[str, str]]:
    names = complete_name(kind)("")
    yield from ((f"{prefix}{name}", summary) for name, summary in names)
