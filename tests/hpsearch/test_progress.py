"""The display while a search runs."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest
from rich.console import Console

from hypnet_hpsearch import Inventory, SearchProgress, TrialRecord, TrialState
from hypnet_hpsearch.execution.display import Lines, Live


class Display:
    """Keeps what it is to show, as text."""

    def __init__(self) -> None:
        self.text = ""

    def update(self, table: Any) -> None:
        out = io.StringIO()
        Console(file=out, width=120).print(table)
        self.text = out.getvalue()


@pytest.mark.parametrize(
    ("hours", "left"), [(1, "3:00:00"), (8, "1 day, 0:00:00"), (20, "2 days, 12:00:00")]
)
def test_the_time_left_counts_days(hours: int, left: str) -> None:
    display = Display()
    live = Live(display)
    live._began -= 3600 * hours
    progress = SearchProgress(4, {**dict.fromkeys(TrialState, 0), TrialState.DONE: 1}, 0, None)
    live.ended(TrialRecord("t", TrialState.DONE), lambda: progress)
    live.working(lambda: progress)
    assert display.text.split("\n")[1].rstrip().endswith(left)


def test_a_line_names_only_what_trials_differ_in(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hypnet.search")
    progress = SearchProgress(2, {**dict.fromkeys(TrialState, 0), TrialState.DONE: 1}, 0, None)
    for watcher in (Lines(), Live(Display())):
        caplog.clear()
        watcher.started(Inventory(2, 0, 0, 0, 0, 2, 0, searched=("lr",)))
        options = {"epochs": 5, "lr": 0.1}
        watcher.ended(
            TrialRecord("t", TrialState.FAILED, options=options, reason="it broke"),
            lambda: progress,
        )
        assert caplog.messages[-1] == "[1/2] t failed: it broke  (lr=0.1)"
