"""Helpers that several sub-commands of `hypnet search` share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hypnet_core.cli import is_terminal, print_lines

if TYPE_CHECKING:
    from hypnet_hpsearch.results.table import SearchStatus
    from hypnet_hpsearch.searches import Search
    from hypnet_hpsearch.spec.spec import SearchSpec
    from hypnet_hpsearch.state.store import Store

__all__ = ["opened", "print_pairs", "run_search", "with_scheduler"]

_logger = logging.getLogger("hypnet.search")


def opened(directory: Path) -> tuple[Store, SearchSpec]:
    """The up-to-date store of a search, for reading, and the search."""
    from hypnet_hpsearch.state.store import Store

    store = Store.glimpsed(directory)
    return store, store.spec


def print_pairs(rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values: aligned on a terminal, separated by a tab elsewhere."""
    width = max(len(name) for name, _ in rows) + 2
    print_lines(
        f"{name:<{width}}{value}" if is_terminal() else f"{name}\t{value}" for name, value in rows
    )


def with_scheduler(spec: SearchSpec, name: str | None, slots: int | None) -> SearchSpec:
    """The search with the scheduler of the command line."""
    if name is None and slots is None:
        return spec
    # The options of the file belong to its own scheduler.
    chosen = dict(spec.scheduler) if name is None else {"name": name}
    return spec.model_copy(
        update={"scheduler": chosen | ({} if slots is None else {"slots": slots})}
    )


def run_search(search: Search, max_jobs: int | None) -> SearchStatus:
    """Run a search and show its progress.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed, or SIGTERM came. The driver's own trials
            have been cancelled.
    """
    from hypnet_hpsearch.execution.display import display

    with display() as observer:
        try:
            return search.run(observer=observer, max_jobs=max_jobs)
        except KeyboardInterrupt:
            _logger.info("its running trials were cancelled; to go on, run the same command again")
            raise
