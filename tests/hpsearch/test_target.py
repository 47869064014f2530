"""Command lines: hostile values reach the trial unchanged, without a shell."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnet_core.errors import ConfigError
from hypnet_core.runs import parse_overrides
from hypnet_core.testing.scheduler import HOSTILE
from hypnet_hpsearch import SearchSpec
from hypnet_hpsearch.spec.command import check_command, command_line, override
from hypnet_hpsearch.spec.values import argument_text

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """Equal, also in type; NaN is equal to itself."""
    return type(one) is type(other) and repr(one) == repr(other)


@given(VALUES)
def test_any_value_survives_an_override(value: Any) -> None:
    assert same(parse_overrides([override("key", value)]), {"key": value})


@pytest.mark.parametrize(
    "value",
    [*HOSTILE, "\x85\u2028\ufeff", "true", "1e-3", "~", "[", "'", "a: b #c", "\x7f", "\U0010ffff"],
)
def test_hostile_text_survives_an_override(value: str) -> None:
    assert parse_overrides([override("a.b", value)]) == {"a": {"b": value}}


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 1e-300, -0.0, 2**70, [math.nan, [math.inf]]]
)
def test_odd_numbers_survive_an_override(value: Any) -> None:
    assert same(parse_overrides([override("x", value)])["x"], value)


def spec(
    *command: str, style: str = "--key=value", base: dict[str, Any] | None = None
) -> SearchSpec:
    return SearchSpec(
        name="x",
        command=command,
        style=style,
        metric="m",
        direction="minimize",
        base=base or {},
        grid={"lr": [1], "net.act": ["r"]},
    )


def arrived(command: tuple[str, ...]) -> list[str]:
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    found = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, check=True)
    arguments: list[str] = json.loads(found.stdout)
    return arguments


@pytest.mark.parametrize("style", ["--key=value", "--key value", "key=value"])
def test_hostile_text_reaches_a_command_unchanged(style: str) -> None:
    for text in HOSTILE:
        got = arrived(command_line(spec("{options}", style=style), {"a.b": text}, Path("/out")))
        wanted = {
            "--key=value": [f"--a.b={text}"],
            "--key value": ["--a.b", text],
            "key=value": [f"a.b={text}"],
        }[style]
        assert got == wanted


def test_placeholders_take_their_options_out_of_the_rest() -> None:
    options = {"lr": 0.1, "net.act": "relu", "debug": True}
    got = command_line(
        spec("sim", "--rate={lr}", "{options}", "{out}/{net.act}.log", "a{{b}"),
        options,
        Path("/out dir"),
    )
    assert got == ("sim", "--rate=0.1", "--debug", "/out dir/relu.log", "a{b}")


def test_a_value_that_looks_like_a_placeholder_is_not_filled_again() -> None:
    assert command_line(
        spec("{lr}", "{options}"), {"lr": "{out}", "net.act": "{lr}"}, Path("/o")
    ) == (
        "{out}",
        "--net.act={lr}",
    )


def test_braces_that_are_no_placeholder_stay() -> None:
    assert command_line(spec('{"a": {1}}', "{}", "{options}"), {"lr": 1}, Path("/o"))[:2] == (
        '{"a": {1}}',
        "{}",
    )


def test_flags_are_bare_or_absent_in_the_styles_with_dashes() -> None:
    options = {"yes": True, "no": False}
    assert command_line(spec("{options}"), options, Path()) == ("--yes",)
    assert command_line(spec("{options}", style="key=value"), options, Path()) == (
        "yes=true",
        "no=false",
    )


def test_values_are_written_as_python_reads_them() -> None:
    values = (1, 0.1, math.inf, -math.inf, None, False, ["ü"], {"a": 1})
    assert [argument_text(value) for value in values] == [
        "1", "0.1", "inf", "-inf", "null", "false", '["ü"]', '{"a": 1}',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ("sim", "{lrr}", "{options}"),
            r"names \{lrr\}, which is not an option of the search; did you mean 'lr'",
        ),
        (("sim", "--all={options}"), "must be an argument of its own"),
        (("sim", "{lr}"), "does not use the option 'net.act'"),
        (("sim",), "does not use the option 'lr'"),
    ],
)
def test_a_wrong_template_is_refused(command: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_command(spec(*command))


def test_an_experiment_is_run_by_our_own_command() -> None:
    search = SearchSpec(
        name="x", experiment="hypercl", metric="m", direction="minimize", grid={"train.lr": [1]}
    )
    argv = command_line(search, {"train.lr": 0.1, "name": "$(x) y"}, Path("/out"))
    assert argv == (
        sys.executable, "-P", "-m", "hypnet_core.cli.main", "run", "hypercl",
        "train.lr=0.1", 'name="$(x) y"', "--out", "/out",
    )  # fmt: skip
