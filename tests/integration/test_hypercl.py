"""The main job, through the command.

What is killed or interrupted is a process of its own; the rest runs in this one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

HYPNET = [sys.executable, "-m", "hypnet_core.cli.main"]
QUICK = [
    "tasks=3",
    "train.iterations=60",
    "train.validate_every=20",
    "log_every=10",
    "log=[]",
]


Command = Callable[..., subprocess.CompletedProcess[str]]


def results(path: Path) -> tuple[bytes, bytes]:
    return (path / "summary.json").read_bytes(), (path / "metrics.jsonl").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    directory = tmp_path_factory.mktemp("whole")
    command = [*HYPNET, "run", "hypercl", *QUICK, "--out", "run"]
    subprocess.run(command, cwd=directory, capture_output=True, check=True)
    return directory / "run"


def test_it_ends_with_a_table_and_the_path(tmp_path: Path, in_process: Command) -> None:
    done = in_process(
        "run",
        "hypercl",
        "tasks=2",
        "train.iterations=30",
        "log_every=10",
        "--out",
        "run",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.rstrip().splitlines()
    assert (tmp_path / lines[-1]).resolve() == (tmp_path / "run").resolve()
    assert "during" in done.stdout
    assert "average" in done.stdout
    found = {p.name for p in (tmp_path / "run").iterdir()}
    assert {
        "config.json",
        "metrics.jsonl",
        "summary.json",
        "log.txt",
        "checkpoints",
        "scores.png",
        "tensorboard",
    } <= found
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert len(summary["scores"]) == 2
    events = list((tmp_path / "run" / "tensorboard").iterdir())
    assert len(events) == 1
    assert events[0].stat().st_size > 500


@pytest.mark.parametrize("moment", ["before the first checkpoint", "between", "late"])
def test_a_run_killed_at_any_moment_resumes_to_the_same_results(
    whole: Path, tmp_path: Path, in_process: Command, moment: str
) -> None:
    path = tmp_path / "run"
    process = subprocess.Popen(
        [*HYPNET, "run", "hypercl", *QUICK, "--out", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wanted = {"before the first checkpoint": 0, "between": 7, "late": 17}[moment]
    metrics = path / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if (path / "config.json").exists() and (
            wanted == 0 or (metrics.exists() and metrics.read_bytes().count(b"\n") >= wanted)
        ):
            break
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = in_process("run", "--resume", str(path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert results(path) == results(whole)


def test_ctrl_c_leaves_a_run_that_can_be_resumed(
    whole: Path, tmp_path: Path, in_process: Command
) -> None:
    path = tmp_path / "run"
    process = subprocess.Popen(
        [*HYPNET, "run", "hypercl", *QUICK, "--out", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (path / "checkpoints" / "latest.json").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert in_process("run", "--resume", str(path), cwd=tmp_path).returncode == 0
    assert results(path) == results(whole)


def test_a_diverging_run_stops_with_one_line_and_keeps_what_was_saved(
    tmp_path: Path, in_process: Command
) -> None:
    path = tmp_path / "run"
    options = ["train.optimizer=sgd", "train.lr=1e30", "train.validate_every=0"]
    done = in_process(
        "run", "hypercl", *QUICK[:2], "log_every=10", *options, "--out", str(path), cwd=tmp_path
    )
    assert done.returncode == 1
    assert "became" in done.stderr
    assert "try a lower train.lr" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (path / "summary.json").exists()


def test_a_task_whose_last_step_diverges_is_not_saved(tmp_path: Path, in_process: Command) -> None:
    path = tmp_path / "run"
    options = [
        "tasks=2",
        "train.iterations=1",
        "train.lr=1e38",
        "train.validate_every=0",
        "log=[]",
    ]
    done = in_process("run", "hypercl", *options, "--out", str(path), cwd=tmp_path)
    assert done.returncode == 1
    assert "became infinite or NaN in task 1" in done.stderr
    assert not (path / "checkpoints").exists()


def test_a_tampered_checkpoint_is_one_clear_line(
    whole: Path, tmp_path: Path, in_process: Command
) -> None:
    path = tmp_path / "run"
    shutil.copytree(whole, path)
    (path / "summary.json").unlink()
    checkpoint = next((path / "checkpoints").glob("*.safetensors"))
    content = bytearray(checkpoint.read_bytes())
    content[-3] ^= 1
    checkpoint.write_bytes(content)
    done = in_process("run", "--resume", str(path), cwd=tmp_path)
    assert done.returncode == 1
    assert "was changed after it was written" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_runs_directory_is_left_alone(
    whole: Path, tmp_path: Path, in_process: Command
) -> None:
    before = results(whole)
    done = in_process("run", "hypercl", *QUICK, "--out", str(whole), cwd=tmp_path)
    assert done.returncode == 1
    assert "holds another run" in done.stderr
    assert results(whole) == before


def test_the_regulariser_prevents_forgetting_that_is_visible_without_it(
    tmp_path: Path, in_process: Command
) -> None:
    """Three tasks of real digits; `benchmarks/split_digits.py` learns all five."""
    summaries = {}
    for beta in ("0", "0.05"):
        path = tmp_path / beta
        options = [
            f"cl.beta={beta}",
            "tasks=3",
            "train.iterations=300",
            "train.validate_every=0",
            "log=[]",
        ]
        done = in_process("run", "hypercl", *options, "--out", str(path), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        summaries[beta] = json.loads((path / "summary.json").read_text())
    assert summaries["0"]["forgetting"] > 3
    assert summaries["0.05"]["forgetting"] < 1.5
    assert summaries["0.05"]["accuracy"] > summaries["0"]["accuracy"] + 3
    assert summaries["0.05"]["accuracy"] > 96


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, in_process: Command) -> Path:
    """A run that has kept a checkpoint after each of its three tasks."""
    path = tmp_path_factory.mktemp("kept") / "run"
    options = [*QUICK, "checkpoint.keep=all"]
    assert in_process("run", "hypercl", *options, "--out", str(path)).returncode == 0
    return path


def test_checkpoints_are_listed_with_scores_the_best_first(kept: Path, in_process: Command) -> None:
    done = in_process("checkpoints", str(kept), "--json")
    found = json.loads(done.stdout)["checkpoints"]
    # Validation samples decide which is best.
    scores = json.loads((kept / "summary.json").read_text())["validation_scores"]
    means = {60 * (t + 1): sum(row) / len(row) for t, row in enumerate(scores)}
    assert {one["step"]: one["score"] for one in found} == pytest.approx(means)
    assert [one["score"] for one in found] == sorted(means.values(), reverse=True)
    assert [one["step"] for one in found if one["latest"]] == [180]
    names = in_process("checkpoints", str(kept / "checkpoints")).stdout.splitlines()
    assert names == [one["path"] for one in found]


@pytest.mark.parametrize("task", [1, 3])
def test_a_run_starts_from_a_checkpoint_of_another(
    kept: Path, tmp_path: Path, in_process: Command, task: int
) -> None:
    """It learns the remaining tasks exactly as the other run did."""
    source = kept / "checkpoints" / f"{60 * task:04d}.safetensors"
    start = source if task < 3 else kept  # a run means its latest
    done = in_process("run", "--from-checkpoint", str(start), "--out", "new", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"starting from {source}" in done.stderr
    new = tmp_path / "new"
    assert (new / "summary.json").read_bytes() == (kept / "summary.json").read_bytes()
    lines = (kept / "metrics.jsonl").read_text().splitlines()
    later = [line for line in lines if json.loads(line)["step"] > 60 * task]
    assert ((new / "metrics.jsonl").read_text() if later else "").splitlines() == later
    assert json.loads((new / "config.json").read_text())["from_checkpoint"] == str(source)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from-checkpoint", "nowhere"], "there is no checkpoint nowhere"),
        (["--from-checkpoint", "."], "./checkpoints holds no checkpoint"),
        (["--resume", ".", "--from-checkpoint", "x"], "--resume and --from-checkpoint contradict"),
        (["--from-checkpoint", "KEPT", "mnet.hidden=[7]"], "does not fit the networks"),
    ],
)
def test_a_checkpoint_that_cannot_be_the_start_is_one_line(
    kept: Path, tmp_path: Path, in_process: Command, arguments: list[str], message: str
) -> None:
    (tmp_path / "config.json").write_text("{}")
    words = [str(kept) if word == "KEPT" else word for word in arguments]
    done = in_process("run", *words, cwd=tmp_path)
    assert done.returncode in {1, 2}
    assert message in done.stderr.replace("hypnet: checkpoints", "./checkpoints")
    assert "Traceback" not in done.stderr


def test_a_checkpoint_is_skipped_until_it_is_due(tmp_path: Path, in_process: Command) -> None:
    """Tasks of 60 steps, 100 apart: within the second and, always, after the last."""
    options = [*QUICK, "checkpoint.keep=all", "checkpoint.every_steps=100"]
    done = in_process("run", "hypercl", *options, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = sorted(path.stem for path in (tmp_path / "run" / "checkpoints").glob("*.safetensors"))
    assert found == ["0100", "0180"]
