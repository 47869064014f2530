"""Displays of a search: a live table on a terminal, plain lines elsewhere.

Both go to stderr.
"""

from __future__ import annotations

import html
import importlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypnet_hpsearch.execution.observers import (
    Inventory,
    SearchObserver,
    SearchProgress,
    Watcher,
)
from hypnet_hpsearch.spec.values import argument_text
from hypnet_hpsearch.state.attempts import Attempt
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState, counts_by_name

__all__ = [
    "Lines",
    "Live",
    "Notebook",
    "described",
    "display",
    "live_display",
    "metric_text",
    "short_path",
    "shown",
]

_logger = logging.getLogger("hypnet.search")
_LONGEST = 60  # characters of a value
_ENDED = [state for state in TrialState if state is not TrialState.RUNNING]
_ALWAYS = ("queued", "running", "done", "failed")


class Lines:
    """One line for each attempt that ends."""

    def __init__(self) -> None:
        self._searched: tuple[str, ...] = ()
        self._trials = Path("trials")

    def started(self, inventory: Inventory) -> None:
        """Print the counts of trials."""
        self._searched = inventory.searched
        self._trials = Path(inventory.directory, "trials")
        _logger.info(described(inventory))
        if inventory.damaged:
            lines = "1 line" if inventory.damaged == 1 else f"{inventory.damaged} lines"
            _logger.warning(
                "%s of the journal could not be read; their content was recovered from the trials'"
                " directories",
                lines,
            )

    def ended(self, record: TrialRecord, progress: Callable[[], SearchProgress]) -> None:
        """Print the outcome of the attempt; after a failure, where its errors are."""
        level = logging.INFO if record.state.final else logging.WARNING
        if not _logger.isEnabledFor(level):
            return
        outcome = metric_text(record.metric) or record.reason or record.state.value
        options = " ".join(
            f"{key}={shown(value)}"
            for key, value in record.options.items()
            if key in self._searched
        )
        attempt = Attempt(self._trials, record.id, record.attempt)
        errors = "" if record.state.final else short_path(attempt.errors)
        now = progress()
        _logger.log(
            level,
            "[%d/%d] %s %s: %s  (%s)%s",
            now.counts[TrialState.DONE],
            now.total,
            record.id,
            # It may go on where it was interrupted.
            "interrupted" if record.interrupted else record.state.value,
            outcome,
            options,
            errors and f"  {errors}",
        )

    def working(self, progress: Callable[[], SearchProgress]) -> None:
        """Print nothing: there is no news."""

    def warned(self, message: str) -> None:
        """Print the warning."""
        _logger.warning(message)


class Live:
    """A table that is redrawn a few times a second.

    Args:
        live: The display, from rich.
    """

    def __init__(self, live: Any) -> None:
        self._live, self._lines = live, Lines()
        self._began = time.monotonic()
        self._ended = 0

    def started(self, inventory: Inventory) -> None:
        """Print the counts of trials above the table."""
        self._lines.started(inventory)

    def ended(self, record: TrialRecord, progress: Callable[[], SearchProgress]) -> None:
        """Count the attempt; a failure stays on the screen above the table."""
        self._ended += 1
        if not record.state.final:
            self._lines.ended(record, progress)

    def working(self, progress: Callable[[], SearchProgress]) -> None:
        """Draw the table."""
        self._live.update(self._table(progress()))

    def warned(self, message: str) -> None:
        """Print the warning above the table."""
        _logger.warning(message)

    def _table(self, progress: SearchProgress) -> Any:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold")
        cells = self._cells(progress)
        for column in cells:
            table.add_column(column, justify="left" if column == "best so far" else "right")
        table.add_row(*cells.values())
        return table

    def _cells(self, progress: SearchProgress) -> dict[str, str]:
        counts, best = progress.counts, progress.best
        left = progress.total - sum(counts[state] for state in _ENDED)
        # Estimate from the rate of all ends so far, failures included.
        seconds = (time.monotonic() - self._began) / max(1, self._ended) * left
        named = counts_by_name(progress.total, counts, progress.queued)
        return {
            **{name: str(count) for name, count in named.items() if count or name in _ALWAYS},
            "of": str(progress.total),
            "best so far": "" if best is None else f"{metric_text(best.metric)}  ({best.id})",
            "time left": str(timedelta(seconds=round(seconds))) if self._ended else "",
        }


@contextmanager
def display() -> Iterator[SearchObserver]:
    """An observer that shows the progress of a search while a block runs.

    It is a live table if stderr is a terminal, and silent if the command is to be
    quiet.
    """
    if not _logger.isEnabledFor(logging.INFO):
        yield Watcher()
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines()
        return
    from rich.live import Live as Display

    with Display(console=console, transient=True, refresh_per_second=4) as live:
        yield Live(live)


@contextmanager
def live_display(*, shown: bool) -> Iterator[SearchObserver]:
    """An observer that shows the progress of a search in a terminal or a notebook.

    Args:
        shown: Whether to show anything.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if shown and console.is_jupyter:
        yield Notebook()
    elif shown and console.is_terminal:
        from rich.live import Live as Display

        with Display(console=console, transient=True, refresh_per_second=4) as live:
            yield Live(live)
    else:
        yield Watcher()


class _Page:
    """A place in a notebook whose content can be replaced."""

    def __init__(self) -> None:
        self._handle: Any = None

    def update(self, table: Any) -> None:
        """Show another content."""
        ipython = importlib.import_module("IPython.display")
        if self._handle is None:
            self._handle = ipython.display(table, display_id=True)
        else:
            self._handle.update(table)


class Notebook(Live):
    """A table in a notebook that is redrawn when it changes."""

    def __init__(self) -> None:
        super().__init__(_Page())
        self._shown: dict[str, str] = {}

    def working(self, progress: Callable[[], SearchProgress]) -> None:
        """Draw the table, if a number in it has changed."""
        cells = self._cells(progress())
        if cells != self._shown:
            self._shown = cells
            self._live.update(_Html(cells))


class _Html:
    """A row of named cells, as notebooks show it."""

    def __init__(self, cells: dict[str, str]) -> None:
        self._cells = cells

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self._cells)
        row = "".join(f"<td>{html.escape(text)}</td>" for text in self._cells.values())
        return f"<table><tr>{head}</tr><tr>{row}</tr></table>"


def described(inventory: Inventory) -> str:
    """The counts of trials, in one sentence."""
    total = inventory.total
    parts = [f"{total} trial{'s' * (total != 1)}", f"{inventory.done} done"]
    parts += [f"{inventory.pruned} pruned"] if inventory.pruned else []
    parts += [f"{inventory.running} running already"] if inventory.running else []
    kinds = [f"{inventory.missing} not begun", f"{inventory.failed} failed"]
    kinds += [f"{inventory.interrupted} interrupted"] if inventory.interrupted else []
    to_run = inventory.missing + inventory.failed + inventory.interrupted
    return f"{', '.join(parts)}; to run: {to_run} ({', '.join(kinds)})"


def short_path(path: Path) -> str:
    """The path of a file with content, relative to the working directory if below it.

    It is empty if there is no such file, or nothing in it.
    """
    try:
        if not path.stat().st_size:
            return ""
    except OSError:
        return ""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def metric_text(metric: float | None) -> str:
    """A metric with six significant digits; empty if there is none.

    Example:
        >>> metric_text(0.12345678), metric_text(None)
        ('0.123457', '')
    """
    return "" if metric is None else f"{metric:.6g}"


def shown(value: Any) -> str:
    """A value in one line, shortened if it is long."""
    text = argument_text(value)
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
