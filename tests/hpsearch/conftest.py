"""A directory with a trial program, and searches over it."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from hypnet_core.cli import main
from hypnet_hpsearch import Search, SearchSpec

TRIAL = """
import json, os, sys, time
options = dict(argument.split("=", 1) for argument in sys.argv[1:])
out = os.environ["HYPNET_TRIAL_DIR"]
with open("ran", "a") as log:
    log.write(json.dumps(options) + "\\n")
score = float(options.get("x", 0))
{body}
with open(os.path.join(out, "summary.json"), "w") as file:
    json.dump({{"score": score, "extra": {{"half": score / 2}}, "options": options}}, file)
"""

LOGGERS = [logging.getLogger(), logging.getLogger("hypnet")]
HYPNET = [sys.executable, "-P", "-m", "hypnet_core.cli.main"]


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> Iterator[None]:
    """Processes that tests start heed Ctrl-C.

    A shell makes its background processes ignore it, and their children inherit that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def hypnet() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command `hypnet` in this process, which saves the start of another."""
    return run_hypnet


def run_hypnet(
    place: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What `hypnet` prints in a directory, and its exit code."""
    out, err = io.StringIO(), io.StringIO()
    on_sigterm, code = signal.getsignal(signal.SIGTERM), 0
    loggers = [(one, one.level, one.propagate, one.handlers) for one in LOGGERS]
    with (
        contextlib.chdir(place),
        mock.patch.dict(os.environ, env or {}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            signal.signal(signal.SIGTERM, on_sigterm)
            for one, level, propagate, handlers in loggers:
                one.setLevel(level)
                one.propagate, one.handlers = propagate, handlers
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


class Workshop:
    """A directory with a trial program, whose body can be changed, and its searches."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.out = path / "out"
        self.body("")

    def body(self, body: str) -> None:
        (self.path / "trial.py").write_text(TRIAL.format(body=body))

    def fields(self, **fields: Any) -> dict[str, Any]:
        least = {
            "name": "x",
            "command": [sys.executable, "-S", "trial.py", "{options}"],
            "style": "key=value",
            "metric": "score",
            "direction": "maximize",
            "cwd": str(self.path),
        }
        return {**least, **fields}

    def search(self, **fields: Any) -> Search:
        return Search(SearchSpec(**self.fields(**fields)), self.out)

    def run(self, **fields: Any) -> Search:
        search = self.search(**fields)
        search.run()
        return search

    def file(self, **fields: Any) -> str:
        """The same search as a file for the command."""
        path = self.path / "search.yaml"
        path.write_text(json.dumps(self.fields(**fields)))
        return str(path)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What `hypnet search` says, run in this process."""
        return run_hypnet(self.path, "search", *arguments)

    def ran(self) -> list[dict[str, str]]:
        path = self.path / "ran"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)
