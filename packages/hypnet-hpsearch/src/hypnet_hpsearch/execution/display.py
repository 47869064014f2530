"""Showing how a search goes: a live table on a terminal, plain lines elsewhere.

Both go to stderr.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from hypnet_hpsearch.execution.observers import Progress, Start, Watcher
from hypnet_hpsearch.spec.command import argument_text
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState

__all__ = ["Lines", "Silent", "described", "shown"]

_logger = logging.getLogger("hypnet.search")
_LONGEST = 60


class Silent:
    """Shows nothing."""

    def started(self, start: Start) -> None:
        """Nothing."""

    def ended(self, record: TrialRecord, progress: Callable[[], Progress]) -> None:
        """Nothing."""

    def working(self, progress: Callable[[], Progress]) -> None:
        """Nothing."""

    def warned(self, message: str) -> None:
        """Nothing."""


class Lines:
    """One line for each attempt that ends."""

    def __init__(self) -> None:
        self._searched: tuple[str, ...] = ()

    def started(self, start: Start) -> None:
        """Say what is there and what will be run."""
        self._searched = start.searched
        _logger.info(described(start))
        if start.damaged:
            lines = "1 line" if start.damaged == 1 else f"{start.damaged} lines"
            _logger.warning(
                "%s of the journal could not be read; what they said was found again where it"
                " matters",
                lines,
            )

    def ended(self, record: TrialRecord, progress: Callable[[], Progress]) -> None:
        """Say what became of the trial."""
        what = (
            f"{record.metric:.6g}"
            if record.metric is not None
            else record.reason or record.state.value
        )
        options = " ".join(
            f"{key}={shown(value)}"
            for key, value in record.options.items()
            if key in self._searched
        )
        level = logging.INFO if record.state.final else logging.WARNING
        if _logger.isEnabledFor(level):
            now = progress()
            done = now.counts[TrialState.DONE]
            _logger.log(
                level,
                "[%d/%d] %s %s: %s  (%s)",
                done,
                now.total,
                record.id,
                record.state.value,
                what,
                options,
            )

    def working(self, progress: Callable[[], Progress]) -> None:
        """Nothing: no news."""

    def warned(self, message: str) -> None:
        """Say it."""
        _logger.warning(message)


class Live:
    """A table that is drawn anew a few times a second.

    Args:
        live: The display, from rich.
    """

    def __init__(self, live: Any) -> None:
        self._live, self._lines = live, Lines()
        self._began = time.monotonic()
        self._ended = 0

    def started(self, start: Start) -> None:
        """Say what is there and what will be run."""
        self._lines.started(start)

    def ended(self, record: TrialRecord, progress: Callable[[], Progress]) -> None:
        """Count it; a failure stays on the screen above the table."""
        self._ended += 1
        if not record.state.final:
            self._lines.ended(record, progress)

    def working(self, progress: Callable[[], Progress]) -> None:
        """Draw the table."""
        self._live.update(self._table(progress()))

    def warned(self, message: str) -> None:
        """Say it."""
        _logger.warning(message)

    def _table(self, progress: Progress) -> Any:
        from rich.table import Table

        counts = progress.counts
        failed = counts[TrialState.FAILED] + counts[TrialState.LOST] + counts[TrialState.CANCELLED]
        done, pruned = counts[TrialState.DONE], counts[TrialState.PRUNED]
        left = progress.total - done - pruned - failed
        seconds = (time.monotonic() - self._began) / max(1, self._ended) * left
        best = progress.best
        table = Table(box=None, pad_edge=False, header_style="bold")
        cells = {
            "queued": str(progress.queued),
            "running": str(max(0, counts[TrialState.RUNNING] - progress.queued)),
            "done": str(done),
            **({"pruned": str(pruned)} if pruned else {}),
            "failed": str(failed),
            "of": str(progress.total),
            "best so far": "" if best is None else f"{best.metric:.6g}  ({best.id})",
            "time left": str(timedelta(seconds=round(seconds))) if self._ended else "",
        }
        for column in cells:
            table.add_column(column, justify="left" if column == "best so far" else "right")
        table.add_row(*cells.values())
        return table


@contextmanager
def watcher() -> Iterator[Watcher]:
    """Who shows the progress while a block runs: a live table if stderr is a terminal; nobody if the command is to be quiet."""
    if not _logger.isEnabledFor(logging.INFO):
        yield Silent()
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines()
        return
    from rich.live import Live as Display

    with Display(console=console, transient=True, refresh_per_second=4) as display:
        yield Live(display)


def described(start: Start) -> str:
    """What is there and what will be run, in one sentence."""
    parts = [f"{start.total} trial{'s' * (start.total != 1)}", f"{start.done} done"]
    parts += [f"{start.pruned} pruned"] if start.pruned else []
    parts += [f"{start.running} running already"] if start.running else []
    kinds = [f"{start.missing} missing", f"{start.failed} failed"]
    kinds += [f"{start.interrupted} interrupted"] if start.interrupted else []
    return (
        f"{', '.join(parts)}; to run: {start.missing + start.failed + start.interrupted}"
        f" ({', '.join(kinds)})"
    )


def shown(value: Any) -> str:
    """A value in one line, cut if it is long."""
    text = argument_text(value)
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
