"""The command as a whole: exit codes, messages, streams, and lazy imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from pydantic import BaseModel
from tests.core.cli.terminal import on_a_terminal

import hypnet_core
from hypnet_core.cli import schemas
from hypnet_core.recipes import Figure
from hypnet_core.testing.kit import CheckResult

Command: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]
HYPNET = Path(sys.executable).with_name("hypnet")

pytestmark = pytest.mark.usefixtures("lab")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["list"],
        ["list", "--json"],
        ["list", "mainnet", "t*"],
        ["plugins"],
        ["plugins", "-v"],
        ["list", "--help"],
        ["show", "--help"],
        ["plugins", "--help"],
        ["inspect", "--help"],
        ["check", "--help"],
        ["run", "--help"],
        ["lst"],
        [],
    ],
)
def test_neither_torch_nor_numpy_is_imported(lab: Path, arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from hypnet_core.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'sklearn', 'torchvision'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(lab), "HYPNET_PLUGINS": "lab"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_all_sub_commands_of_ours_are_in_the_help(hypnet: Command) -> None:
    done = hypnet("--help")
    assert done.returncode == 0
    for name in ("list", "show", "plugins", "inspect", "check", "run", "checkpoints"):
        assert name in done.stdout


@pytest.mark.parametrize(
    "name", ["list", "show", "plugins", "inspect", "check", "run", "checkpoints"]
)
def test_every_sub_command_has_help_and_the_common_flags(hypnet: Command, name: str) -> None:
    done = hypnet(name, "--help")
    assert done.returncode == 0
    for flag in ("--json", "--quiet", "--verbose", "--debug"):
        assert flag in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["show", "tiny"],
        ["plugins"],
        ["inspect", "--mainnet", "tiny", "--hypernet", "linear", "--dataset", "pairs"],
        ["check", "tiny", "width=0"],
        ["run", "count", "--out", "here"],
        ["run", "cuont"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_process_prints_what_the_tests_see_in_theirs(
    hypnet: Command, hypnet_process: Command, tmp_path: Path, arguments: list[str]
) -> None:
    """Other tests run the command inside their own process; here both must agree."""
    results = []
    for run, name in ((hypnet_process, "real"), (hypnet, "inside")):
        (tmp_path / name).mkdir()
        done = run(*arguments, cwd=tmp_path / name)
        results.append((done.returncode, done.stdout, done.stderr))
    assert results[0] == results[1]


def test_the_version_is_that_of_the_core(hypnet: Command) -> None:
    assert hypnet("--version").stdout == f"hypnet {hypnet_core.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lits"], "there is no command 'lits'; did you mean 'list'"),
        (["list", "mainnest"], "there is no kind 'mainnest'; did you mean 'mainnet'?"),
        (["list", "--foo"], "No such option: --foo"),
        (["show"], "Missing argument 'name'"),
        (["show", "tinny"], "there is no component 'tinny'; did you mean 'tiny'?"),
        (
            ["show", "count", "--kind", "mainnet"],
            "there is no mainnet 'count'; 'count' is an experiment",
        ),
        (["check", "tiny", "width"], "'width' is not an override: write key=value"),
        (["inspect", "--mainnet", "tiny"], "Missing option '--hypernet'"),
        (["run"], "which experiment? hypnet run EXPERIMENT [key=value]...; there is: bare, count"),
        (["run", "cuont"], "there is no experiment or recipe 'cuont'; did you mean 'count'?"),
        (["run", "count", "--seed", "x"], "Invalid value for '--seed'"),
        (["run", "bare", "--seed", "1"], "--seed: the experiment 'bare' has no option 'seed'"),
        (
            ["run", "count", "--device", "cpu"],
            "--device: the experiment 'count' has no option 'device'",
        ),
        (
            ["run", "count", "train.stesp=3"],
            "train.stesp: there is no such option; did you mean 'train.steps'?",
        ),
        (
            ["run", "count", "--config", "nope.yaml"],
            "nope.yaml: cannot be read: No such file or directory",
        ),
    ],
)
def test_wrong_usage_is_one_line_on_stderr_and_exit_code_2(
    hypnet: Command, arguments: list[str], message: str
) -> None:
    done = hypnet(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"hypnet: {message}")


def test_without_arguments_the_help_is_shown(hypnet: Command) -> None:
    done = hypnet()
    assert (done.returncode, done.stderr) == (2, "")
    assert "Usage: hypnet" in done.stdout


def test_a_failure_is_one_line_and_exit_code_1(hypnet: Command) -> None:
    done = hypnet("run", "count", "fail=diverge", "-q")
    assert done.returncode == 1
    assert done.stderr == "hypnet: the loss became NaN at step 3\n"


def test_a_traceback_is_shown_with_debug_alone(hypnet: Command) -> None:
    done = hypnet("run", "count", "fail=bug", "-q")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == "hypnet: ZeroDivisionError: oh (unforeseen; --debug shows where)"
    for arguments in (
        ["--debug", "run", "count", "fail=bug", "-q"],
        ["run", "count", "fail=bug", "-q", "--debug"],
    ):
        assert "Traceback (most recent call last)" in hypnet(*arguments).stderr


def test_data_goes_to_stdout_and_logs_to_stderr(hypnet: Command) -> None:
    done = hypnet("run", "count")
    assert done.stdout.splitlines()[0] == "counted to 3"
    assert "counting" in done.stderr
    assert "warning: a stranger's warning" in done.stderr
    assert "chatter" not in done.stderr
    assert "starting to count" not in done.stderr
    assert "starting to count" in hypnet("run", "count", "-v", "--out", "a").stderr
    assert "starting to count" in hypnet("-v", "run", "count", "--out", "b").stderr
    assert hypnet("run", "count", "-q", "--out", "c").stderr == ""


def test_a_reader_that_goes_away_is_no_error_worth_a_word(hypnet: Command, lab: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(lab)}
    command = f"set -o pipefail; {HYPNET} list --json | head -c 5"
    done = subprocess.run(
        ["bash", "-c", command], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout == '{\n  "'
    assert done.stderr == ""


def test_a_full_disk_behind_stdout_is_one_line(lab: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(lab)}
    command = f"{HYPNET} list --json > /dev/full"
    done = subprocess.run(
        ["bash", "-c", command], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == "hypnet: No space left on device"


def printed(*arguments: str, lab: Path) -> str:
    """The output of the command on a terminal of 100 columns."""
    env = {"PYTHONPATH": str(lab), "HYPNET_PLUGINS": "lab", "COLUMNS": "100", "TERM": "dumb"}
    return on_a_terminal([HYPNET, *arguments], os.environ | env)


def test_a_person_gets_a_table_and_a_pipe_bare_names(hypnet: Command, lab: Path) -> None:
    table = printed("list", lab=lab)
    assert "summary" in table.splitlines()[0]
    assert "A small network." in table
    kinds = ("dataset", "mainnet", "hypernet", "experiment", "experiment")
    names = ("pairs", "tiny", "linear", "bare", "count")
    assert hypnet("list").stdout.splitlines() == [
        f"{kind}\t{name}" for kind, name in zip(kinds, names, strict=True)
    ]
    assert "status" in printed("plugins", lab=lab).splitlines()[0]


def test_list_takes_a_kind_and_a_glob(hypnet: Command) -> None:
    assert hypnet("list", "mainnet").stdout == "tiny\n"
    assert hypnet("list", "mainnets", "t?ny").stdout == "tiny\n"
    assert hypnet("list", "*in*").stdout == "mainnet\ttiny\nhypernet\tlinear\n"
    assert hypnet("list", "mainnet", "x*").stdout == ""


def test_show_tells_options_provider_and_place(hypnet: Command) -> None:
    text = hypnet("show", "tiny").stdout
    for part in (
        "mainnet tiny: A small network.",
        "lab (dist-lab 1.0)",
        "stranger_lab_parts.py:",
        "width",
        "int",
        "4",
        "Number of hidden",
    ):
        assert part in text
    assert "It has no options." in hypnet("show", "bare").stdout


def test_show_unfolds_the_options_of_an_experiment(hypnet: Command) -> None:
    options = {
        option["key"]: option
        for option in json.loads(hypnet("show", "count", "--json").stdout)["options"]
    }
    assert list(options) == ["train.steps", "train.rate", "seed", "fail", "note"]
    assert options["train.rate"] == {
        "key": "train.rate",
        "type": "float",
        "required": False,
        "default": 0.5,
        "description": "How fast.",
    }


DOCUMENTS = {
    "list": (["list", "--json"], schemas.ListDocument),
    "show": (["show", "tiny", "--json"], schemas.ShowDocument),
    "plugins": (["plugins", "--json"], schemas.PluginsDocument),
    "inspect": (
        ["inspect", "--mainnet", "tiny", "--hypernet", "linear", "--dataset", "pairs", "--json"],
        schemas.InspectDocument,
    ),
    "check": (["check", "bare", "--json"], schemas.CheckDocument),
    "run": (["run", "count", "--json", "-q"], schemas.RunDocument),
    "checkpoints": (["checkpoints", ".", "--json"], schemas.CheckpointsDocument),
}


@pytest.mark.parametrize(("arguments", "document"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_json_is_what_its_schema_says(
    hypnet: Command, arguments: list[str], document: type[schemas.Document]
) -> None:
    text = hypnet(*arguments).stdout
    printed = json.loads(text)
    assert printed["schema"] == f"hypnet.{arguments[0]}/1"
    assert document.model_validate(printed).model_dump(mode="json", by_alias=True) == printed


@pytest.mark.parametrize(
    "document", [document for _, document in DOCUMENTS.values()], ids=DOCUMENTS
)
def test_every_field_of_the_json_is_documented(document: type[schemas.Document]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "command.md").read_text(encoding="utf-8")
    section = page.partition(f"### `{document.model_fields['schema_'].default}`")[2].partition(
        "\n### "
    )[0]
    for name, field in document.model_fields.items():
        assert f"| `{field.alias or name}` |" in section


@pytest.mark.parametrize(
    "document",
    [
        schemas.ComponentDocument,
        schemas.OptionDocument,
        schemas.PluginDocument,
        schemas.TargetDocument,
        schemas.CheckpointDocument,
        CheckResult,
        Figure,
    ],
)
def test_every_field_of_their_parts_is_documented(document: type[BaseModel]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "command.md").read_text(encoding="utf-8")
    for name in document.model_fields:
        assert f"| `{name}` |" in page
