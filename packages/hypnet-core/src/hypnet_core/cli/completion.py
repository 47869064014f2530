"""Shell completion of component names."""

from __future__ import annotations

from collections.abc import Callable

from hypnet_core.plugins.component import Kind
from hypnet_core.plugins.registry import registry


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
