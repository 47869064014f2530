"""What the sub-commands of `hypnet search` share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hypnet_core.cli.output import is_terminal, print_lines

if TYPE_CHECKING:
    from hypnet_hpsearch.spec import SearchSpec
    from hypnet_hpsearch.store import Store

__all__ = ["Directory", "looked_at", "print_pairs"]

Directory = Annotated[Path, typer.Argument(help="The search's directory, such as searches/NAME.", metavar="DIR")]


def looked_at(directory: Path) -> tuple[Store, SearchSpec]:
    """A search's directory with all that is known about it, and the search."""
    from hypnet_hpsearch.store import Store  # noqa: PLC0415  --help needs none of this

    store = Store(directory.absolute())
    store.glimpse()
    return store, store.spec


def print_pairs(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values: aligned for people, separated by a tab for a pipe."""
    width = max(len(name) for name, _ in rows) + 2
    print_lines(f"{name:<{width}}{value}" if is_terminal() else f"{name}\t{value}" for name, value in rows)
