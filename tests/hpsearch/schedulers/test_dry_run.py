"""`hypnet search run --dry-run` shows scripts where no batch system is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HYPNET = [sys.executable, "-P", "-m", "hypnet_core.cli.main"]


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("PATH", "/nowhere")
    return {
        "command": ["train", "{options}"],
        "metric": "m",
        "direction": "minimize",
        "grid": {"text": ["a'b $(c)", "line\nbreak", "x"]},
        "resources": {
            "cpus": 2,
            "gpus": 1,
            "memory": "1GiB",
            "time_limit": "02:00:00",
            "options": ["--nice=1"],
        },
        "scheduler": {
            "name": "slurm",
            "partition": "gpu",
            "setup": ["module load cuda"],
            "array_size": 2,
        },
    }


def dry_run(
    place: Path, search: dict[str, Any], *arguments: str
) -> subprocess.CompletedProcess[str]:
    (place / "search.yaml").write_text(json.dumps(search))
    command = [*HYPNET, "search", "run", "search.yaml", "--out", "out", "--dry-run", *arguments]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)


def test_the_scripts_are_printed_as_they_would_be_submitted(
    tmp_path: Path, search: dict[str, Any]
) -> None:
    found = dry_run(tmp_path, search)
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    commands = [line for line in lines if line.startswith("# sbatch ")]
    assert len(commands) == 2  # an array of two, and one alone
    assert "--array=0-1" in commands[0]
    assert "--array" not in commands[1]
    for word in (
        "--mem=1024M",
        "--time=120",
        "--gres=gpu:1",
        "--cpus-per-task=2",
        "--partition=gpu",
        "--nice=1",
    ):
        assert all(word in command for command in commands)
    assert lines.count("#!/bin/bash") == lines.count("module load cuda") == 2
    assert (
        sum(line.startswith("exec -- ") and "hypnet_hpsearch.trial" in line for line in lines) == 3
    )
    assert "would run 3 trials" in found.stderr
    assert not (tmp_path / "out").exists()


def test_the_scripts_are_valid_shell(tmp_path: Path, search: dict[str, Any]) -> None:
    for script in json.loads(dry_run(tmp_path, search, "--json").stdout)["scripts"]:
        subprocess.run(["/bin/bash", "-n"], input=script["text"], text=True, check=True)


def test_json_holds_the_scripts_beside_the_trials(tmp_path: Path, search: dict[str, Any]) -> None:
    document = json.loads(dry_run(tmp_path, search, "--json").stdout)
    assert document["schema"] == "hypnet.search.dry_run/1"
    assert len(document["trials"]) == 3
    assert [script["jobs"] for script in document["scripts"]] == [2, 1]
    assert document["scripts"][0]["argv"][0] == "sbatch"
    for trial in document["trials"]:
        assert any(f"trials/{trial['trial']}/1" in script["text"] for script in document["scripts"])


def test_lsf_has_scripts_too(tmp_path: Path, search: dict[str, Any]) -> None:
    search["scheduler"] = {"name": "lsf", "queue": "gpu"}
    search["resources"]["options"] = []
    found = dry_run(tmp_path, search)
    assert found.returncode == 0, found.stderr
    assert "# bsub -J 'search[1-3]'" in found.stdout
    assert 'case "$LSB_JOBINDEX" in' in found.stdout


def test_other_schedulers_have_none(tmp_path: Path, search: dict[str, Any]) -> None:
    search["scheduler"] = "local"
    assert json.loads(dry_run(tmp_path, search, "--json").stdout)["scripts"] == []
    assert dry_run(tmp_path, search).stdout.splitlines()[-1] == "train --text=x"


def test_an_option_of_the_site_that_is_none_is_one_line(
    tmp_path: Path, search: dict[str, Any]
) -> None:
    search["resources"]["options"] = ["--array=0-3"]
    found = dry_run(tmp_path, search)
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1].startswith(
        "hypnet: the option '--array=0-3' cannot be given"
    )
