"""What is shown while a search runs."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from hypnet_hpsearch.ledger import TrialRecord, TrialState
from hypnet_hpsearch.progress import Live
from hypnet_hpsearch.watching import Progress


class Display:
    """Keeps what it is to show, as text."""

    def __init__(self) -> None:
        self.text = ""

    def update(self, table: Any) -> None:
        out = io.StringIO()
        Console(file=out, width=120).print(table)
        self.text = out.getvalue()


@pytest.mark.parametrize(("hours", "left"), [(1, "3:00:00"), (8, "1 day, 0:00:00"), (20, "2 days, 12:00:00")])
def test_the_time_left_counts_days(hours: int, left: str) -> None:
    display = Display()
    live = Live(display)
    live._began -= 3600 * hours
    progress = Progress(4, {**dict.fromkeys(TrialState, 0), TrialState.DONE: 1}, 0, None)
    live.ended(TrialRecord("t", TrialState.DONE), lambda: progress)
    live.working(lambda: progress)
    assert display.text.split("\n")[1].rstrip().endswith(left)
