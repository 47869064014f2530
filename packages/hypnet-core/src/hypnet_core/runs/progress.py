"""Progress of long work: a bar on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn, TaskID

_logger = logging.getLogger("hypnet.progress")
_SECONDS_BETWEEN_LINES = 10.0


class Progress(Protocol):
    """Receives the state of the work after each step."""

    def advance(self, done: int, *, description: str = "", **metrics: float) -> None:
        """Report the number of steps done so far, the current work and its metrics."""
        ...


@contextmanager
def progress(
    total: int | None, *, start: int = 0, unit: Literal["step", "byte"] = "step"
) -> Iterator[Progress]:
    """Show progress on stderr while a block runs.

    A terminal shows a bar with the metrics and the time left; elsewhere a line goes to
    the logger `hypnet.progress` every ten seconds. Nothing is shown when that logger is
    above `INFO`; in Python programs that set no level for `hypnet`, the bar is shown.

    Args:
        total: Number of steps or bytes; `None` if it is unknown.
        start: Steps that were done before, in a run that is resumed.
        unit: What is counted. For bytes, the bar shows sizes and the speed.
    """
    # Rich is imported here, since most commands show no progress.
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not _is_wanted(on_terminal=console.is_terminal):
        yield _Silent()
    elif not console.is_terminal:
        yield _Lines(total, unit)
    else:
        # Transient: the bar disappears at the end, before results are printed.
        with Bar(*_columns(unit), console=console, transient=True) as bar:
            task = bar.add_task("", total=total, completed=start, metrics="")
            yield _Bar(bar, task)


def _is_wanted(*, on_terminal: bool) -> bool:
    """Whether to show progress: as logging was set up, or else on a terminal."""
    # The level of the root logger is no word about us: it is WARNING by default.
    untold = not any(logging.getLogger(name).level for name in ("hypnet", _logger.name))
    return (untold and on_terminal) or _logger.isEnabledFor(logging.INFO)


def _columns(unit: Literal["step", "byte"]) -> list[str | ProgressColumn]:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    counts: list[str | ProgressColumn] = (
        [MofNCompleteColumn(), TextColumn("{task.fields[metrics]}")]
        if unit == "step"
        else [DownloadColumn(), TransferSpeedColumn()]
    )
    return ["{task.description}", BarColumn(), *counts, TimeRemainingColumn()]


def _size(count: int | None) -> str:
    if count is None:
        return "an unknown size"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _text(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())


class _Silent:
    def advance(self, done: int, *, description: str = "", **metrics: float) -> None:
        pass


class _Lines:
    def __init__(self, total: int | None, unit: Literal["step", "byte"]) -> None:
        self.total = total
        self.unit = unit
        self.last = time.monotonic()  # no line at the very start

    def advance(self, done: int, *, description: str = "", **metrics: float) -> None:
        now = time.monotonic()
        # The end of a download needs no line: its caller reports it.
        ends = done == self.total and self.unit == "step"
        if now - self.last >= _SECONDS_BETWEEN_LINES or ends:
            self.last = now
            if self.unit == "byte":
                _logger.info("%s  %s of %s", description, _size(done), _size(self.total))
            else:
                _logger.info("%s  step %d of %s  %s", description, done, self.total, _text(metrics))


class _Bar:
    def __init__(self, bar: RichProgress, task: TaskID) -> None:
        self.bar = bar
        self.task = task

    def advance(self, done: int, *, description: str = "", **metrics: float) -> None:
        self.bar.update(self.task, completed=done, description=description, metrics=_text(metrics))
