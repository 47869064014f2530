"""The README of hypnet-hpsearch shows true output."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hypnet_hpsearch import SearchSpec, load_spec

README = Path(__file__).parents[2] / "packages" / "hypnet-hpsearch" / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(blocks("python")[0])
    (tmp_path / "search.toml").write_text(blocks("toml")[0])
    return tmp_path


def shell(place: Path, *command: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = subprocess.run(
        command,
        cwd=place,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_the_first_search_runs_its_seven_trials(place: Path) -> None:
    commands = [line.split() for line in blocks("sh")[1].splitlines()]
    assert len(commands) == 3
    shown = [shell(place, *command) for command in commands]
    assert shown[1].count("\tdone\t") == 7
    assert shown[2].startswith("loss\t")


def test_the_search_from_python_runs(place: Path) -> None:
    (place / "script.py").write_text(
        next(block for block in blocks("python") if "Search(" in block)
    )
    assert shell(place, sys.executable, "script.py").strip() == "{'momentum': 0.5, 'lr': 0.1}"


def test_the_search_over_an_experiment_is_well_formed(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(blocks("toml")[1])
    spec = load_spec(file)
    assert (spec.experiment, spec.seeds, spec.base) == (
        "hypercl",
        (0, 1, 2),
        {"data.name": "split_digits"},
    )


def test_every_key_of_a_search_file_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`.*?) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert set(SearchSpec.model_fields) <= named


def test_the_search_over_ranges_runs(place: Path) -> None:
    (place / "ranges.toml").write_text(blocks("toml")[2])
    assert load_spec(place / "ranges.toml").sampler_name == "random"
    shell(place, "hypnet", "search", "run", "ranges.toml")
    assert shell(place, "hypnet", "search", "table", "searches/ranges").count("\tdone\t") == 30


def test_the_reports_are_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "report.py").write_text(
        next(block for block in blocks("python") if "report(" in block)
    )
    shell(place, sys.executable, "report.py")
    assert not (place / "reports.jsonl").exists()
    monkeypatch.setenv("HYPNET_TRIAL_DIR", str(place))
    shell(place, sys.executable, "report.py")
    assert (place / "reports.jsonl").read_text().splitlines()[1] == '{"step": 1, "value": 0.5}'


def test_every_command_is_in_the_table() -> None:
    from hypnet_hpsearch.cli.app import search

    named = set(
        re.findall(r"^\| `hypnet search (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert named == {
        command.name or getattr(command.callback, "__name__", "")
        for command in search.registered_commands
    }
