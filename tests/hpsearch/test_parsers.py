"""Summaries of programs that know nothing of hypnet."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnet_core.errors import ConfigError
from hypnet_hpsearch.trial.summaries import lines_in, numbers_in

SETTINGS: dict[str, Any] = {"grid": {"x": [1, 2]}, "summary": "results.txt", "metric": "acc_final"}

WRITES = 'open(os.path.join(out, "results.txt"), "w").write({text!r}.replace("X", options["x"]))'


def reasons(search: Any) -> set[str]:
    return {str(result.reason) for result in search.results()}


def numbers(workshop: Any) -> list[dict[str, Any]]:
    return [
        json.loads(path.read_text())["numbers"]
        for path in sorted(workshop.out.glob("trials/*/1/result.json"))
    ]


def test_lines_of_keys_and_values(workshop: Any) -> None:
    workshop.body(
        WRITES.format(
            text=(
                "acc_final X.5\nacc_during [1, 2]\nnum_weights 1000\n\nnote all is"
                " well\nfinished 1\n"
            )
        )
    )
    search = workshop.run(**SETTINGS, parser="lines")
    assert search.status().done == 2
    assert search.best().metric == 2.5
    assert {"acc_final": 2.5, "num_weights": 1000.0, "finished": 1.0} in numbers(workshop)


@given(
    st.dictionaries(
        st.from_regex(r"\A[a-z_]{1,9}\Z"), st.floats() | st.integers() | st.lists(st.integers())
    )
)
def test_what_is_written_as_lines_is_read(values: dict[str, Any]) -> None:
    found = lines_in("".join(f"{key} {value}\n" for key, value in values.items()))
    assert found.keys() == values.keys()
    for key, value in values.items():
        assert found[key] == value or (math.isnan(found[key]) and math.isnan(value))


@given(st.text())
def test_any_text_is_lines(text: str) -> None:
    assert isinstance(lines_in(text), dict)


def test_numbers_of_a_summary_have_dotted_names() -> None:
    summary = {
        "a": {"b": {"c": 1}, "t": True, "n": None},
        "big": 10**400,
        "s": "1",
        "nan": math.nan,
    }
    found = dict(numbers_in(summary))
    assert found.keys() == {"a.b.c", "big", "nan"}
    assert found["big"] == math.inf


def test_a_parser_of_ones_own(workshop: Any) -> None:
    (workshop.path / "mine").mkdir()
    (workshop.path / "mine" / "__init__.py").touch()
    (workshop.path / "mine" / "tool.py").write_text(
        "def read(path):\n    return {'acc_final': float(path.read_text().split('=')[1]), 'path':"
        " path}\n"
    )
    workshop.body(WRITES.format(text="accuracy=X"))
    search = workshop.run(**SETTINGS, parser="mine.tool:read")
    assert [result.metric for result in search.results()] == [2.0, 1.0]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "def read(path): return 1 / 0",
            "the parser p:read cannot read its results.txt: ZeroDivisionError: division by zero",
        ),
        (
            "def read(path): raise SystemExit(0)",
            "the parser p:read cannot read its results.txt: SystemExit: 0",
        ),
        ("def read(path): return [1]", "the parser p:read returned [1], not a mapping"),
        (
            "def read(path): return {'acc_final': 'high'}",
            "its metric 'acc_final' is not a number but \"high\"",
        ),
        (
            "def read(path): return {'acc_final': object}",
            "its metric 'acc_final' is not a number but \"<class 'object'>\"",
        ),
        (
            "d = {}\nd['a'] = d\ndef read(path): return {**d, 'acc_final': 1}",
            "its results.txt is nested too deeply",
        ),
        ("def read(path): return {}", "its results.txt has no metric 'acc_final'; it has nothing"),
        ("other = 1", "the parser p:read cannot be loaded: p has no 'read'"),
        (
            "import nowhere_to_be_found",
            "ModuleNotFoundError: No module named 'nowhere_to_be_found'",
        ),
        ("def read(", "SyntaxError"),
    ],
)
def test_a_broken_parser_makes_failed_trials_with_its_reason(
    workshop: Any, code: str, reason: str
) -> None:
    (workshop.path / "p.py").write_text(code)
    workshop.body(WRITES.format(text="x"))
    search = workshop.run(**SETTINGS, parser="p:read")
    assert search.status().failed == 2
    assert all(reason in one for one in reasons(search)), reasons(search)


@pytest.mark.parametrize(
    ("parser", "text", "reason"),
    [
        ("lines", "garbage\n", "its results.txt has no metric 'acc_final'; it has 'garbage'"),
        ("lines", "acc_final high\n", "its metric 'acc_final' is not a number but \"high\""),
        ("lines", "", "its results.txt has no metric 'acc_final'; it has nothing"),
        ("json", "garbage", "its results.txt cannot be read as JSON"),
        ("json", "[1]", "its results.txt holds no JSON object"),
        ("json", "[" * 100_000, "its results.txt cannot be read as JSON"),
    ],
)
def test_garbage_is_a_failed_trial_with_its_reason(
    workshop: Any, parser: str, text: str, reason: str
) -> None:
    workshop.body(WRITES.format(text=text))
    search = workshop.run(**SETTINGS, parser=parser)
    assert search.status().failed == 2
    assert all(reason in one for one in reasons(search)), reasons(search)


@pytest.mark.parametrize("depth", [300, 900, 990, 2000])
def test_a_summary_that_is_nested_deeply(workshop: Any, depth: int) -> None:
    workshop.body(WRITES.format(text='{"a":' * depth + "1" + "}" * depth))
    search = workshop.run(**SETTINGS)
    assert search.status().failed == 2
    assert all("its results.txt" in one for one in reasons(search)), reasons(search)


def test_bytes_that_are_no_text(workshop: Any) -> None:
    workshop.body('open(os.path.join(out, "results.txt"), "wb").write(bytes([255, 254, 0]))')
    search = workshop.run(**SETTINGS, parser="lines")
    assert all("cannot be read as lines of text" in one for one in reasons(search))


def test_without_a_summary(workshop: Any) -> None:
    [reason] = {
        str(reason).partition(" (expected at ")[0]
        for reason in reasons(workshop.run(**SETTINGS, parser="lines"))
    }
    assert reason == "it wrote no results.txt"


@pytest.mark.parametrize(
    "parser", ["", "toml", "a.b", ":f", "a:", "a b:c", "os:path.join", "../x:y"]
)
def test_what_is_no_parser_is_named(workshop: Any, parser: str) -> None:
    with pytest.raises(ConfigError, match="parser: "):
        workshop.search(**SETTINGS, parser=parser)


def test_another_parser_is_another_search(workshop: Any, tmp_path: Path) -> None:
    one, other = workshop.search(**SETTINGS, parser="lines"), workshop.search(**SETTINGS)
    assert one.spec.fingerprint() != other.spec.fingerprint()
