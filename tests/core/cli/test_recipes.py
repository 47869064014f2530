"""Recipes in the command: listed, shown, run, resumed, checked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Command: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

PLUGIN = """
    from hypnet_core import Component, hookimpl

    @hookimpl
    def hypnet_components():
        return Component.recipes("stranger_recipes")
"""

FIVE = """
summary = "Counts to five."
experiment = "count"
source = "A. Counter: Numbers. 1901, table 1."
seeds = [3, 4]
minutes = 2

[options.train]
steps = 5

[[expected]]
figure = "total"
value = 7.5
tolerance = 1.0

[[expected]]
figure = "total"
at_most = 0.5
minus = "six"
source = "table 2"

[smoke.train]
steps = 1
"""

SIX = """
summary = "Counts to six."
experiment = "count"
source = "the same"

[options.train]
steps = 6

[[expected]]
figure = "total"
of = "every"
at_least = 7
"""


@pytest.fixture(autouse=True)
def kitchen(lab: Path, install: Callable[..., Path]) -> Path:
    install("cook", PLUGIN)
    folder = lab / "stranger_recipes"
    folder.mkdir()
    (folder / "five.toml").write_text(FIVE, encoding="utf-8")
    (folder / "six.toml").write_text(SIX, encoding="utf-8")
    return folder


def header(directory: Path) -> Any:
    return json.loads((directory / "config.json").read_text())


def test_recipes_are_listed_like_all_components(hypnet: Command) -> None:
    assert hypnet("list", "recipe").stdout == "five\nsix\n"
    assert "recipe\tfive\n" in hypnet("list").stdout
    (component,) = json.loads(hypnet("list", "recipes", "fi*", "--json").stdout)["components"]
    assert component["full_name"] == "cook:five"
    assert component["summary"] == "Counts to five."


def test_a_recipe_is_shown_with_figures_and_sources(hypnet: Command) -> None:
    done = hypnet("show", "five")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "recipe five: Counts to five."
    assert "experiment  count" in lines
    assert "seeds       3 4" in lines
    assert "minutes     about 2 per seed" in lines
    (first,) = [line for line in lines if line.startswith("total  ")]
    assert "7.5 ± 1" in first
    assert first.endswith("A. Counter: Numbers. 1901, table 1.")
    (second,) = [line for line in lines if line.startswith("total, minus that of six")]
    assert "<= 0.5" in second
    assert second.endswith("table 2")


def test_json_of_a_recipe_has_its_file_and_the_options_of_its_experiment(hypnet: Command) -> None:
    document = json.loads(hypnet("show", "five", "--json").stdout)
    assert document["recipe"]["experiment"] == "count"
    assert document["recipe"]["expected"][0]["value"] == 7.5
    assert {option["key"] for option in document["options"]} >= {"train.steps", "seed"}
    assert document["source"].endswith("five.toml:1")


def test_a_recipe_whose_experiment_is_missing_is_shown_and_not_run(
    hypnet: Command, kitchen: Path
) -> None:
    (kitchen / "five.toml").write_text(FIVE.replace('"count"', '"cuont"'), encoding="utf-8")
    assert hypnet("show", "five").returncode == 0
    done = hypnet("run", "five")
    assert done.returncode == 2
    message = "recipe 'cook:five': there is no experiment 'cuont'; did you mean 'count'?"
    assert done.stderr.startswith(f"hypnet: {message}")


def test_a_run_prints_measured_beside_expected(hypnet: Command, tmp_path: Path) -> None:
    done = hypnet("run", "five", "--seed", "2", "--out", "here")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "counted to 7"
    assert lines[-1] == "here"
    rows = [line.split("  ") for line in lines if line.startswith("total")]
    first, second = ([cell.strip() for cell in row if cell.strip()] for row in rows)
    assert first == ["total", "7.5 ± 1", "7", "met"]
    assert second[:4] == ["total, minus that of six", "<= 0.5", "-", "unknown"]
    assert second[4] == "it needs runs of six too: hypnet check"
    assert "other options" not in done.stderr
    written = header(tmp_path / "here")
    assert (written["experiment"], written["recipe"]) == ("count", "five")
    assert written["config"]["train"]["steps"] == 5


def test_a_run_of_other_options_is_said_to_be_one(hypnet: Command, tmp_path: Path) -> None:
    done = hypnet("run", "five", "train.steps=1", "seed=2")
    assert done.returncode == 0
    assert "the expected figures belong to other options: train.steps was 5, is now 1" in (
        done.stderr
    )
    assert "missed" in done.stdout
    assert (tmp_path / done.stdout.splitlines()[-1]).name.startswith("five-")


def test_files_and_overrides_are_on_top_of_the_recipe(hypnet: Command, tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("note: hi\ntrain: {rate: 0.25}\n")
    done = hypnet("run", "five", "--config", "more.yaml", "train.rate=2", "--json")
    document = json.loads(done.stdout)
    assert document["config"]["train"] == {"steps": 5, "rate": 2.0}
    assert document["config"]["note"] == "hi"
    assert (document["recipe"], document["experiment"]) == ("five", "count")
    figure = document["figures"][0]
    assert (figure["verdict"], figure["mean"]) == ("missed", 5.0)
    assert figure["values"] == {"0": 5.0}


def test_plans_name_recipe_and_experiment(hypnet: Command, tmp_path: Path) -> None:
    done = hypnet("run", "five", "--dry-run")
    assert done.stdout.startswith("would run five (count) in runs/five-")
    assert "steps: 5" in hypnet("run", "five", "--print-config").stdout
    assert not (tmp_path / "runs").exists()


def test_a_wrong_option_of_a_recipe_is_an_error_before_the_run(hypnet: Command) -> None:
    done = hypnet("run", "five", "train.stesp=3")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "hypnet: train.stesp: there is no such option; did you mean 'train.steps'?"
    )


def test_a_stopped_run_resumes_as_a_run_of_its_recipe(hypnet: Command, tmp_path: Path) -> None:
    failed = hypnet("run", "five", "fail=diverge", "--out", "here")
    assert failed.returncode == 1
    for name in ([], ["five"], ["count"]):
        done = hypnet("run", *name, "--resume", "here", "fail=", "--allow-changes")
        assert done.returncode == (0 if not name else 1), done.stderr
        if not name:
            assert "7.5 ± 1" in done.stdout
    assert header(tmp_path / "here")["recipe"] == "five"
    done = hypnet("run", "five", "--resume", "here")
    assert done.returncode == 0, done.stderr
    other = hypnet("run", "six", "--resume", "here")
    assert other.returncode == 2
    assert "here holds a run of 'five', not of 'six'" in other.stderr


def test_a_run_outlives_its_recipe(hypnet: Command, kitchen: Path) -> None:
    assert hypnet("run", "five", "--out", "here").returncode == 0
    (kitchen / "five.toml").unlink()
    done = hypnet("run", "--resume", "here")
    assert done.returncode == 0
    assert done.stdout == "counted to 5\nhere\n"
    assert "there is no recipe 'five'" in done.stderr


def test_a_figure_that_the_summary_lacks_does_not_undo_the_run(
    hypnet: Command, kitchen: Path
) -> None:
    (kitchen / "six.toml").write_text(SIX.replace('"total"', '"toatl"'), encoding="utf-8")
    done = hypnet("run", "six")
    assert done.returncode == 0
    assert "there is no figure 'toatl': the summary has no 'toatl'; did you mean 'total'?" in (
        done.stderr
    )
    assert hypnet("check", "six", "--seeds", "2").returncode == 1


def test_one_name_of_an_experiment_and_a_recipe_needs_the_kind(
    hypnet: Command, kitchen: Path
) -> None:
    (kitchen / "count.toml").write_text(SIX, encoding="utf-8")
    for command in ("run", "show", "check"):
        done = hypnet(command, "count")
        assert done.returncode == 2
        assert "there is a recipe and an experiment of that name, give the kind" in done.stderr
    assert json.loads(hypnet("run", "count", "--kind", "recipe", "--json").stdout)["recipe"]
    plain = json.loads(hypnet("run", "count", "--kind", "experiment", "--json").stdout)
    assert (plain["recipe"], plain["figures"]) == (None, [])
    assert hypnet("run", "cook:count", "--dry-run").returncode == 0
    done = hypnet("run", "count", "--kind", "mainnet")
    assert "--kind mainnet: only an experiment or a recipe can be run" in done.stderr


def test_seeds_are_run_and_judged(hypnet: Command, tmp_path: Path) -> None:
    done = hypnet("check", "six", "--seeds", "3", "--out", "kept")
    assert done.returncode == 1  # seed 0 gives 6
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("total")]
    # Mean 7, standard deviation 1: 4.303 / sqrt(3) = 2.48 to each side.
    assert [cell.strip() for cell in row.split("  ") if cell.strip()] == [
        "total",
        ">= 7 in every seed",
        "7 ± 2.5",
        "missed",
        "2 of 3 seeds",
    ]
    assert "recipe 'cook:six', 3 seeds: 0 met, 1 missed" in done.stdout
    assert header(tmp_path / "kept" / "six" / "seed-2")["config"]["seed"] == 2
    assert hypnet("check", "six", "--seeds", "1,2", "--out", "kept").returncode == 0


def test_a_compared_recipe_is_run_with_the_same_seeds(hypnet: Command, tmp_path: Path) -> None:
    done = hypnet("check", "five", "--seeds", "own", "--json", "--out", "kept")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    first, second = document["figures"]
    assert document["seeds"] == [3, 4]
    assert (first["mean"], first["verdict"]) == (8.5, "met")
    assert second["values"] == {"3": -1.0, "4": -1.0}
    assert sorted(path.name for path in (tmp_path / "kept" / "six").iterdir()) == [
        "seed-3",
        "seed-4",
    ]
    assert document["passed"] is True


def test_finished_runs_of_a_check_are_only_read(hypnet: Command, tmp_path: Path) -> None:
    assert hypnet("check", "six", "--seeds", "1,2", "--out", "kept").returncode == 0
    summary = tmp_path / "kept" / "six" / "seed-1" / "summary.json"
    summary.write_text(json.dumps({"total": 100}))
    document = json.loads(
        hypnet("check", "six", "--seeds", "1,2", "--out", "kept", "--json").stdout
    )
    assert document["figures"][0]["values"] == {"1": 100.0, "2": 8.0}
    done = hypnet("check", "six", "note=x", "--seeds", "1,2", "--out", "kept")
    assert done.returncode == 1
    assert 'holds a run of other options (note was "", is now "x")' in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["count", "--seeds", "2"], "--seeds is for recipes, and this is an experiment"),
        (["six", "--seeds", "0"], "--seeds 0: expected a number of seeds (5), seeds (3,7,9)"),
        (["six", "--seeds", "x"], "--seeds x: expected a number of seeds"),
        (["six", "--seeds", "1,1"], "--seeds 1,1: a seed is given twice"),
        (["six", "--out", "x"], "--out is for --seeds: nothing else is kept"),
        (["six", "train.stesp=2", "--seeds", "2"], "train.stesp: there is no such option"),
    ],
)
def test_wrong_usage_of_a_check_is_one_line(
    hypnet: Command, arguments: list[str], message: str
) -> None:
    done = hypnet("check", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"hypnet: {message}")


def test_a_check_that_was_interrupted_is_resumed(
    hypnet_process: Command, site: Path, tmp_path: Path, lab: Path
) -> None:
    env = {**os.environ, "PYTHONPATH": str(site), "HYPNET_PLUGINS": "lab,cook"}
    script = Path(sys.executable).with_name("hypnet")
    arguments = ["check", "six", "fail=hang", "--seeds", "1,2", "--out", "kept"]
    process = subprocess.Popen(
        [str(script), *arguments], env=env, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    first = tmp_path / "kept" / "six" / "seed-1"
    end = time.monotonic() + 30
    while not (first / "hanging").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "To resume: hypnet check cook:six fail=hang --seeds 1,2 --out kept" in stderr
    assert not (tmp_path / "kept" / "six" / "seed-2").exists()
    assert json.loads((first / "config.json").read_text())["recipe"] == "six"


def test_what_an_experiment_refuses_beforehand_leaves_nothing_behind(
    hypnet: Command, lab: Path, tmp_path: Path
) -> None:
    module = lab / "stranger_lab_count.py"
    prepare = """
    def prepare(self, config):
        raise DivergedError("there is no data")

    def report("""
    module.write_text(module.read_text().replace("    def report(", prepare.lstrip("\n"), 1))
    done = hypnet("check", "six", "--seeds", "2")
    assert done.returncode == 1
    assert done.stderr == "hypnet: there is no data\n"
    assert not (tmp_path / "runs").exists()


def test_a_check_without_seeds_trains_nothing_but_the_short_run(hypnet: Command) -> None:
    done = hypnet("check", "five", "--json")
    results = {r["check"]: r for r in json.loads(done.stdout)["results"]}
    assert {r["outcome"] for r in results.values()} == {"passed", "skipped"}
    assert results["its_counts_are_exact"]["outcome"] == "skipped"
    assert results["a_short_run_gives_the_expected_figures"]["outcome"] == "passed"


@pytest.mark.parametrize(
    ("before", "after", "failing", "message"),
    [
        (
            "steps = 5",
            "stesp = 5",
            "its_experiment_takes_its_options",
            "options.train.stesp: there is no such option; did you mean 'train.steps'?",
        ),
        (
            "steps = 1",
            "steps = 'one'",
            "its_experiment_takes_the_options_of_a_short_run",
            'smoke.train.steps: "one" is not possible',
        ),
        (
            'minus = "six"',
            'minus = "siz"',
            "its_figures_are_compared_with_recipes_of_the_experiment",
            "there is no recipe siz",
        ),
        (
            'experiment = "count"',
            'experiment = "bare"',
            "its_seeds_are_seeds",
            "its experiment has no option `seed`",
        ),
        (
            'figure = "total"\nvalue',
            'figure = "totl"\nvalue',
            "a_short_run_gives_the_expected_figures",
            "there is no figure 'totl': the summary has no 'totl'; did you mean 'total'?",
        ),
        (
            "[smoke.train]",
            "[counts]\nin_shape = [3]\nout_features = 2\ntasks = 1\ngenerated = 1\n[smoke.train]",
            "its_counts_are_exact",
            "counts: 'mnet': there is no such option",
        ),
    ],
)
def test_a_faulty_recipe_fails_the_check_that_is_about_it(
    hypnet: Command, kitchen: Path, before: str, after: str, failing: str, message: str
) -> None:
    assert FIVE.count(before) == 1
    (kitchen / "five.toml").write_text(FIVE.replace(before, after), encoding="utf-8")
    done = hypnet("check", "five", "--json")
    assert done.returncode == 1
    (result,) = [r for r in json.loads(done.stdout)["results"] if r["check"] == failing]
    assert result["outcome"] == "failed"
    assert message in result["message"]


def test_a_broken_file_leaves_the_command_and_other_recipes_alone(
    hypnet_process: Command, kitchen: Path
) -> None:
    (kitchen / "broken.toml").write_text("summary = ", encoding="utf-8")
    done = hypnet_process("run", "five", "--out", "here")
    assert done.returncode == 0, done.stderr
    line = done.stderr.splitlines()[0]
    assert line.startswith(
        "hypnet: plugin 'cook' (dist-cook 1.0): recipe 'broken' is left out: broken.toml is not"
        " valid TOML: "
    )
    assert "recipe" in hypnet_process("run", "broken").stderr
