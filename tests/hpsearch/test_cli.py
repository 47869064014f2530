"""`hypnet search`, through the real command."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HYPNET = [sys.executable, "-P", "-m", "hypnet_core.cli.main"]

SIM = """
import argparse, json, pathlib, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--act")
parser.add_argument("--debug", action="store_true")
parser.add_argument("--out", type=pathlib.Path)
options = parser.parse_args()
if options.act == "broken":
    sys.exit("no such activation")
time.sleep(5 if options.act == "slow" else 0)
options.out.joinpath("summary.json").write_text(json.dumps({"end": {"loss": options.lr}}))
"""

SEARCH = """
command = ["python", "sim.py", "{options}", "--out={out}"]
metric = "end.loss"
direction = "minimize"
[grid]
lr = [0.3, 0.1, 0.2]
act = ["relu", "tanh"]
[[conditions]]
when = { act = "tanh" }
then = { lr = 0.1 }
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "sim.py").write_text(SIM)
    (tmp_path / "my.toml").write_text(SEARCH)
    return tmp_path


def environment() -> dict[str, str]:
    """An environment in which `python` is the one that runs the tests."""
    return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def search(hypnet: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `hypnet search` in this process."""
    return lambda place, *arguments: hypnet(place, "search", *arguments, env=environment())


def process(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    return subprocess.run(
        [*HYPNET, "search", *arguments],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment()},
    )


def document(found: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(found.stdout)
    return parsed


def test_a_search_runs_from_the_shell(place: Path) -> None:
    found = process(place, "run", "my.toml")
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[0].startswith("best end.loss: 0.1 (")
    assert found.stdout.splitlines()[-1] == str(place / "searches" / "my")
    lines = found.stderr.splitlines()
    assert lines[0] == "4 trials, 0 done; to run: 4 (4 not begun, 0 failed)"
    assert lines[-1] == "4 of 4 trials done, 0 failed"
    assert sum(" done: 0.3  (lr=0.3 act=relu)" in line for line in lines) == 1


def test_it_works_from_anywhere_and_quietly(place: Path, search: Any) -> None:
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    found = search(elsewhere, "run", "../my.toml", "--out", "o", "--slots", "1", "-q")
    assert found.returncode == 0
    assert found.stderr == ""
    assert (elsewhere / "o" / "results.csv").exists()


def test_what_is_shown_of_a_search(place: Path, search: Any) -> None:
    search(place, "run", "my.toml", "--out", "o")
    status = dict(line.split("\t") for line in search(place, "status", "o").stdout.splitlines())
    assert (status["trials"], status["done"], status["not begun"], status["best"]) == (
        "4",
        "4",
        "0",
        "0.1",
    )
    lines = [line.split("\t") for line in search(place, "table", "o").stdout.splitlines()]
    assert lines[0] == ["trial", "state", "end.loss", "lr", "act", "seconds", "reason"]
    assert [line[2:5] for line in lines[1:]][-2:] == [
        ["0.2", "0.2", "relu"],
        ["0.3", "0.3", "relu"],
    ]
    best = search(place, "best", "o").stdout.splitlines()
    assert best[:2] == ["end.loss\t0.1", "lr\t0.1"]
    assert Path(best[-1], "summary.json").exists()


def test_json_has_a_schema(place: Path, search: Any) -> None:
    ran = document(search(place, "run", "my.toml", "--out", "o", "--json"))
    status = document(search(place, "status", "o", "--json"))
    assert ran == status
    assert status["schema"] == "hypnet.search.status/1"
    assert status["search"]["done"] == 4
    table = document(search(place, "table", "o", "--json"))
    assert (table["schema"], table["metric"], table["direction"]) == (
        "hypnet.search.table/1",
        "end.loss",
        "minimize",
    )
    assert [trial["metric"] for trial in table["trials"]] == [0.1, 0.1, 0.2, 0.3]
    best = document(search(place, "best", "o", "--json"))
    assert best["schema"] == "hypnet.search.best/1"
    assert best["trial"] == table["trials"][0] == status["search"]["best"]


def test_a_dry_run_prints_the_commands_and_writes_nothing(place: Path, search: Any) -> None:
    found = search(place, "run", "my.toml", "--dry-run")
    assert found.returncode == 0
    lines = found.stdout.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(
        f"python sim.py --lr=0.3 --act=relu --out={place}/searches/my/trials/"
    )
    assert not (place / "searches").exists()
    listed = document(search(place, "run", "my.toml", "--dry-run", "--json"))
    assert listed["schema"] == "hypnet.search.dry_run/1"
    assert [trial["options"] for trial in listed["trials"]] == [
        {"lr": 0.3, "act": "relu"},
        {"lr": 0.1, "act": "tanh"},
        {"lr": 0.1, "act": "relu"},
        {"lr": 0.2, "act": "relu"},
    ]


def test_failed_trials_make_a_failed_command_with_their_reasons(place: Path, search: Any) -> None:
    (place / "my.toml").write_text(SEARCH.replace('"relu"', '"broken"'))
    found = search(place, "run", "my.toml", "--out", "o")
    assert found.returncode == 1
    assert found.stderr.count("failed: exit code 1: no such activation") == 3
    assert found.stderr.splitlines()[-1] == "1 of 4 trials done, 3 failed"
    assert "exit code 1: no such activation" in search(place, "table", "o").stdout
    again = search(place, "run", "my.toml", "--out", "o")
    assert again.stderr.splitlines()[0] == "4 trials, 1 done; to run: 3 (0 not begun, 3 failed)"


def test_odd_conditions_are_remarked(place: Path, search: Any) -> None:
    (place / "my.toml").write_text(
        SEARCH + '[[conditions]]\nwhen = { act = "gelu" }\nthen = { lr = 9 }\n'
    )
    found = search(place, "run", "my.toml", "--dry-run")
    assert "warning: condition 2 matches no configuration" in found.stderr.splitlines()


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (("[grid]", "[girds]"), 2, "my.toml: girds: there is no such option; did you mean 'grid'?"),
        (("lr = [0.3, 0.1, 0.2]", "lr = []"), 2, "my.toml: grid: 'lr' has no values"),
        (
            ("when = { act", "when = { axt"),
            2,
            "my.toml: condition 1 names 'axt', which is not in the grid; did you mean 'act'?",
        ),
        (
            ("{options}", "{option}"),
            2,
            "my.toml: the command names {option}, which is not an option",
        ),
        (('metric = "end.loss"\n', ""), 2, "my.toml: metric: must be given"),
        (
            ("[grid]", "experiment = 'x'\n[grid]"),
            2,
            "my.toml: a search needs either an 'experiment' or a 'command', not both",
        ),
        (("[grid]", "[grid"), 2, "my.toml:5: "),
    ],
)
def test_a_mistake_is_one_clear_line(
    place: Path, change: tuple[str, str], code: int, message: str, search: Any
) -> None:
    (place / "my.toml").write_text(SEARCH.replace(*change))
    found = search(place, "run", "my.toml")
    assert found.returncode == code
    assert found.stdout == ""
    assert len(found.stderr.splitlines()) == 1
    assert message in found.stderr
    assert not (place / "searches").exists()


def test_other_mistakes_are_one_clear_line_too(place: Path, search: Any) -> None:
    for arguments, code, message in [
        (("run", "no.toml"), 2, "no.toml"),
        (("run", "my.toml", "--scheduler", "slurmm"), 2, "there is no scheduler 'slurmm'"),
        (("run", "my.toml", "--slots", "0"), 2, "--slots"),
        (("status", "nowhere"), 1, "holds no search"),
        (("best", "nowhere"), 1, "holds no search"),
    ]:
        found = search(place, *arguments)
        assert (found.returncode, len(found.stderr.splitlines())) == (code, 1), found.stderr
        assert message in found.stderr


def test_an_unknown_experiment_is_named_before_anything_runs(place: Path, search: Any) -> None:
    text = SEARCH.replace(
        'command = ["python", "sim.py", "{options}", "--out={out}"]', 'experiment = "hypercll"'
    )
    (place / "my.toml").write_text(text)
    found = search(place, "run", "my.toml")
    assert found.returncode == 2
    assert "there is no experiment 'hypercll'" in found.stderr
    assert not (place / "searches" / "my" / "trials").exists()


def test_ctrl_c_stops_in_order(place: Path, search: Any) -> None:
    (place / "my.toml").write_text(SEARCH.replace('"relu"', '"slow"'))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        [*HYPNET, "search", "run", "my.toml", "--out", "o"],
        cwd=place,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 20
    journal = place / "o" / "journal.jsonl"
    while not (journal.exists() and '"job"' in journal.read_text()):
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "its running trials were cancelled; to go on, run the same command again" in said
    assert "Traceback" not in said
    status = document(search(place, "status", "o", "--json"))["search"]
    assert (status["running"], status["failed"]) == (0, 0)
    assert status["cancelled"] >= 1


def on_a_terminal(place: Path, *arguments: str) -> str:
    """The output of a command on a terminal of 100 columns."""
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": "100", "LINES": "40", "TERM": "xterm-256color"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        [*HYPNET, "search", *arguments], cwd=place, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            data = os.read(master, 1 << 16)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(master)
    assert process.wait() == 0, shown.decode()
    return shown.decode()


def test_a_terminal_shows_tables(place: Path) -> None:
    (place / "sim.py").write_text(SIM.replace("else 0)", "else 0.3)"))
    running = on_a_terminal(place, "run", "my.toml", "--out", "o", "--slots", "1")
    assert "best so far" in running
    assert "time left" in running
    assert "best end.loss: 0.1" in running
    table = on_a_terminal(place, "table", "o")
    assert "\t" not in table
    assert "end.loss" in table
    assert "relu" in table


def test_help_and_plugin_need_nothing_heavy() -> None:
    for code in (
        "import hypnet_hpsearch, hypnet_hpsearch.plugin",
        "from hypnet_hpsearch import plugin; plugin.hypnet_components()",
        "import typer; from hypnet_hpsearch import plugin; plugin.hypnet_commands(typer.Typer())",
        "import hypnet_hpsearch.searches",
        (
            "from hypnet_core.cli.main import main\ntry: main(['search', 'run', '--help'])\nexcept"
            " SystemExit: pass"
        ),
        (
            "from hypnet_core.cli.main import main\ntry: main(['search', '--help'])\nexcept"
            " SystemExit: pass"
        ),
    ):
        checked = f"{code}\nimport sys; print({{'torch', 'numpy'}} & set(sys.modules))"
        found = subprocess.run(
            [sys.executable, "-c", checked], capture_output=True, text=True, check=True
        )
        assert found.stdout.splitlines()[-1] == "set()", code
