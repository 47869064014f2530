"""Searches over registered experiments: ours, and a third party's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.testing.scheduler import HOSTILE

HYPNET = [sys.executable, "-P", "-m", "hypnet_core.cli.main"]

PLUGIN = """
from hypnet_core import Component, hookimpl

@hookimpl
def hypnet_components():
    return [Component.experiment("echo", "echolab.echo:Echo", "Gives back what it was told.")]
"""

EXPERIMENT = """
from collections.abc import Mapping
from typing import Any
from pydantic import BaseModel, ConfigDict


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str = ""
    number: float = 1.0
    values: tuple[float, ...] = ()


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid")
    inner: Inner = Inner()
    seed: int = 0


class Echo:
    Config = Config

    def run(self, config: Config, run: Any) -> Mapping[str, Any]:
        inner = config.inner
        numbers = {"number": repr(inner.number), "values": repr(inner.values)}
        return {"text": inner.text, **numbers, "score": config.seed + 0.5}
"""


def hypnet(place: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HYPNET, *arguments],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def echolab(tmp_path: Path) -> dict[str, str]:
    return install_echolab(tmp_path)


def install_echolab(place: Path) -> dict[str, str]:
    """The environment of a small installed package with the experiment `echo`."""
    site = place / "site"
    package, metadata = site / "echolab", site / "echolab-1.0.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    (package / "__init__.py").touch()
    (package / "plugin.py").write_text(PLUGIN)
    (package / "echo.py").write_text(EXPERIMENT)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: echolab\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[hypnet]\necholab = echolab.plugin\n")
    return {"PYTHONPATH": str(site)}


def write(place: Path, **search: Any) -> Path:
    """A search file; JSON is YAML."""
    path = place / "search.yaml"
    path.write_text(json.dumps(search, ensure_ascii=False), encoding="utf-8")
    return path


def summaries(place: Path) -> list[dict[str, Any]]:
    return [
        json.loads(path.read_text(encoding="utf-8"))
        for path in place.glob("o/trials/*/*/run/summary.json")
    ]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A finished search over hostile values, and the environment for its experiment."""
    place = tmp_path_factory.mktemp("hostile")
    environment = install_echolab(place)
    grid = {"inner": {"text": list(HOSTILE)}}
    write(place, experiment="echo", metric="score", direction="maximize", grid=grid, seeds=[5])
    found = hypnet(place, "search", "run", "search.yaml", "--out", "o", **environment)
    assert found.returncode == 0, found.stderr
    return place, environment


def test_hostile_values_reach_an_experiment_unchanged(hostile: tuple[Path, dict[str, str]]) -> None:
    assert sorted(summary["text"] for summary in summaries(hostile[0])) == sorted(HOSTILE)


def test_odd_numbers_and_lists_reach_an_experiment(tmp_path: Path, echolab: dict[str, str]) -> None:
    file = tmp_path / "search.toml"
    file.write_text(
        'experiment = "echo"\nmetric = "score"\ndirection = "maximize"\nseeds = [4]\n'
        "[base]\ninner.values = [1, -2.5, 1e-3]\n[grid]\ninner.number = [1e308, 1e-300, -0.0]\n"
    )
    found = hypnet(tmp_path, "search", "run", "search.toml", "--out", "o", **echolab)
    assert found.returncode == 0, found.stderr
    got = summaries(tmp_path)
    assert sorted(summary["number"] for summary in got) == sorted(["1e+308", "1e-300", "-0.0"])
    assert {summary["values"] for summary in got} == {"(1.0, -2.5, 0.001)"}
    assert {summary["score"] for summary in got} == {4.5}


def test_an_option_that_the_experiment_lacks_is_one_line_before_anything_runs(
    tmp_path: Path, echolab: dict[str, str]
) -> None:
    write(
        tmp_path,
        experiment="echo",
        metric="score",
        direction="maximize",
        grid={"inner.tekst": ["a", "b"]},
    )
    found = hypnet(tmp_path, "search", "run", "search.yaml", "--out", "o", **echolab)
    assert found.returncode == 2
    said, error = found.stderr.splitlines()
    assert said == "checking the options of the first trial with echo"
    assert (
        "'echo' refuses the first trial: inner.tekst: there is no such option; did you mean"
        " 'inner.text'?" in error
    )
    assert not list(tmp_path.glob("o/trials/*"))


def test_a_trial_that_the_experiment_refuses_fails_alone_and_says_why(
    tmp_path: Path, echolab: dict[str, str]
) -> None:
    write(
        tmp_path,
        experiment="echo",
        metric="score",
        direction="maximize",
        grid={"inner.number": [1, "two"]},
    )
    found = hypnet(tmp_path, "search", "run", "search.yaml", "--out", "o", **echolab)
    assert found.returncode == 1
    assert 'inner.number: "two" is not possible, expected a number' in found.stderr
    assert found.stderr.splitlines()[-1] == "1 of 2 trials done, 1 failed"


