"""Attempts that go on where the attempts before them stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.errors import ConfigError
from hypnet_core.jobs import Interruption
from hypnet_hpsearch import SearchSpec, TrialState
from hypnet_hpsearch.schedulers import Lsf, Slurm

# Adds up pseudorandom numbers step by step, and saves its state at each step.
COUNTING = """
import random, signal
state = {"step": 0, "sum": score, "random": 1}
if options.get("resume"):
    state = json.load(open(os.path.join(options["resume"], "state.json")))
while state["step"] < STEPS:
    state["random"] = random.Random(state["random"]).randrange(10 ** 6)
    state["sum"] += state["random"] / 10 ** 6
    state["step"] += 1
    with open(os.path.join(out, "next.json"), "w") as file:
        json.dump(state, file)
    os.rename(os.path.join(out, "next.json"), os.path.join(out, "state.json"))
    with open(os.path.join(out, "reports.jsonl"), "a") as file:
        file.write(json.dumps({"step": state["step"], "value": state["sum"]}) + "\\n")
    with open(f"steps{options['x']}", "a") as file:
        file.write(f"{state['step']}\\n")
    DISTURBANCE
score = state["sum"]
options.pop("resume", None)
"""
RESUME = {"resume": ["resume={previous}"]}


def counting(workshop: Any, disturbance: str = "pass", steps: int = 12) -> None:
    body = COUNTING.replace("DISTURBANCE", disturbance).replace("STEPS", str(steps))
    workshop.body(body)


def undisturbed(workshop: Any, **fields: Any) -> dict[Any, Any]:
    """The results without any disturbance, by option."""
    counting(workshop)
    search = workshop.search(**fields)
    search.directory = workshop.path / "undisturbed"
    search.run()
    for path in workshop.path.glob("steps*"):
        path.unlink()
    return {result.options["x"]: result.metric for result in search.results()}


def steps(workshop: Any, x: int = 1) -> list[int]:
    return [int(line) for line in (workshop.path / f"steps{x}").read_text().split()]


@pytest.mark.parametrize(
    "disturbance",
    [
        "if state['step'] % 5 == 0: os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)",
        "if state['step'] % 5 == 0: os.kill(os.getppid(), signal.SIGTERM); time.sleep(5)",
        "if state['step'] % 5 == 0: os.killpg(0, signal.SIGKILL)",
    ],
    ids=["a signal", "a preemption", "a lost machine"],
)
def test_an_interrupted_trial_goes_on_to_an_identical_result(
    workshop: Any, disturbance: str
) -> None:
    expected = undisturbed(workshop, grid={"x": [1, 2]})
    counting(workshop, disturbance)
    search = workshop.run(grid={"x": [1, 2]}, **RESUME)
    results = search.results()
    assert {result.options["x"]: result.metric for result in results} == expected
    assert {result.attempt for result in results} == {3}
    assert steps(workshop) == steps(workshop, 2) == list(range(1, 13))


def test_a_short_time_limit_carries_a_long_trial_through(workshop: Any) -> None:
    expected = undisturbed(workshop, grid={"x": [1]})
    counting(workshop, "time.sleep(0.15)")  # 1.8 seconds
    search = workshop.run(grid={"x": [1]}, resources={"time_limit": 0.7}, **RESUME)
    [result] = search.results()
    assert {1: result.metric} == expected
    assert result.attempt >= 3
    done = Counter(steps(workshop))
    assert sorted(done) == list(range(1, 13))
    assert max(done.values()) <= 2  # a step that was not saved


def test_without_the_option_a_trial_begins_anew(workshop: Any) -> None:
    counting(workshop, "if not os.path.exists('once'): open('once', 'w'); os.killpg(0, 9)")
    search = workshop.run(grid={"x": [1]})
    assert search.results()[0].attempt == 2
    assert steps(workshop) == [1, *range(1, 13)]


def test_attempts_without_progress_are_limited(workshop: Any) -> None:
    # The first seven attempts come one step further each, the others do not.
    counting(workshop, "os.killpg(0, 9)")
    body = (workshop.path / "trial.py").read_text()
    stuck = 'if state["step"] == 7: os.killpg(0, 9)\nwhile state'
    (workshop.path / "trial.py").write_text(body.replace("while state", stuck, 1))
    [result] = workshop.run(grid={"x": [1]}, **RESUME).results()
    assert (result.state, result.attempt) == (TrialState.LOST, 7 + 5)
    assert steps(workshop) == list(range(1, 8))


def test_a_time_limit_that_allows_no_step_is_not_tried_again(workshop: Any) -> None:
    workshop.body("time.sleep(60)")
    search = workshop.run(grid={"x": [1]}, resources={"time_limit": 0.3}, **RESUME)
    [result] = search.results()
    assert (result.state, result.attempt) == (TrialState.FAILED, 1)
    assert result.reason == "over its time limit of 0:00:00.300000"


def test_a_retry_goes_on_from_where_a_failed_trial_had_come(workshop: Any) -> None:
    expected = undisturbed(workshop, grid={"x": [1]})
    counting(workshop, "if state['step'] == 4 and not os.path.exists('fixed'): sys.exit(3)")
    assert workshop.run(grid={"x": [1]}, **RESUME).status().failed == 1
    (workshop.path / "fixed").touch()
    search = workshop.run(grid={"x": [1]}, **RESUME)
    assert {1: search.best().metric} == expected
    assert steps(workshop) == list(range(1, 13))


def test_what_fails_again_where_it_went_on_begins_anew(workshop: Any) -> None:
    counting(workshop, "if state['step'] == 4: sys.exit(3)")
    body = COUNTING.replace("STEPS", "12")
    bad = "if options.get('resume'): sys.exit('the state is damaged')\n"
    workshop.body(
        bad
        + body.replace("DISTURBANCE", "if not os.path.exists('ok'): open('ok', 'w'); sys.exit(3)")
    )
    search = workshop.run(grid={"x": [1]}, attempts=3, **RESUME)
    [result] = search.results()
    assert (result.state, result.attempt) == (TrialState.DONE, 3)
    assert steps(workshop) == [1, *range(1, 13)]


EXPERIMENT = """
import os, signal
import torch
from pydantic import BaseModel, ConfigDict
from hypnet_core import Component, hookimpl


