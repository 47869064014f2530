"""Searches on a real Slurm: pruned, and cancelled after their driver was killed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

HYPNET = [sys.executable, "-P", "-m", "hypnet_core.cli.main", "search"]


SLURM = {"name": "slurm", "poll_interval": 0.2}


def status(workshop: Any) -> dict[str, Any]:
    shown = workshop.command("status", "out", "--json")
    found: dict[str, Any] = json.loads(shown.stdout)["search"] if shown.returncode == 0 else {}
    return found


def wait_until(happened: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_trials_that_run_and_wait_are_cancelled_after_their_driver_was_killed(
    workshop: Any, slurm: Any
) -> None:
    workshop.body("time.sleep(100)")
    file = workshop.file(grid={"x": list(range(4))}, scheduler=SLURM, resources={"cpus": 4})
    driver = subprocess.Popen([*HYPNET, "run", file, "--out", "out", "-q"], cwd=workshop.path)
    wait_until(
        lambda: len(workshop.ran()) == 2 and slurm.says("squeue", "-h", "-r", "-t", "PENDING")
    )
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert (status(workshop)["running"], status(workshop)["queued"]) == (2, 2)
    done = workshop.command("cancel", "out")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 4
    assert (status(workshop)["running"], status(workshop)["cancelled"]) == (0, 4)
    wait_until(lambda: not slurm.says("squeue", "-h", "-r", "-t", "PENDING,RUNNING"))
    assert len(workshop.ran()) == 2


def test_bad_trials_are_pruned(workshop: Any, slurm: Any) -> None:
    pytest.importorskip("optuna", minversion="5", reason="pip install 'hypnet-hpsearch[optuna]'")
    workshop.body(
        "with open(os.path.join(out, 'reports.jsonl'), 'w') as file:\n"
        "    file.write(json.dumps({'step': 0, 'value': score}) + '\\n')\n"
        "time.sleep(30 if score > 2 else 0)"
    )
    search = workshop.run(
        grid={"x": [1, 2, 3, 4]},
        sampler="BruteForceSampler",
        pruner={"name": "threshold", "upper": 2.5},
        max_trials=4,
        scheduler=SLURM,
        direction="minimize",
    )
    found = search.status()
    assert (found.done, found.pruned, found.failed) == (2, 2, 0)
    assert len(workshop.ran()) == 4


STEPS = """
import random
state = {"step": 0, "sum": 0.0}
if options.get("resume"):
    state = json.load(open(os.path.join(options["resume"], "state.json")))
while state["step"] < 26:
    time.sleep(5)
    state = {"step": state["step"] + 1, "sum": state["sum"] + random.Random(state["step"]).random()}
    with open(os.path.join(out, "next.json"), "w") as file:
        json.dump(state, file)
    os.rename(os.path.join(out, "next.json"), os.path.join(out, "state.json"))
    with open(os.path.join(out, "reports.jsonl"), "a") as file:
        file.write(json.dumps({"step": state["step"], "value": state["sum"]}) + "\\n")
score = state["sum"]
"""


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_a_wall_time_of_a_minute_carries_two_minutes_of_training_through(workshop: Any) -> None:
    workshop.body(STEPS)
    search = workshop.run(
        grid={"x": [1]},
        scheduler=SLURM,
        resources={"time_limit": 60},
        resume=["resume={previous}"],
    )
    [result] = search.results()
    expected = 0.0
    for step in range(26):
        expected += random.Random(step).random()
    assert (result.state.value, result.metric) == ("done", expected)
    assert result.attempt >= 2
    reasons = [
        json.loads(line)["reason"]
        for line in (workshop.out / "journal.jsonl").read_text().splitlines()
        if json.loads(line)["event"] == "end"
    ]
    assert reasons == [*["over its time limit of 0:01:00"] * (result.attempt - 1), None]
