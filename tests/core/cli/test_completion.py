"""Tab completion in bash and zsh, with the names of components."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

Command: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]
BIN = Path(sys.executable).parent

NET = """
from typing import Literal
from pydantic import BaseModel
from hypnet_core.plugins import Component, MainnetChoice, hookimpl

@hookimpl
def hypnet_components():
    return [Component.experiment("net", "stranger_net:Net", "Chooses a network.")]

class Mode(BaseModel):
    kind: Literal["slow", "quick"] = "slow"

class Config(BaseModel):
    chosen: MainnetChoice = MainnetChoice.default("tiny")
    mode: Mode = Mode()
    loud: bool = False

class Net:
    Config = Config

    def run(self, config, run):
        return {}
"""

pytestmark = pytest.mark.usefixtures("lab")


def in_shell(shell: str, script: str, home: Path, site: Path) -> str:
    """The output of a script in a shell with a home of its own."""
    env = {**os.environ, "HOME": str(home), "PYTHONPATH": str(site), "HYPNET_PLUGINS": "lab"}
    env["PATH"] = f"{BIN}{os.pathsep}{env['PATH']}"
    env.pop("ZDOTDIR", None)
    done = subprocess.run(
        [shell, "-c", script], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bash_completes_after_installation(tmp_path: Path, site: Path) -> None:
    out = in_shell("bash", "hypnet --install-completion; true", tmp_path, site)
    assert "bash completion installed in" in out
    script = (
        "source ~/.bashrc\nfunction=$(complete -p hypnet | sed 's/.*-F \\([^ ]*\\).*/\\1/')\ntry()"
        ' { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); $function hypnet; echo'
        " \"${COMPREPLY[@]}\"; }\ntry hypnet sh; try hypnet show ti; try hypnet run ''; try hypnet"
        " list main; try hypnet inspect --mainnet ''; try hypnet check li\n"
    )
    lines = in_shell("bash", script, tmp_path, site).splitlines()
    assert lines == ["show", "tiny", "bare count", "mainnet", "tiny", "linear"]


def test_installing_twice_changes_nothing_more(tmp_path: Path, site: Path) -> None:
    for _ in range(2):
        in_shell("bash", "hypnet --install-completion; true", tmp_path, site)
    assert (tmp_path / ".bashrc").read_text().count("hypnet") == 1


def test_zsh_gets_its_function(tmp_path: Path, site: Path) -> None:
    variables = "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION=1 "
    in_shell("bash", f"{variables} hypnet --install-completion zsh", tmp_path, site)
    assert "#compdef hypnet" in (tmp_path / ".zfunc" / "_hypnet").read_text()
    assert "fpath+=~/.zfunc" in (tmp_path / ".zshrc").read_text()
    ask = "_HYPNET_COMPLETE=complete_zsh _TYPER_COMPLETE_ARGS='hypnet show t' hypnet"
    assert '"tiny":"A small network."' in in_shell("bash", ask, tmp_path, site)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_loads_its_function(tmp_path: Path, site: Path) -> None:
    out = in_shell("zsh", "hypnet --install-completion; true", tmp_path, site)
    assert "zsh completion installed in" in out
    assert "_hypnet" in in_shell("zsh", "source ~/.zshrc; echo $_comps[hypnet]", tmp_path, site)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("count tr", ["train.steps=", "train.rate="]),
        ("count seed=1 fail=", []),
        ("count nothing.", []),
        ("unknown tr", []),
        ("net ch", ["chosen.name="]),
        ("net chosen.", ["chosen.width=", "chosen.name="]),
        ("net chosen.name=t", ["chosen.name=tiny"]),
        ("net chosen.name=tiny chosen.w", ["chosen.width="]),
        ("net chosen.name=unknown chosen.w", []),
        ("net mode.k", ["mode.kind="]),
        ("net mode.kind=", ["mode.kind=slow", "mode.kind=quick"]),
        ("net mode.kind=q", ["mode.kind=quick"]),
        ("net loud=", ["loud=true", "loud=false"]),
    ],
)
def test_options_are_completed_with_those_of_groups_and_chosen_components(
    hypnet: Command, install: Callable[..., Path], typed: str, expected: list[str]
) -> None:
    install("net", NET)
    done = hypnet(
        plugins="lab,net",
        _HYPNET_COMPLETE="complete_fish",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
        _TYPER_COMPLETE_ARGS=f"hypnet run {typed}",
    )
    assert [line.partition("\t")[0] for line in done.stdout.split("\n") if line] == expected


def test_a_broken_plugin_does_not_disturb_completion(
    tmp_path: Path, site: Path, install: Callable[..., Path]
) -> None:
    install("bad", "raise RuntimeError")
    ask = (
        "HYPNET_PLUGINS=lab,bad _HYPNET_COMPLETE=complete_bash COMP_WORDS='hypnet show t'"
        " COMP_CWORD=2 hypnet 2>&1"
    )
    assert in_shell("bash", ask, tmp_path, site) == "tiny\n"
