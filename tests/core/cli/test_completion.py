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


def test_a_broken_plugin_does_not_disturb_completion(
    tmp_path: Path, site: Path, install: Callable[..., Path]
) -> None:
    install("bad", "raise RuntimeError")
    ask = (
        "HYPNET_PLUGINS=lab,bad _HYPNET_COMPLETE=complete_bash COMP_WORDS='hypnet show t'"
        " COMP_CWORD=2 hypnet 2>&1"
    )
    assert in_shell("bash", ask, tmp_path, site) == "tiny\n"
