"""Methods side by side, through the command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.errors import ConfigError
from hypnet_core.runs import Run, load_config
from hypnet_zoo.continual.preparation import load_tasks
from hypnet_zoo.experiments import Compare, CompareConfig, compare

Command = Callable[..., subprocess.CompletedProcess[str]]
QUICK = ["tasks=2", "train.iterations=40", "train.validate_every=20", "log_every=10", "log=[]"]
METHODS = ["methods=[replay,hypernet]", "scenario=class", "infer=max_likelihood"]


def results(path: Path) -> dict[str, bytes]:
    """Summaries and metrics of the comparison and of its methods."""
    files = [*path.rglob("summary.json"), *path.rglob("metrics.jsonl")]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def test_a_comparison_that_was_killed_resumes_to_the_same_results(
    tmp_path: Path, in_process: Command
) -> None:
    """It is killed while the second method learns."""
    command = ["run", "compare", *QUICK, *METHODS, "checkpoint.every_steps=7"]
    done = in_process(*command, "--out", "whole", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "cut"
    process = subprocess.Popen(
        [sys.executable, "-m", "hypnet_core.cli.main", *command, "--out", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    metrics = path / "methods" / "hypernet" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if metrics.exists() and metrics.read_bytes().count(b"\n") >= 2:
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (path / "summary.json").exists()
    done = in_process("run", "--resume", str(path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "method 2 of 2: hypernet" in done.stderr
    assert results(path) == results(tmp_path / "whole")
    assert len(results(path)) == 6
    # Tasks are inferred by the method that has weights for each, and by no other.
    summary = json.loads((path / "summary.json").read_text())
    assert summary["inferred"]["replay"] is None
    assert summary["inferred"]["hypernet"] is not None
    chosen = {
        name: json.loads((path / "methods" / name / "config.json").read_text())["config"]["infer"]
        for name in ("replay", "hypernet")
    }
    assert chosen == {"replay": None, "hypernet": "max_likelihood"}


def test_data_are_loaded_once_for_all_methods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(CompareConfig, overrides=[*QUICK, "methods=[finetune,ewc]", "tasks=1"])
    loaded = []

    def counted(*arguments: Any) -> Any:
        loaded.append(arguments)
        return load_tasks(*arguments)

    monkeypatch.setattr(compare, "load_tasks", counted)
    experiment = Compare()
    experiment.prepare(config)
    experiment.run(config, Run.create(tmp_path / "run", experiment="compare", config=config))
    assert len(loaded) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["methods=[ewc,replay]", "infer=entropy"], "none of the methods has weights for each"),
        (["methods=[ewc,hypernet]", "infer=agreement", "scenario=class"], "compares several draws"),
        (["methods=[hypernet,masking]", "scenario=class"], "the method masking cannot do that"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused_before_it_starts(
    tmp_path: Path, in_process: Command, options: list[str], message: str
) -> None:
    for flags in ([], ["--dry-run"]):
        done = in_process("run", "compare", *QUICK, *options, *flags, cwd=tmp_path)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert not list(tmp_path.iterdir())


def test_groups_of_hypernetworks_are_for_methods_that_have_one() -> None:
    """A misspelt group is refused, and so is one that no method has."""
    groups = "train.groups={embeddings: {lr: 0.5}}"
    methods = "methods=[finetune,{name: ewc, hypernet: hmlp},generative_replay,hypernet]"
    config = load_config(CompareConfig, overrides=[*QUICK, methods, groups])
    experiment = Compare()
    experiment.prepare(config)
    assert experiment._prepared is not None
    found = {}
    for label, one in experiment._prepared[1].items():
        assert one._prepared is not None
        learning = one._prepared[1].learning
        learning.method.begin(0)
        made = learning.method.optimizer.optimizers  # type: ignore[attr-defined]
        found[label] = sorted({group["lr"] for part in made for group in part.param_groups})
    with_own = [0.001, 0.5]
    assert found == {
        "finetune": [0.001],
        "ewc": with_own,
        "generative_replay": with_own,
        "hypernet": with_own,
    }
    for wrong in ("methods=[finetune,hypernet]", "methods=[finetune,ewc]"):
        typo = "embedings" if "hypernet" in wrong else "embeddings"
        config = load_config(
            CompareConfig, overrides=[*QUICK, wrong, groups.replace("embeddings", typo)]
        )
        with pytest.raises(ConfigError, match=f"'{typo}' fits no parameter"):
            Compare().prepare(config)
