"""Tab completion in real shells: bash, zsh and fish."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
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

DEEP = """
def deep(in_shape, out_features, *, depth: int = 2):
    return None

@hookimpl
def hypnet_components():
    return [
        Component.experiment("net", "stranger_net:Net", "Chooses a network."),
        Component.mainnet("deep", "stranger_net:deep", "A deep network."),
    ]
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


def typed(shell: str, keys: str, added: str, home: Path, site: Path) -> str:
    """The words of the line after keys and Tab in a new, interactive shell."""
    env = {**os.environ, "HOME": str(home), "PYTHONPATH": str(site), "HYPNET_PLUGINS": "lab,net"}
    env |= {"PATH": f"{BIN}{os.pathsep}{env['PATH']}", "TERM": "xterm", "PS1": "> "}
    env.pop("ZDOTDIR", None)
    words = {"bash": ["bash", "--noprofile", "-i"], "zsh": ["zsh", "-i"]}[shell]
    child, terminal = pty.fork()
    if not child:
        os.chdir(home)
        os.execvpe(words[0], words, env)
    try:
        # Quotes, so that the echo of the line is not taken for its result.
        os.write(terminal, b"echo rea''dy\r")
        heard(terminal, b"ready\r")
        os.write(terminal, keys.encode() + b"\t")
        heard(terminal, added.encode())
        # From the start of the line: print its words instead of running them.
        os.write(terminal, b"\x01printf '%s|' \x05 > typed; echo do''ne\r")
        heard(terminal, b"done\r")
    finally:
        os.kill(child, signal.SIGKILL)
        os.close(terminal)
        os.waitpid(child, 0)
    return (home / "typed").read_text()


def heard(terminal: int, mark: bytes) -> None:
    """Wait until a terminal prints something."""
    text, end = b"", time.monotonic() + 30
    while mark not in text:
        if select.select([terminal], [], [], 0.05)[0]:
            text += os.read(terminal, 65536)
        assert time.monotonic() < end, text.decode(errors="replace")


LINES = [
    ("hypnet sh", "ow", "hypnet|show|"),
    ("hypnet run net chosen.w", "idth=", "hypnet|run|net|chosen.width=|"),
    ("hypnet run net seed=1 mode.kind=q", "uick", "hypnet|run|net|seed=1|mode.kind=quick|"),
]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_at_the_first_tab(
    shell: str, tmp_path: Path, site: Path, install: Callable[..., Path]
) -> None:
    """Each line in a session of its own."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    install("net", NET)
    (tmp_path / ".zshrc").touch()
    out = in_shell(shell, "hypnet --install-completion; true", tmp_path, site)
    assert f"{shell} completion installed in" in out
    for keys, added, expected in LINES:
        assert typed(shell, keys, added, tmp_path, site) == expected


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes_after_installation(
    tmp_path: Path, site: Path, install: Callable[..., Path]
) -> None:
    install("net", NET)
    in_shell("fish", "hypnet --install-completion; true", tmp_path, site)
    for keys, _, expected in LINES:
        script = f"set -x HYPNET_PLUGINS lab,net; complete -C '{keys}'"
        lines = in_shell("fish", script, tmp_path, site).splitlines()
        assert [line.partition("\t")[0] for line in lines] == [expected.split("|")[-2]]


def test_bash_lists_names(tmp_path: Path, site: Path) -> None:
    in_shell("bash", "hypnet --install-completion; true", tmp_path, site)
    script = (
        "source ~/.bashrc\nfunction=$(complete -p hypnet | sed 's/.*-F \\([^ ]*\\).*/\\1/')\ntry()"
        " { COMP_LINE=$1; COMP_POINT=${#1}; COMPREPLY=(); $function hypnet; echo"
        ' "${COMPREPLY[@]}"; }\ntry "hypnet show ti"; try "hypnet run "; try "hypnet list main";'
        ' try "hypnet inspect --mainnet "; try "hypnet check li"\n'
    )
    lines = in_shell("bash", script, tmp_path, site).splitlines()
    assert lines == ["tiny", "bare count", "mainnet", "tiny", "linear"]


COOK = """
    from hypnet_core import Component, hookimpl

    @hookimpl
    def hypnet_components():
        return Component.recipes("stranger_menu")
