"""What the sub-commands of `hypnet search` share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hypnet_core.cli import is_terminal, print_lines

if TYPE_CHECKING:
    from hypnet_hpsearch.results.table import SearchStatus
    from hypnet_hpsearch.search import Search
    from hypnet_hpsearch.spec.spec import SearchSpec
    from hypnet_hpsearch.state.store import Store

__all__ = ["Directory", "carry_out", "looked_at", "print_pairs", "with_scheduler"]

_logger = logging.getLogger("hypnet.search")

Directory = Annotated[
    Path, typer.Argument(help="The search's directory, such as searches/NAME.", metavar="DIR")
]


def looked_at(directory: Path) -> tuple[Store, SearchSpec]:
    """A search's directory with all that is known about it, and the search."""
    from hypnet_hpsearch.state.store import Store

    store = Store(directory.absolute())
    store.glimpse()
    return store, store.spec


def print_pairs(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values: aligned for people, separated by a tab for a pipe."""
    width = max(len(name) for name, _ in rows) + 2
    print_lines(
        f"{name:<{width}}{value}" if is_terminal() else f"{name}\t{value}" for name, value in rows
    )


def with_scheduler(spec: SearchSpec, name: str | None, slots: int | None) -> SearchSpec:
    """The search with what the command line says about its scheduler."""
    if name is None and slots is None:
        return spec
    chosen = dict(spec.scheduler) if name is None else {"name": name}
    return spec.model_copy(
        update={"scheduler": chosen | ({} if slots is None else {"slots": slots})}
    )


def carry_out(search: Search, max_jobs: int | None) -> SearchStatus:
    """Run a search and show how it goes.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed, or SIGTERM came. The driver's own trials
            have been cancelled.
    """
    from hypnet_hpsearch.execution.display import watcher

    with watcher() as who:
        try:
            return search.run(watcher=who, max_jobs=max_jobs)
        except KeyboardInterrupt:
            _logger.info("its running trials were cancelled; to go on, run the same command again")
            raise
