"""Progress on a terminal and elsewhere, in Python programs."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

PROGRAM = """
import logging
from hypnet_core.runs import progress
{setting}
with progress(3) as shown:
    for step in range(1, 4):
        shown.advance(step, description="task 1 of 1", loss=0.5)
"""


def on_terminal(setting: str) -> str:
    """The output of a program on a terminal."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", PROGRAM.format(setting=setting)],
            stderr=theirs,
            check=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        )
        os.write(theirs, b"end")  # so that there is something to read
        return os.read(ours, 100_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        ("", True),
        ("logging.basicConfig()", True),
        ("logging.getLogger('hypnet').setLevel(logging.INFO)", True),
        ("logging.getLogger('hypnet').setLevel(logging.WARNING)", False),
        ("logging.getLogger('hypnet.progress').setLevel(logging.ERROR)", False),
    ],
)
def test_a_bar_is_shown_on_a_terminal_unless_logging_says_no(setting: str, shown: bool) -> None:
    assert ("task 1 of 1" in on_terminal(setting)) == shown


def test_elsewhere_a_program_that_sets_no_level_gets_no_lines() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(setting="")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
