"""Output on terminals of any width, in any encoding, and where nobody can read it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.cli.terminal import on_a_terminal

from hypnet_core.cli.tables import Layout

Command = Callable[..., subprocess.CompletedProcess[str]]
HYPNET = str(Path(sys.executable).with_name("hypnet"))
WORDS = st.text(st.characters(categories=["Ll", "Lo"]), min_size=1, max_size=12)
ROWS = st.lists(
    st.tuples(st.text("abc.", min_size=1, max_size=50), WORDS, st.lists(WORDS).map(" ".join)),
    max_size=5,
)


@given(ROWS, st.sampled_from([20, 60, 80, 200]), st.sampled_from([(), ("text",)]))
def test_a_key_is_never_folded(
    rows: list[tuple[str, str, str]], width: int, details: tuple[str, ...]
) -> None:
    layout = Layout(("key", "short", "text"), rows, details=details)
    if layout.fits(width):
        from rich.console import Console

        console = Console(width=width, markup=False, highlight=False, emoji=False)
        with console.capture() as captured:
            console.print(layout.table())
        lines = captured.get().splitlines()
    else:
        lines = [line for line, _ in layout.lines(width)]
    for key, _, _ in rows:
        assert any(line.startswith(key) for line in lines)
    printed = re.sub(r"\s", "", "".join(lines))
    for row in rows:
        for word in row[1].split():
            assert word in printed


def test_a_narrow_row_is_two_lines() -> None:
    rows = [("train.lr", "float", "How fast it learns, in units of nothing.")]
    layout = Layout(("option", "type", "description"), rows, details=("description",))
    assert not layout.fits(50)
    assert list(layout.lines(50)) == [
        ("option    type", True),
        ("    description", True),
        ("train.lr  float", False),
        ("    How fast it learns, in units of nothing.", False),
    ]
    assert layout.fits(80)


def lines_on_a_terminal(width: int, *arguments: str, lab: Path) -> list[str]:
    """The lines that the command prints on a terminal of a certain width."""
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    env |= {"PYTHONPATH": str(lab), "HYPNET_PLUGINS": "lab", "TERM": "xterm"}
    text = on_a_terminal([HYPNET, *arguments], env, width=width)
    return re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r", "").splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_command_keeps_to_the_width_and_its_names_whole(lab: Path, width: int) -> None:
    lines = lines_on_a_terminal(width, "list", lab=lab)
    assert max(map(len, lines)) <= width
    assert {"pairs", "tiny", "linear", "bare", "count"} <= set(" ".join(lines).split())
    if width == 40:
        assert "    A small network." in lines
    options = lines_on_a_terminal(width, "show", "count", lab=lab)
    assert {"train.steps", "train.rate"} <= set(" ".join(options).split())


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-16"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "count", "note=ü€😀", "--print-config"],
        ["show", "ü€"],
        ["list", "--json"],
        ["--help"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_any_encoding_of_the_output_will_do(
    hypnet_process: Command, lab: Path, encoding: str, arguments: list[str]
) -> None:
    env = {**os.environ, "PYTHONPATH": str(lab), "HYPNET_PLUGINS": "lab"}
    env["PYTHONIOENCODING"] = encoding
    done = subprocess.run([HYPNET, *arguments], env=env, capture_output=True, check=False)
    # Click takes ASCII for a mistake and writes UTF-8.
    errors = done.stderr.decode("utf-8" if encoding == "ascii" else encoding)
    assert "Traceback" not in errors
    assert "unforeseen" not in errors
    assert done.returncode == (2 if arguments[0] == "show" else 0)
    if arguments[0] == "list":
        json.loads(done.stdout.decode(encoding))


def test_what_an_encoding_lacks_is_escaped_so_that_it_is_read_back(
    lab: Path, hypnet: Command, tmp_path: Path
) -> None:
    env = {**os.environ, "PYTHONPATH": str(lab), "HYPNET_PLUGINS": "lab"}
    env["PYTHONIOENCODING"] = "ascii"
    command = [HYPNET, "run", "count", "note=ü€😀"]
    printed = subprocess.run([*command, "--print-config"], env=env, capture_output=True, check=True)
    (tmp_path / "c.yaml").write_bytes(printed.stdout)
    again = hypnet("run", "count", "--config", "c.yaml", "--print-config", "--json")
    assert json.loads(again.stdout)["config"]["note"] == "ü€😀"
    as_json = subprocess.run(
        [*command, "--print-config", "--json"], env=env, capture_output=True, check=True
    )
    assert json.loads(as_json.stdout)["config"]["note"] == "ü€😀"


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", "<&-", ">/dev/full 2>/dev/full"])
@pytest.mark.parametrize("arguments", ["list", "show count --json", "nonsense"])
def test_output_that_leads_nowhere_gives_no_traceback(
    lab: Path, tmp_path: Path, streams: str, arguments: str
) -> None:
    env = {**os.environ, "PYTHONPATH": str(lab), "HYPNET_PLUGINS": "lab"}
    script = f"{HYPNET} {arguments} {streams}"
    done = subprocess.run(
        ["bash", "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    wrong = arguments == "nonsense"
    assert done.returncode == (2 if wrong else 1 if "full" in streams else 0)
