"""Searches over an experiment that an installed package registers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

PLUGIN = """
from hypnet_core import Component, hookimpl

@hookimpl
def hypnet_components():
    return [Component.experiment("double", "lab.double:Double", "Doubles a number.")]
"""

EXPERIMENT = """
from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: float = 1.0


class Double:
    Config = Config

    def run(self, config, run):
        return {"double": 2 * config.x}
"""

SEARCH = """
experiment = "double"
metric = "doble"
direction = "maximize"
[grid]
x = [1.0, 2.0]
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def search(tmp_path: Path, in_process: Run) -> Run:
    """Runs `hypnet search` beside a package with the experiment `double`."""
    site = tmp_path / "site"
    package, metadata = site / "lab", site / "lab-1.0.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    package.joinpath("__init__.py").touch()
    package.joinpath("plugin.py").write_text(PLUGIN)
    package.joinpath("double.py").write_text(EXPERIMENT)
    metadata.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: lab\nVersion: 1.0\n")
    metadata.joinpath("entry_points.txt").write_text("[hypnet]\nlab = lab.plugin\n")
    tmp_path.joinpath("double.toml").write_text(SEARCH)
    return lambda *arguments: in_process(
        "search", *arguments, cwd=tmp_path, path=[site], PYTHONPATH=str(site)
    )


def test_a_search_whose_first_attempts_failed_can_be_started_again(search: Run) -> None:
    first = search("run", "double.toml")
    assert first.returncode == 1, first.stderr
    assert "0 of 2 trials done, 2 failed" in first.stderr
    again = search("run", "double.toml")
    assert again.returncode == 1, again.stderr
    assert again.stderr.splitlines()[-1] == "0 of 2 trials done, 2 failed"
    dry = search("run", "double.toml", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "would run 2 trials" in dry.stderr


def test_a_restarted_search_still_checks_the_options_first(search: Run, tmp_path: Path) -> None:
    file = tmp_path / "double.toml"
    file.write_text(SEARCH.replace("x =", "y ="))
    for _ in range(2):
        found = search("run", "double.toml")
        assert found.returncode == 2
        assert "refuses the first trial: y: there is no such option" in found.stderr
    assert not list(tmp_path.glob("searches/double/trials/*"))
