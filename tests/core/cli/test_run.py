"""`hypnet run`: configuration, directories, resuming, and failures."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

Command: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.usefixtures("lab")


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_last_line_is_the_directory_of_the_run(hypnet: Command, tmp_path: Path) -> None:
    done = hypnet("run", "count", "train.steps=5")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "counted to 5"
    assert re.fullmatch(r"runs/count-\d{8}-\d{6}(-\d+)?", lines[-1])
    assert read(tmp_path / lines[-1] / "summary.json") == {"total": 5}


def test_runs_of_the_same_second_have_directories_of_their_own(hypnet_process: Command) -> None:
    with ThreadPoolExecutor(6) as together:
        finished = list(together.map(lambda _: hypnet_process("run", "count", "-q"), range(6)))
    assert [done.returncode for done in finished] == [0] * 6
    assert len({done.stdout.splitlines()[-1] for done in finished}) == 6


def test_the_configuration_is_the_file_with_overrides_and_flags(
    hypnet: Command, tmp_path: Path
) -> None:
    (tmp_path / "c.toml").write_text("note = 'file'\nseed = 1\n[train]\nrate = 1e-3\nsteps = 9\n")
    hypnet("run", "count", "train.steps=2", "--config", "c.toml", "--seed", "7", "--out", "here")
    config = read(tmp_path / "here" / "config.json")
    assert config["experiment"] == "count"
    assert config["plugins"] == {"lab": "1.0"}
    assert config["config"] == {
        "train": {"steps": 2, "rate": 1e-3},
        "seed": 7,
        "fail": "",
        "note": "file",
    }


def test_the_configuration_is_printed_and_nothing_is_run(hypnet: Command, tmp_path: Path) -> None:
    done = hypnet("run", "count", "train.rate=1e-7", "--print-config")
    assert (done.returncode, done.stderr) == (0, "")
    assert yaml.safe_load(done.stdout)["train"] == {"steps": 3, "rate": 1e-7}
    assert not (tmp_path / "runs").exists()
    (tmp_path / "again.yaml").write_text(done.stdout)
    assert hypnet("run", "count", "--config", "again.yaml", "--print-config").stdout == done.stdout
    document = json.loads(hypnet("run", "count", "--print-config", "--json").stdout)
    assert (document["finished"], document["summary"], document["config"]["seed"]) == (
        False,
        None,
        0,
    )


def test_a_printed_configuration_is_commented(hypnet: Command) -> None:
    lines = hypnet("run", "count", "--print-config").stdout.splitlines()
    assert lines[:5] == [
        "# How to count.",
        "train:",
        "  # How far.",
        "  steps: 3",
        "  # How fast.",
    ]


def test_several_values_are_for_searches(hypnet: Command) -> None:
    done = hypnet("run", "count", "train.rate=1e-3,1e-2", "note=a,b")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        'hypnet: train.rate: "1e-3,1e-2" is not possible, expected a number',
        (
            'hypnet: for several values, `hypnet search run FILE`: experiment = "count", metric ='
            " …, and below [grid] train.rate = [1e-3, 1e-2]"
        ),
    ]
    for flag in ("-m", "--multirun"):
        done = hypnet("run", "count", flag, "train.rate=1e-3,1e-2")
        assert done.returncode == 2
        assert "`hypnet search run FILE`" in done.stderr
    assert "search" not in hypnet("run", "count", "train.rate=x").stderr


def test_a_dry_run_says_what_and_where_and_runs_nothing(hypnet: Command, tmp_path: Path) -> None:
    done = hypnet("run", "count", "train.steps=4", "--dry-run", "--out", "there")
    assert done.returncode == 0
    assert "would run count in there with" in done.stdout
    assert "steps: 4" in done.stdout
    assert not (tmp_path / "there").exists()
    assert hypnet("run", "count", "train.stps=4", "--dry-run").returncode == 2


def test_a_directory_that_holds_something_is_refused(hypnet: Command, tmp_path: Path) -> None:
    hypnet("run", "count", "--out", "here")
    before = read(tmp_path / "here" / "summary.json")
    again = hypnet("run", "count", "--out", "here", "--seed", "5")
    assert again.returncode == 1
    assert (
        again.stderr
        == "hypnet: here holds another run: choose a new directory, or resume it with --resume\n"
    )
    assert read(tmp_path / "here" / "summary.json") == before
    dry = hypnet("run", "count", "--out", "here", "--dry-run")
    assert (dry.returncode, dry.stdout) == (1, "")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert "is not empty and holds no run" in hypnet("run", "count", "--out", "mine").stderr
    (tmp_path / "file").touch()
    assert hypnet("run", "count", "--out", "file/x").stderr.startswith(
        "hypnet: cannot make the directory file/x: Not a directory"
    )
    assert hypnet("run", "count", "--out", "file/x", "--dry-run").returncode == 1


def test_a_run_that_stopped_goes_on_with_its_own_configuration(
    hypnet: Command, tmp_path: Path
) -> None:
    hypnet("run", "count", "train.steps=4", "--seed", "2", "--out", "here")
    (tmp_path / "here" / "summary.json").unlink()
    done = hypnet("run", "--resume", "here")
    assert (done.returncode, done.stdout) == (0, "counted to 6\nhere\n")
    assert hypnet("run", "count", "--resume", "here", "train.steps=4").returncode == 0


def test_a_flag_and_an_option_that_say_the_same_are_refused(hypnet: Command) -> None:
    done = hypnet("run", "count", "--seed", "5", "seed=6")
    assert done.returncode == 2
    assert done.stderr == "hypnet: --seed 5 and seed=6 both set seed: give one of them\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["count", "train.steps=5"],
            (
                "here resumes as it was started: train.steps was 4, is now 5; start a new run to"
                " change that"
            ),
        ),
        (
            ["train.steps=5"],
            (
                "here resumes as it was started: train.steps was 4, is now 5; start a new run to"
                " change that"
            ),
        ),
        (
            ["--seed", "5"],
            "here resumes as it was started: seed was 0, is now 5; start a new run to change that",
        ),
        (["bare"], "here holds a run of 'count', not of 'bare'"),
        (
            ["--out", "there"],
            "--resume and --out contradict each other: a run resumes in its own directory",
        ),
        (["nothing=1"], "nothing: there is no such option"),
    ],
)
def test_a_resumed_run_cannot_be_changed(
    hypnet: Command, arguments: list[str], message: str
) -> None:
    hypnet("run", "count", "train.steps=4", "--out", "here")
    done = hypnet("run", *arguments, "--resume", "here")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"hypnet: {message}")


def test_several_files_are_merged_in_order(hypnet: Command, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("seed: 1\ntrain: {steps: 7, rate: 0.1}\n")
    (tmp_path / "b.toml").write_text("[train]\nsteps = 2\n")
    files = ("--config", "a.yaml", "--config", "b.toml")
    assert hypnet("run", "count", *files, "--out", "here").returncode == 0
    config = read(tmp_path / "here" / "config.json")["config"]
    assert (config["seed"], config["train"]) == (1, {"steps": 2, "rate": 0.1})
    (tmp_path / "a.yaml").write_text("seed: x\n")
    done = hypnet("run", "count", *files)
    assert (done.returncode, done.stderr.startswith("hypnet: a.yaml: seed:")) == (2, True)


@pytest.mark.parametrize(
    ("flag", "value"), [("--out", "a"), ("--seed", "3"), ("--device", "cpu"), ("--resume", "a")]
)
def test_a_flag_that_is_given_twice_is_refused(hypnet: Command, flag: str, value: str) -> None:
    done = hypnet("run", "count", flag, value, flag, value)
    assert (done.returncode, done.stderr) == (2, f"hypnet: {flag} is given 2 times: give it once\n")


def test_a_deleted_working_directory_is_one_line(hypnet_process: Command, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); from hypnet_core.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "hypercl"],
        cwd=gone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_tilde_is_the_home_directory(hypnet: Command, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "c.yaml").write_text("seed: 4\n")
    arguments = ("run", "count", "--out=~/here", "--config=~/c.yaml")
    done = hypnet(*arguments, HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert read(tmp_path / "home" / "here" / "config.json")["config"]["seed"] == 4
    assert not (tmp_path / "~").exists()
    again = hypnet("run", "--resume=~/here", HOME=str(tmp_path / "home"))
    assert again.returncode == 0


def test_a_deliberate_change_needs_its_flag(hypnet: Command, tmp_path: Path) -> None:
    hypnet("run", "count", "fail=bug", "--out", "here")
    changed = ("run", "--resume", "here", "fail=", "train.steps=5")
    assert "resumes as it was started: train.steps was 3, is now 5" in hypnet(*changed).stderr
    done = hypnet(*changed, "--allow-changes")
    assert (done.returncode, read(tmp_path / "here" / "summary.json")) == (0, {"total": 5})
    assert read(tmp_path / "here" / "config.json")["config"]["train"]["steps"] == 5
    new = hypnet("run", "count", "--allow-changes")
    assert (new.returncode, new.stderr) == (
        2,
        "hypnet: --allow-changes is for --resume: a new run takes any options\n",
    )


def test_what_cannot_be_resumed_is_one_line(hypnet: Command, tmp_path: Path) -> None:
    done = hypnet("run", "--resume", "nowhere")
    assert (done.returncode, done.stderr) == (
        1,
        "hypnet: nowhere holds no run: there is no config.json\n",
    )
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text('{"experiment": "cou')
    assert "config.json is damaged" in hypnet("run", "--resume", "bad").stderr


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_signal_leaves_what_was_saved_and_says_how_to_go_on(
    number: signal.Signals, code: int, word: str, site: Path, tmp_path: Path
) -> None:
    env = {**os.environ, "PYTHONPATH": str(site), "HYPNET_PLUGINS": "lab"}
    command = [
        str(Path(sys.executable).with_name("hypnet")),
        "run",
        "count",
        "fail=hang",
        "--out",
        "here",
    ]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "here" / "hanging").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "")
    assert err.splitlines()[-2:] == ["To resume: hypnet run --resume here", f"hypnet: {word}"]
    assert "Traceback" not in err
    assert len((tmp_path / "here" / "metrics.jsonl").read_text().splitlines()) == 3
    assert not (tmp_path / "here" / "summary.json").exists()


def test_a_failed_run_leaves_what_was_saved(hypnet: Command, tmp_path: Path) -> None:
    hypnet("run", "count", "fail=diverge", "--out", "here")
    assert len((tmp_path / "here" / "metrics.jsonl").read_text().splitlines()) == 3
    assert "DivergedError" in (tmp_path / "here" / "log.txt").read_text()


def test_the_result_is_json_on_request(hypnet: Command) -> None:
    document = json.loads(hypnet("run", "count", "--json", "--out", "here").stdout)
    assert (document["directory"], document["finished"], document["summary"]) == (
        "here",
        True,
        {"total": 3},
    )
