"""One value, one text."""

from __future__ import annotations

import json
import math
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnet_core.errors import ConfigError
from hypnet_hpsearch.spec.values import flattened, sameness, text_of, value_of

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other) or json.dumps(one, sort_keys=True) == json.dumps(
        other, sort_keys=True
    )


@given(VALUES)
def test_a_value_comes_back_from_its_text(value: Any) -> None:
    assert same(value_of(text_of(value, "x")), value)


@given(st.dictionaries(TEXT, VALUES, max_size=5))
def test_the_order_of_keys_makes_no_difference(table: dict[str, Any]) -> None:
    assert text_of(dict(reversed(table.items())), "x") == text_of(table, "x")


def test_one_and_one_point_zero_are_the_same_but_true_is_not() -> None:
    one, point, true, text = (sameness(value, text_of(value, "x")) for value in (1, 1.0, True, "1"))
    assert one == point
    assert len({one, true, text}) == 3


def test_nan_is_the_same_as_itself() -> None:
    assert sameness(math.nan, "NaN") == sameness(float("nan"), "NaN")


@pytest.mark.parametrize(
    "value", [date(2026, 1, 1), {1, 2}, object(), b"bytes", "\ud800", {"a": complex(1)}]
)
def test_what_no_file_can_hold_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^grid: .* is not text, a number, a list or a table"):
        text_of(value, "grid")


@pytest.mark.parametrize("value", ["a\0b", ["x", "\0"], "\\\0"])
def test_a_nul_character_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="NUL"):
        text_of(value, "grid")


@pytest.mark.parametrize("value", ["\\u0000", "\\\\u0000", "x" * 10_000])
def test_what_only_looks_like_one_is_not(value: str) -> None:
    assert value_of(text_of(value, "grid")) == value


def test_tables_become_dotted_keys() -> None:
    assert flattened({"a": {"b": {"c": 1}, "d.e": [2]}, "f": {}}, "x") == {
        "a.b.c": 1,
        "a.d.e": [2],
        "f": {},
    }


def test_a_key_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'a.b' is given twice"):
        flattened({"a": {"b": 1}, "a.b": 2}, "base")


@pytest.mark.parametrize("key", ["", "-x", "a=b", "a b", "a\nb", "{a}"])
def test_what_is_no_name_of_an_option_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of an option"):
        flattened({key: 1}, "grid")


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="the key 1 must be text, not int"):
        flattened({1: 1}, "grid")