def test_a_search_over_the_main_job_finds_its_best_run(tmp_path: Path) -> None:
    base = {
        "tasks": 2,
        "train.iterations": 10,
        "train.validate_every": 0,
        "log": [],
        "data.name": "split_digits",
    }
    write(
        tmp_path,
        experiment="hypercl",
        metric="validation_accuracy",
        direction="maximize",
        base=base,
        grid={"cl.beta": [0, 0.05], "train.lr": [1e-4, 1e-2]},
        conditions=[{"when": {"cl.beta": 0}, "then": {"train.lr": 1e-2}}],
    )
    found = hypnet(tmp_path, "search", "run", "search.yaml", "--out", "o", "--json")
    assert found.returncode == 0, found.stderr
    status = json.loads(found.stdout)["search"]
    assert (status["total"], status["done"]) == (3, 3)
    best = json.loads(hypnet(tmp_path, "search", "best", "o", "--json").stdout)["trial"]
    assert best["metric"] == max(summary["validation_accuracy"] for summary in summaries(tmp_path))
    config = json.loads(Path(best["directory"], "config.json").read_text())
    assert config["experiment"] == "hypercl"
    assert config["config"]["train"]["lr"] == best["options"]["train.lr"]
    assert config["config"]["cl"]["beta"] == best["options"]["cl.beta"]


def test_seeds_of_a_run_reuse_it(tmp_path: Path, echolab: dict[str, str]) -> None:
    ran = hypnet(tmp_path, "run", "echo", "inner.text=a b", "seed=3", "--out", "first", **echolab)
    assert ran.returncode == 0, ran.stderr
    found = hypnet(
        tmp_path, "search", "seeds", "first", "--metric", "score", "-n", "3", "--json", **echolab
    )
    assert found.returncode == 0, found.stderr
    summary = json.loads(found.stdout)["summary"]
    assert summary["seeds"] == [3, 0, 1]
    assert summary["keys"][0]["values"] == {"3": 3.5, "0": 0.5, "1": 1.5}
    runs = sorted(tmp_path.glob("searches/first-seeds/trials/*/1/run"))
    assert [path.resolve() for path in runs if path.is_symlink()] == [tmp_path / "first"]
    assert {json.loads((path / "summary.json").read_text())["text"] for path in runs} == {"a b"}


def test_the_best_of_a_search_without_seeds_is_one_of_the_seeds(
    tmp_path: Path, echolab: dict[str, str]
) -> None:
    write(
        tmp_path,
        experiment="echo",
        metric="score",
        direction="maximize",
        grid={"inner.text": ["a", "b"]},
    )
    hypnet(tmp_path, "search", "run", "search.yaml", "--out", "o", **echolab)
    best = json.loads(hypnet(tmp_path, "search", "best", "o", "--json", **echolab).stdout)["trial"]
    found = hypnet(tmp_path, "search", "seeds", "o", "-n", "2", "--out", "s", "--json", **echolab)
    assert json.loads(found.stdout)["summary"]["keys"][0]["values"] == {"0": 0.5, "1": 1.5}
    links = [path.resolve() for path in tmp_path.glob("s/trials/*/1/run") if path.is_symlink()]
    assert links == [Path(best["directory"])]


def test_an_exported_configuration_is_what_run_takes(hostile: tuple[Path, dict[str, str]]) -> None:
    tmp_path, echolab = hostile
    table = json.loads(hypnet(tmp_path, "search", "table", "o", "--json", **echolab).stdout)[
        "trials"
    ]
    for number, trial in enumerate(table[:4]):
        exported = hypnet(
            tmp_path,
            "search",
            "export",
            "o",
            "--trial",
            trial["trial"],
            "--to",
            f"{number}.yaml",
            **echolab,
        )
        assert f"hypnet run echo --config {number}.yaml" in exported.stderr
        found = hypnet(
            tmp_path, "run", "echo", "--config", f"{number}.yaml", "--out", f"r{number}", **echolab
        )
        assert found.returncode == 0, found.stderr
        summary = json.loads((tmp_path / f"r{number}" / "summary.json").read_text())
        assert (summary["text"], summary["score"]) == (trial["options"]["inner.text"], 5.5)


def test_an_experiment_is_pruned_by_its_metrics(tmp_path: Path, echolab: dict[str, str]) -> None:
    pytest.importorskip("optuna", minversion="5", reason="pip install 'hypnet-hpsearch[optuna]'")
    slow = EXPERIMENT.replace(
        "        inner = config.inner\n",
        "        inner = config.inner\n        import time\n" + SLOWLY,
    )
    (tmp_path / "site" / "echolab" / "echo.py").write_text(slow)
    write(
        tmp_path,
        experiment="echo",
        metric="score",
        direction="minimize",
        report="loss",
        grid={"inner.number": [1.0, 2.0, 3.0, 4.0]},
        sampler={"name": "GridSampler"},
        pruner={"name": "threshold", "upper": 2.5},
        max_trials=4,
    )
    found = hypnet(tmp_path, "search", "run", "search.yaml", "--out", "o", "--json", **echolab)
    assert found.returncode == 0, found.stderr
    status = json.loads(found.stdout)["search"]
    assert (status["done"], status["pruned"]) == (2, 2)


SLOWLY = """        for step in range(300 if inner.number > 2.5 else 3):
            run.log(step, loss=inner.number)
            time.sleep(0.1)
"""
