"""A directory with a trial program, and searches over it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

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


@pytest.fixture(scope="session")
def hypnet(
    in_process: Callable[..., subprocess.CompletedProcess[str]],
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command `hypnet` in a directory, inside this process."""

    def run(
        place: Path, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return in_process(*arguments, cwd=place, **(env or {}))

    return run


class Workshop:
    """A directory with a trial program, whose body can be changed, and its searches."""

    def __init__(self, path: Path, hypnet: Callable[..., subprocess.CompletedProcess[str]]) -> None:
        self.path, self.hypnet = path, hypnet
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
        """The output of `hypnet search`, run in this process."""
        return self.hypnet(self.path, "search", *arguments)

    def ran(self) -> list[dict[str, str]]:
        path = self.path / "ran"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def workshop(tmp_path: Path, hypnet: Callable[..., subprocess.CompletedProcess[str]]) -> Workshop:
    return Workshop(tmp_path, hypnet)
