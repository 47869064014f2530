"""Progress on a terminal and elsewhere, in Python programs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.core.cli.terminal import on_a_terminal

PROGRAM = """
import logging
from hypnet_core.runs import progress
{setting}
with progress(3) as shown:
    for step in range(1, 4):
        shown.advance(step, description="task 1 of 1", loss=0.5)
"""


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
    command = [sys.executable, "-c", PROGRAM.format(setting=setting)]
    text = on_a_terminal(command, {**os.environ, "TERM": "xterm"}, with_errors=True)
    assert ("task 1 of 1" in text) == shown


def test_elsewhere_a_program_that_sets_no_level_gets_no_lines() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(setting="")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