class Steps:
    \"\"\"Adds random numbers up, and dies on the way.\"\"\"

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid")
        seed: int = 0
        die_at: tuple[int, ...] = ()
        marks: str = ""

    def run(self, config, run):
        generator, total, start = torch.Generator().manual_seed(config.seed), torch.zeros(2), 0
        found = run.restore()
        if found is not None:
            generator.set_state(found.tensors["generator"])
            total, start = found.tensors["total"], found.state["step"]
        for step in range(start + 1, 9):
            total = total + torch.rand(2, generator=generator)
            run.log(step, total=float(total.sum()))
            tensors = {"total": total, "generator": generator.get_state()}
            run.save(step, tensors, {"step": step})
            if step in config.die_at:
                os.killpg(0, signal.SIGKILL)
        return {"total": float(total.sum())}


@hookimpl
def hypnet_components():
    return [Component.experiment("steps", "steps:Steps", "Adds numbers up.")]
"""


def test_an_experiment_goes_on_from_its_last_checkpoint(tmp_path: Path, in_process: Any) -> None:
    (tmp_path / "steps.py").write_text(EXPERIMENT)
    info = tmp_path / "steps-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: steps\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[hypnet]\nsteps = steps\n")

    def search(name: str, **grid: Any) -> list[dict[str, Any]]:
        fields = {"experiment": "steps", "metric": "total", "direction": "maximize", "grid": grid}
        (tmp_path / f"{name}.yaml").write_text(json.dumps(fields))
        variables = {"PYTHONPATH": str(tmp_path), "HYPNET_PLUGINS": "steps,hpsearch,core"}
        for arguments in (("run", f"{name}.yaml", "--out", name), ("table", name, "--json")):
            done = in_process("search", *arguments, cwd=tmp_path, path=[tmp_path], **variables)
            assert done.returncode == 0, done.stderr
        trials: list[dict[str, Any]] = json.loads(done.stdout)["trials"]
        return trials

    trials = search("both", die_at=[[], [2, 5]])
    plain, disturbed = sorted(trials, key=lambda trial: len(trial["options"]["die_at"]))
    assert disturbed["metric"] == plain["metric"]
    assert (plain["attempt"], disturbed["attempt"]) == (1, 3)
    lines = Path(disturbed["directory"], "metrics.jsonl").read_text().splitlines()
    assert lines == Path(plain["directory"], "metrics.jsonl").read_text().splitlines()
    # The directory has moved with the trial.
    trial = Path(disturbed["directory"]).parents[1]
    assert [path.parent.name for path in trial.glob("*/run")] == ["3"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resume": True}, "a command needs arguments to resume"),
        ({"resume": ["--go-on"]}, "{previous}, the directory of the earlier attempt, is in none"),
        ({"resume": ["--from={privious}"]}, "resume: {privious} is not known there; did you mean"),
    ],
)
def test_mistakes_are_named(workshop: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        workshop.search(grid={"x": [1]}, **fields)
    assert message in str(caught.value)


def test_an_experiment_takes_no_arguments_to_resume() -> None:
    with pytest.raises(ConfigError, match="an experiment resumes by itself"):
        SearchSpec(
            name="x",
            experiment="hypercl",
            grid={"x": [1]},
            metric="m",
            direction="minimize",
            resume=["--resume={previous}"],
        )


@pytest.mark.parametrize(
    ("scheduler", "said", "why"),
    [
        (Slurm, "TIMEOUT: TimeLimit", Interruption.TIME_LIMIT),
        (Slurm, "PREEMPTED, exit code 0:0", Interruption.PREEMPTED),
        (Slurm, "NODE_FAIL, exit code 1:0", Interruption.NODE),
        (Slurm, "OUT_OF_MEMORY, exit code 0:125", Interruption.MEMORY),
        (Slurm, "FAILED: NonZeroExitCode", None),
        (Slurm, "", None),
        (Lsf, "EXIT, exit code 140: TERM_RUNLIMIT: job killed after", Interruption.TIME_LIMIT),
        (Lsf, "EXIT: TERM_PREEMPT: job killed after preemption", Interruption.PREEMPTED),
        (Lsf, "EXIT, exit code 7", None),
    ],
)
def test_batch_systems_explain_the_ends_of_jobs(
    scheduler: type[Slurm | Lsf], said: str, why: Interruption | None
) -> None:
    found = scheduler()
    found._reasons["job"] = said
    assert found.interruption("job") is why


def test_a_trial_that_ignores_the_end_of_its_time_is_over_its_time_limit(workshop: Any) -> None:
    workshop.body(
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "json.dump({'score': 5}, open(os.path.join(out, 'summary.json'), 'w'))\n"
        "time.sleep(60)"
    )
    search = workshop.run(
        grid={"x": [1]},
        resources={"time_limit": 0.3},
        scheduler={"name": "local", "slots": 1, "grace": 0.2},
    )
    [result] = search.results()
    # The summary that it had written by then is no result.
    assert result.state is TrialState.FAILED
    assert result.reason == "over its time limit of 0:00:00.300000"
    assert result.attempt == 1


DRIVER = """
import json, sys
from hypnet_hpsearch import Search, SearchSpec
Search(SearchSpec(**json.loads(sys.argv[1])), sys.argv[2]).run()
"""


@pytest.mark.slow
def test_two_hundred_trials_that_resume_survive_everything(workshop: Any) -> None:
    """Drivers, launchers, wrappers and programs are killed; the journal is torn."""
    grid = {"x": list(range(200))}
    expected = undisturbed(workshop, grid=grid)
    counting(workshop, "time.sleep(0.02)")
    scheduler = {"name": "local", "slots": 4}
    fields = json.dumps(workshop.fields(grid=grid, scheduler=scheduler, **RESUME))
    search = workshop.search(grid=grid, scheduler=scheduler, **RESUME)
    generator, kills, drivers = random.Random(0), Counter[str](), 0
    journal = workshop.out / "journal.jsonl"
    while not workshop.out.exists() or search.status().done < 200:
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, fields, str(workshop.out)], stderr=subprocess.DEVNULL
        )
        drivers += 1
        end = time.monotonic() + generator.uniform(1.0, 2.5)
        while time.monotonic() < end and driver.poll() is None:
            time.sleep(0.15)
            for pid, name in processes_below(driver.pid):
                if generator.random() < 0.1:
                    kills[name] += 1
                    number = generator.choice([signal.SIGKILL, signal.SIGTERM])
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
        if driver.poll() is None:
            kills["driver"] += 1
        driver.kill()
        driver.wait()
        if journal.exists() and drivers % 3 == 0:
            os.truncate(journal, max(0, journal.stat().st_size - generator.randrange(300)))
        assert drivers < 200, search.status()
    assert sum(kills.values()) >= 50, kills
    assert set(kills) == {"driver", "launcher", "program"}, kills
    results = search.results()
    assert {result.options["x"]: result.metric for result in results} == expected
    done = Counter(
        path.parts[-3]
        for path in workshop.out.glob("trials/*/*/result.json")
        if json.loads(path.read_text())["state"] == "done"
    )
    assert (len(done), set(done.values())) == (200, {1})


def processes_below(driver: int) -> list[tuple[int, str]]:
    """The launcher of a driver, and what it has started: wrappers and programs."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found: list[tuple[int, str]] = []
    for launcher in children.get(driver, []):
        found.append((launcher, "launcher"))
        wrappers = children.get(launcher, [])
        programs = [pid for wrapper in wrappers for pid in children.get(wrapper, [])]
        found += [(pid, "program") for pid in (*wrappers, *programs)]
    return found
