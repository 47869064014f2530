"""`hypnet inspect` counts as torch does; `hypnet check` fails with the component."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

Command: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.usefixtures("lab")
PAIR = ("inspect", "--mainnet", "tiny", "--hypernet", "linear")


def test_the_numbers_are_those_of_the_formulas(hypnet: Command) -> None:
    arguments = (
        "--in-shape",
        "3",
        "--out",
        "2",
        "--conditions",
        "5",
        "--embedding-size",
        "6",
        "mainnet.width=7",
        "hypernet.bias=false",
    )
    document = json.loads(hypnet(*PAIR, *arguments, "--json").stdout)
    generated = 3 * 7 + 7 + 7 * 2 + 2
    assert [(tensor["name"], tensor["shape"], tensor["kind"]) for tensor in document["target"]] == [
        ("inner.weight", [7, 3], "weight"),
        ("inner.bias", [7], "bias"),
        ("outer.weight", [2, 7], "weight"),
        ("outer.bias", [2], "bias"),
    ]
    assert (document["generated"], document["own"]) == (generated, 0)
    assert (document["conditional"], document["unconditional"]) == (5 * 6, 6 * generated)
    assert document["compression"] == pytest.approx((30 + 6 * generated) / generated)
    assert document["mainnet"] == {"name": "tiny", "width": 7}


def test_a_part_of_the_parameters_may_be_generated(hypnet: Command) -> None:
    chosen = (
        "--in-shape",
        "3",
        "--out",
        "2",
        "--generate",
        "bias",
        "--generate",
        "outer.w*",
        "mainnet.width=7",
    )
    document = json.loads(hypnet(*PAIR, *chosen, "--json").stdout)
    assert [tensor["name"] for tensor in document["target"]] == [
        "inner.bias",
        "outer.weight",
        "outer.bias",
    ]
    assert (document["generated"], document["own"]) == (7 + 14 + 2, 21)


def test_a_dataset_gives_shapes_and_the_number_of_conditions(hypnet: Command) -> None:
    document = json.loads(hypnet(*PAIR, "--dataset", "pairs", "dataset.tasks=3", "--json").stdout)
    assert (document["in_shape"], document["out_features"], document["conditions"]) == ([3], 2, 3)


def test_the_mean_square_at_the_start_is_measured(hypnet: Command) -> None:
    document = json.loads(
        hypnet(
            *PAIR, "--in-shape", "3", "--out", "2", "--conditions", "4", "--init", "--json"
        ).stdout
    )
    assert all(tensor["measured"] > 0 and tensor["wanted"] is None for tensor in document["target"])
    assert "measured" in hypnet(*PAIR, "--in-shape", "3", "--out", "2", "--init").stdout
    without = json.loads(hypnet(*PAIR, "--in-shape", "3", "--out", "2", "--json").stdout)
    assert all(tensor["measured"] is None for tensor in without["target"])


def test_the_table_is_for_people(hypnet: Command) -> None:
    text = hypnet(*PAIR, "--in-shape", "3", "--out", "2").stdout
    for part in (
        "inner.weight",
        "4 x 3",
        "total",
        "compression ratio",
        "conditional parameters of linear, 1 conditions",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the shapes are missing: give --dataset NAME, or --in-shape 1,28,28 and --out 10"),
        (["--in-shape", "3"], "the shapes are missing"),
        (
            ["--in-shape", "3,x", "--out", "2"],
            "--in-shape 3,x: expected positive whole numbers, such as 1,28,28",
        ),
        (["--in-shape", "0", "--out", "2"], "--in-shape 0: expected positive whole numbers"),
        (["--in-shape", "3", "--out", "0"], "Invalid value for '--out'"),
        (["--dataset", "pairs", "--out", "2"], "give either --dataset, or --in-shape and --out"),
        (
            ["--dataset", "pears"],
            "dataset.name: there is no dataset 'pears'; did you mean 'pairs'?",
        ),
        (
            ["--in-shape", "3", "--out", "2", "mainnet.wdth=3"],
            "mainnet.wdth: there is no such option; did you mean 'mainnet.width'?",
        ),
        (["--in-shape", "3", "--out", "2", "width=3"], "width: there is no such option"),
    ],
)
def test_wrong_usage_of_inspect_is_one_line(
    hypnet: Command, arguments: list[str], message: str
) -> None:
    done = hypnet(*PAIR, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"hypnet: {message}")


BAD = """
    from hypnet_core import Component, hookimpl

    @hookimpl
    def hypnet_components():
        return [
            Component.dataset("untyped", "stranger_bad:untyped", "Its option has no type."),
            Component.dataset("mute", "stranger_bad:mute", "No full stop"),
        ]

    def untyped(*, size=3):
        return None

    def mute(*, size: int = 3):
        return None
"""


def test_a_component_that_fails_a_check_makes_the_exit_code_1(
    hypnet: Command, install: Callable[..., Path]
) -> None:
    install("bad", BAD)
    done = hypnet("check", "untyped", "-q")
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert "the option 'size' has no type: annotate it" in done.stdout
    assert "Traceback" not in done.stdout
    assert "Traceback" in hypnet("check", "untyped", "-v").stdout


def test_each_result_of_a_check_has_its_reason(
    hypnet: Command, install: Callable[..., Path]
) -> None:
    install("bad", BAD)
    done = hypnet("check", "mute", "size=4", "--json")
    document = json.loads(done.stdout)
    results = {result["check"]: result for result in document["results"]}
    assert (done.returncode, document["passed"], document["options"]) == (1, False, {"size": 4})
    assert results["its_summary_is_one_sentence"]["message"] == "the summary is 'No full stop'"
    assert results["its_options_are_described"]["message"] == "the docstring does not describe size"
    assert results["it_can_be_imported"]["outcome"] == "passed"


def test_check_takes_the_shape_of_an_input(hypnet: Command) -> None:
    done = hypnet("check", "tiny", "--in-shape", "4", "--json")
    results = json.loads(done.stdout)["results"]
    assert "other_weights_give_what_fresh_copies_give" in {one["check"] for one in results}
    assert done.returncode == 0
    for shape in ("3x3", "", "0,2", "2,-1", "a" * 500):
        refused = hypnet("check", "tiny", "--in-shape", shape)
        assert refused.returncode == 2
        assert "--in-shape is written as 3,64,64" in refused.stderr
        assert len(refused.stderr) < 200
    other = hypnet("check", "linear", "--in-shape", "3")
    assert "--in-shape is for main networks, and this is a hypernet" in other.stderr