"""


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("gr", ["gravy"]),
        ("gravy ch", ["chosen=", "chosen."]),
        ("gravy chosen.", ["chosen.depth=", "chosen.name="]),
        ("gravy chosen.name=tiny chosen.", ["chosen.width=", "chosen.name="]),
        ("gravy mode.kind=", ["mode.kind=slow", "mode.kind=quick"]),
        ("broth ch", []),
    ],
)
def test_recipes_are_completed_with_the_options_of_their_experiment(
    hypnet: Command, install: Callable[..., Path], site: Path, typed: str, expected: list[str]
) -> None:
    """The components that a recipe chooses are those whose options are completed."""
    install("net", NET + DEEP)
    install("cook", COOK)
    (site / "stranger_menu").mkdir()
    text = 'summary = "S."\nexperiment = "net"\n[options]\nchosen = {name = "deep", depth = 3}\n'
    (site / "stranger_menu" / "gravy.toml").write_text(text)
    (site / "stranger_menu" / "broth.toml").write_text(text.replace('"net"', '"nett"'))
    done = hypnet(
        plugins="lab,net,cook",
        _HYPNET_COMPLETE="complete_fish",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
        _TYPER_COMPLETE_ARGS=f"hypnet run {typed}",
    )
    assert [line.partition("\t")[0] for line in done.stdout.split("\n") if line] == expected


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


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("count tr", ["train.steps=", "train.rate="]),
        ("count seed=1 fail=", []),
        ("count nothing.", []),
        ("unknown tr", []),
        ("net ch", ["chosen=", "chosen."]),
        ("net chosen=", ["chosen=tiny"]),
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


def test_options_come_from_a_file_without_loading_the_component(
    tmp_path: Path, site: Path, install: Callable[..., Path]
) -> None:
    """Until a module of the package changes."""
    install("net", NET)
    module = site / "stranger_net.py"
    code = (
        "import sys\nfrom hypnet_core.cli import main\ntry:\n    main()\nfinally:\n"
        "    print('stranger_net' in sys.modules, file=sys.stderr)"
    )
    env = {**os.environ, "PYTHONPATH": str(site), "HYPNET_PLUGINS": "net"}
    env |= {"XDG_CACHE_HOME": str(tmp_path), "_HYPNET_COMPLETE": "complete_bash"}
    env |= {"COMP_WORDS": "hypnet run net mode.", "COMP_CWORD": "3"}

    def ask() -> tuple[str, str]:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        return done.stdout.strip(), done.stderr.strip()

    install("lazy", NET)
    point = site / "dist_net-1.0.dist-info" / "entry_points.txt"
    point.write_text("[hypnet]\nnet = stranger_lazy\n")  # the plugin itself is light
    assert ask() == ("mode.kind=", "True")
    assert ask() == ("mode.kind=", "False")
    module.write_text(module.read_text().replace("kind:", "sort:"))
    assert ask() == ("mode.sort=", "True")
    assert len(list((tmp_path / "hypnet" / "options").iterdir())) == 1


def test_a_broken_plugin_does_not_disturb_completion(
    tmp_path: Path, site: Path, install: Callable[..., Path]
) -> None:
    install("bad", "raise RuntimeError")
    ask = (
        "HYPNET_PLUGINS=lab,bad _HYPNET_COMPLETE=complete_bash COMP_WORDS='hypnet show t'"
        " COMP_CWORD=2 hypnet 2>&1"
    )
    assert in_shell("bash", ask, tmp_path, site) == "tiny\n"
