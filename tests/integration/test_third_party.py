"""A third-party plugin, installed from a wheel beside hypnet-core alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from hypnet_core import __version__

MYLAB = Path(__file__).parent / "third_party" / "mylab"

Program: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]
"""Runs a program of the fresh environment with hypnet-core and mylab."""

pytestmark = pytest.mark.packaging


def test_only_the_wheels_are_imported(installed: Program, tmp_path: Path) -> None:
    code = (
        "import hypnet_core, mylab_nets, importlib.util as u; print(hypnet_core.__file__,"
        " mylab_nets.__file__, u.find_spec('hypnet_zoo'))"
    )
    done = installed("python", "-c", code, cwd=tmp_path)
    core, mylab, zoo = done.stdout.split()
    environment = installed("python", "-c", "import sys; print(sys.prefix)").stdout.strip()
    assert Path(core).is_relative_to(environment)
    assert Path(mylab).is_relative_to(environment)
    assert zoo == "None"


def test_its_components_are_listed_and_nothing_else(installed: Program) -> None:
    done = installed("hypnet", "list", "--json")
    assert done.stderr == ""
    listed = {(c["kind"], c["full_name"]) for c in json.loads(done.stdout)["components"]}
    assert listed == {
        ("dataset", "mylab:stripes"),
        ("mainnet", "mylab:tinynet"),
        ("hypernet", "mylab:linear"),
        *(
            ("logger", f"core:{name}")
            for name in ("csv", "jsonl", "mlflow", "tensorboard", "wandb")
        ),
        ("method", "mylab:nearest_mean"),
        ("scheduler", "mylab:plain"),
        ("experiment", "mylab:memorize"),
        ("recipe", "mylab:stripes_by_heart"),
    }


def test_the_plugin_is_listed_with_its_distribution(installed: Program) -> None:
    done = installed("hypnet", "plugins", "--json")
    core, plugin = json.loads(done.stdout)["plugins"]
    assert (core["name"], core["distribution"]) == ("core", "hypnet-core")
    assert (plugin["name"], plugin["distribution"], plugin["version"], plugin["status"]) == (
        "mylab",
        "mylab-nets",
        "1.2.0",
        "ok",
    )


def test_a_component_is_shown_with_its_options_and_where_it_is_defined(installed: Program) -> None:
    done = installed("hypnet", "show", "tinynet")
    assert done.returncode == 0, done.stderr
    assert "width" in done.stdout
    assert "Number of hidden units." in done.stdout
    assert "mylab-nets 1.2.0" in done.stdout
    assert "mylab_nets/tiny.py:" in done.stdout


@pytest.mark.parametrize(
    "name",
    ["stripes", "tinynet", "linear", "nearest_mean", "plain", "memorize", "stripes_by_heart"],
)
def test_a_component_passes_the_conformance_kit(installed: Program, name: str) -> None:
    done = installed("hypnet", "check", name, "--json")
    report = json.loads(done.stdout)
    assert [r for r in report["results"] if r["outcome"] == "failed"] == []
    assert done.returncode == 0
    assert len(report["results"]) > 8


def test_the_pair_is_inspected(installed: Program) -> None:
    arguments = (
        "inspect",
        "--mainnet",
        "tinynet",
        "--hypernet",
        "linear",
        "--dataset",
        "stripes",
        "mainnet.width=3",
        "--json",
    )
    done = installed("hypnet", *arguments)
    document = json.loads(done.stdout)
    generated = 2 * 3 + 3 + 3 * 2 + 2
    assert document["generated"] == generated
    assert document["conditional"] == 8
    assert document["unconditional"] == (8 + 1) * generated
    assert document["compression"] == pytest.approx((8 + 9 * generated) / generated)


def test_the_experiment_runs_and_its_directory_is_the_last_line(
    installed: Program, tmp_path: Path
) -> None:
    done = installed(
        "hypnet", "run", "memorize", "steps=150", "mnet.width=16", "--seed", "1", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    directory = tmp_path / done.stdout.splitlines()[-1]
    assert json.loads((directory / "summary.json").read_text())["accuracy"] > 0.9
    written = json.loads((directory / "config.json").read_text())
    assert written["experiment"] == "memorize"
    assert written["plugins"] == {"core": __version__, "mylab": "1.2.0"}
    assert (
        written["config"]["seed"],
        written["config"]["mnet"]["width"],
        written["config"]["mnet"]["bias"],
    ) == (1, 16, True)


def test_its_recipe_comes_out(installed: Program, tmp_path: Path) -> None:
    arguments = ("check", "stripes_by_heart", "--seeds", "2", "--json")
    done = installed("hypnet", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (figure,) = json.loads(done.stdout)["figures"]
    assert figure["verdict"] == "met"
    assert len(figure["values"]) == 2


def test_its_sub_command_is_there(installed: Program) -> None:
    assert "mylab" in installed("hypnet", "--help").stdout
    done = installed("hypnet", "mylab", "count", "tinynet")
    assert done.stdout == f"{2 * 8 + 8 + 8 * 2 + 2}\n"


def test_a_missing_package_of_ours_is_named(installed: Program) -> None:
    done = installed("hypnet", "run", "memorize", "data=split_digits", "--dry-run")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "hypnet-data" in done.stderr


def test_the_whole_kit_runs_in_three_lines_of_pytest(installed: Program, tmp_path: Path) -> None:
    lines = [
        line for line in (MYLAB / "tests" / "test_conformance.py").read_text().splitlines() if line
    ]
    assert len(lines) <= 3
    shutil.copy(MYLAB / "tests" / "test_conformance.py", tmp_path)
    done = installed(
        "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert " failed" not in done.stdout
    assert int(done.stdout.splitlines()[-1].split(" passed")[0].split()[-1]) > 40


def test_this_interpreter_does_not_know_the_stranger() -> None:
    """Nothing of this environment leaks into the fresh one."""
    assert not any("mylab" in str(path) for path in sys.path)
