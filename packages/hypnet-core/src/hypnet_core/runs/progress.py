"""Progress of long work: a bar on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_logger = logging.getLogger("hypnet.progress")
_SECONDS_BETWEEN_LINES = 10.0


class Progress(Protocol):
    """Receives the state of the work after each step."""

    def advance(self, done: int, *, description: str = "", **metrics: float) -> None:
        """Report the number of steps done so far, the current work and its metrics."""
        ...


@contextmanager
def progress(total: int, *, start: int = 0) -> Iterator[Progress]:
    """Show progress on stderr while a block runs.

    A terminal shows a bar with the metrics and the time left; elsewhere a line goes to
    the logger `hypnet.progress` every ten seconds. Nothing is shown when that logger is
    above `INFO`.

    Args:
        total: Number of steps.
        start: Steps that were done before, in a run that is resumed.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    # `-q` raises the level of the logger.
    if not _logger.isEnabledFor(logging.INFO):
        yield _Silent()
    elif not console.is_terminal:
        yield _Lines(total)
    else:
        columns = (
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[metrics]}"),
            TimeRemainingColumn(),
        )
        # Transient: the bar disappears at the end, before results are printed.
        with Bar(*columns, console=console, transient=True) as bar:
            task = bar.add_task("", total=total, completed=start, metrics="")
            yield _Bar(bar, task)


def _text(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())


class _Silent:
    def advance(self, done: int, *, description: str = "", **metrics: float) -> None:
        pass


class _Lines:
    def __init__(self, total: int) -> None:
        self.total = total
        self.last = time.monotonic()

    def advance(self, done: int, *, description: str = "", **metrics: float) -> None:
        now = time.monotonic()
        if now - self.last >= _SECONDS_BETWEEN_LINES or done == self.total:
            self.last = now
            _logger.info("%s  step %d of %d  %s", description, done, self.total, _text(metrics))


class _Bar:
    def __init__(self, bar: RichProgress, task: TaskID) -> None:
        self.bar = bar
        self.task = task

    def advance(self, done: int, *, description: str = "", **metrics: float) -> None:
        self.bar.update(self.task, completed=done, description=description, metrics=_text(metrics))
