"""Components by import string, from the working directory too."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]

CODE = '''
import torch
from pydantic import BaseModel
from hypnet_core import Split, Task, TaskSpec

def halves(*, size: int = 4):
    """Two halves.

    Args:
        size: Samples.
    """
    split = Split.of(torch.randn(size, 3), torch.arange(size) % 2)
    shapes = {"in_shape": (3,), "out_shape": (2,)}
    return Task(TaskSpec(name="t", kind="classification", **shapes), split, split)

class Net(torch.nn.Linear):
    """A linear network."""
    def __init__(self, in_shape, out_features, *, bias: bool = True):
        super().__init__(in_shape[0], out_features, bias=bias)

def positional(size: int = 4):
    pass

class Sum:
    class Config(BaseModel):
        a: int = 1

    def run(self, config, run):
        return {"sum": config.a + 1}
'''


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """A folder with a module of the user's."""
    (tmp_path / "my_own_parts.py").write_text(CODE)
    yield tmp_path
    sys.modules.pop("my_own_parts", None)


INSPECT = ("inspect", "--mainnet", "my_own_parts:Net", "--hypernet", "linear", "--json")


@pytest.mark.usefixtures("here")
def test_any_kind_is_found_in_the_working_directory(lab: Path, hypnet: Command) -> None:
    before = list(sys.path)
    done = hypnet(*INSPECT, "--dataset", "my_own_parts:halves", "dataset.size=6")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["in_shape"], document["generated"]) == ([3], 8)
    assert document["mainnet"] == {"name": "my_own_parts:Net", "bias": True}
    shown = hypnet("show", "my_own_parts:halves", "--kind", "dataset").stdout
    assert "plugin   none: found by its import string" in shown
    assert "Samples." in shown
    assert hypnet("check", "my_own_parts:Net", "--kind", "mainnet").returncode == 1, (
        "no description"
    )
    for command in ("show", "check"):
        done = hypnet(command, "my_own_parts:Net")
        assert "is an import string: say of which kind it is (--kind)" in done.stderr
    assert sys.path == before


def test_an_experiment_resumes_from_another_directory(here: Path, hypnet: Command) -> None:
    done = hypnet("run", "my_own_parts:Sum", "a=4", "--out", "run")
    assert done.returncode == 0, done.stderr
    assert json.loads((here / "run" / "summary.json").read_text()) == {"sum": 5}
    (here / "run" / "summary.json").unlink()
    (here / "elsewhere").mkdir()
    sys.modules.pop("my_own_parts")
    done = hypnet("run", "--resume", here / "run", cwd=here / "elsewhere")
    assert done.returncode == 0, done.stderr
    assert json.loads((here / "run" / "summary.json").read_text()) == {"sum": 5}


def test_the_working_directory_shadows_nothing(here: Path, hypnet_process: Command) -> None:
    for name in ("torch", "hypnet_core", "json", "stranger_lab"):
        (here / f"{name}.py").write_text("raise RuntimeError('the wrong one')\n")
    (here / "evil.egg-info").mkdir()
    (here / "evil.egg-info" / "entry_points.txt").write_text("[hypnet]\nevil = evil\n")
    (here / "evil.egg-info" / "PKG-INFO").write_text("Name: evil\nVersion: 1\n")
    done = hypnet_process("plugins", plugins=None)
    assert (done.returncode, done.stderr) == (0, "")
    assert "evil" not in done.stdout


@pytest.mark.usefixtures("here", "lab")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_own_parts:Nett", "my_own_parts has no 'Nett'; did you mean 'Net'?"),
        ("my_own_part:Net", "there is no plugin or module 'my_own_part'"),
        ("labb:tiny", "there is no plugin or module 'labb'; did you mean 'lab'?"),
        ("lab:tinny", "there is no mainnet 'lab:tinny'; did you mean 'tiny'?"),
        (
            "my_own_parts:positional",
            "it must take (in_shape, out_features, *, options), takes",
        ),
        ("my_own_parts.x:Net", "cannot import my_own_parts.x"),
    ],
)
def test_a_wrong_import_string_is_one_line(hypnet: Command, name: str, message: str) -> None:
    done = hypnet("inspect", "--mainnet", name, "--hypernet", "linear", "--in-shape", "3")
    assert done.returncode in {1, 2}
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
