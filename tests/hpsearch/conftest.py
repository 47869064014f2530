"""A directory with a trial program, and searches over it."""

from __future__ import annotations

import json
import sys
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

HYPNET = [sys.executable, "-P", "-m", "hypnet_core.cli.main"]


class Workshop:
    """A directory with a trial program whose middle can be changed, and searches over it in `out`."""

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

    def ran(self) -> list[dict[str, str]]:
        path = self.path / "ran"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)
