"""Recipes in TOML files: what is read, what is refused, and how it is said."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnet_core.errors import ComponentError, PluginError
from hypnet_core.plugins import Component, Expected, Recipe, parse_recipe, read_recipe
from hypnet_core.plugins.registry import Registry

PLUGIN = """
    from hypnet_core import Component, hookimpl

    @hookimpl
    def hypnet_components():
        return [
            Component.experiment("sum", "stranger_cook:Sum", "Sums."),
            *Component.recipes("stranger_recipes"),
        ]
"""

SIMPLE = """
summary = "A sum."
experiment = "sum"
"""


def toml(values: dict[str, Any]) -> str:
    """A TOML document of a mapping."""
    return "".join(f"{toml_value(key)} = {toml_value(value)}\n" for key, value in values.items())


def toml_value(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{toml_value(k)} = {toml_value(v)}" for k, v in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, str):
        # JSON's escapes are also TOML's, which wants one more.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(codec="utf-8"), min_size=1)
options = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | finite | text,
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
    max_leaves=8,
)


@st.composite
def expectations(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"figure": draw(text)}
    low, high = sorted((draw(finite), draw(finite)))
    found |= draw(
        st.sampled_from(
            [
                {"at_least": low},
                {"at_most": high},
                {"at_least": low, "at_most": high},
                {"value": low, "tolerance": abs(high) / 2},
                {"value": low, "at_most": high},
            ]
        )
    )
    found |= draw(st.sampled_from([{}, {"of": "every"}, {"share": 0.9}]))
    found |= draw(st.sampled_from([{}, {"reduce": "max", "over": "during"}, {"minus": "other"}]))
    return found


recipes = st.fixed_dictionaries(
    {"summary": text, "experiment": text},
    optional={
        "source": text,
        "options": st.dictionaries(text, options),
        "smoke": st.dictionaries(text, options),
        "seeds": st.lists(st.integers(0, 1000), min_size=1, unique=True),
        "minutes": st.floats(0.1, 1e6),
        "expected": st.lists(expectations(), max_size=3),
    },
)


@given(recipes)
def test_a_recipe_survives_toml(values: dict[str, Any]) -> None:
    recipe = parse_recipe(tomllib.loads(toml(values)), "x.toml")
    for key, value in values.items():
        if key != "expected":
            kept = getattr(recipe, key)
            assert (list(kept) if key == "seeds" else kept) == value
    again = parse_recipe(
        tomllib.loads(toml(json.loads(recipe.model_dump_json(exclude_unset=True)))), "x.toml"
    )
    assert again == recipe
    for one, written in zip(recipe.expected, values.get("expected", []), strict=True):
        low, high = one.bounds
        assert low <= high
        assert not (math.isinf(low) and math.isinf(high))
        assert written["figure"] in one.label


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("sumary = 'x'", "x.toml: sumary: there is no such option; did you mean 'summary'?"),
        ("seeds = []", "x.toml: seeds: [] is not possible"),
        ("seeds = 0", "x.toml: seeds: "),
        ("seeds = [1, 1]", "x.toml: seeds: a seed is given twice: [1, 1]"),
        ("seeds = -1", "x.toml: seeds: "),
        ("minutes = 0", "x.toml: minutes: 0 is not possible"),
        ("options = 3", "x.toml: options: 3 is not possible, expected a group of options"),
        (
            "[[expected]]\nfigure = 'a'",
            "x.toml: expected.0: give at_least, at_most, or value with its tolerance",
        ),
        (
            "[[expected]]\nfigure = 'a'\nvalue = 1",
            "x.toml: expected.0: give at_least, at_most, or value with its tolerance",
        ),
        (
            "[[expected]]\nfigure = 'a'\ntolerance = 1\nat_most = 2",
            "x.toml: expected.0: tolerance is the distance from value: give value too",
        ),
        (
            "[[expected]]\nfigure = 'a'\nvalue = 1\ntolerance = 1\nat_most = 2",
            "x.toml: expected.0: give either tolerance, or at_least and at_most",
        ),
        (
            "[[expected]]\nfigure = 'a'\nat_least = 3\nat_most = 2",
            "x.toml: expected.0: at_least=3 lies above at_most=2",
        ),
        (
            "[[expected]]\nfigure = 'a'\nat_most = 2\nof = 'every'\nshare = 0.5",
            "x.toml: expected.0: give either of or share",
        ),
        (
            "[[expected]]\nfigure = 'a'\nat_mots = 2",
            "x.toml: expected.0.at_mots: there is no such option; did you mean 'expected.0.at",
        ),
        ("[[expected]]\nat_most = 2", "x.toml: expected.0.figure: must be given"),
        (
            "[[expected]]\nfigure = 'a'\nat_most = 2\nreduce = 'maximum'",
            "x.toml: expected.0.reduce: \"maximum\" is not possible, expected 'max'",
        ),
        (
            "[[expected]]\nfigure = 'a'\nat_most = nan",
            "x.toml: expected.0.at_most: NaN is not possible",
        ),
        (
            "[counts]\nin_shape = [3]\nout_features = 1\ntasks = 1",
            "x.toml: counts: give generated, parameters, conditional or compression",
        ),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(lines: str, message: str) -> None:
    with pytest.raises(PluginError) as error:
        parse_recipe(tomllib.loads(SIMPLE + lines), "x.toml")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_number_of_seeds_is_short_for_the_first_ones() -> None:
    assert parse_recipe({"summary": "S.", "experiment": "e", "seeds": 3}, "x").seeds == (0, 1, 2)
    assert Recipe(summary="S.", experiment="e").seeds == (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (Expected(figure="a", value=97.5, tolerance=0.25), "97.5 ± 0.25"),
        (Expected(figure="a", value=1, at_least=0.5), ">= 0.5 (published: 1)"),
        (Expected(figure="a", at_least=1, at_most=2), "<= 2 and >= 1"),
        (Expected(figure="a", at_most=2, share=0.9), "<= 2 in 0.9 of the seeds"),
        (Expected(figure="a", at_most=1e-6, of="every"), "<= 1e-06 in every seed"),
    ],
)
def test_bounds_in_words(expected: Expected, words: str) -> None:
    assert expected.range == words


@pytest.fixture
def kitchen(site: Path) -> Path:
    """A package with one good recipe."""
    folder = site / "stranger_recipes"
    folder.mkdir()
    (folder / "good.toml").write_text(SIMPLE, encoding="utf-8")
    (folder / "notes.txt").write_text("no recipe", encoding="utf-8")
    return folder


def test_one_line_registers_all_recipes_of_a_folder(
    register: Callable[..., Registry], kitchen: Path
) -> None:
    (kitchen / "other.toml").write_text(SIMPLE.replace("A sum", "Another"), encoding="utf-8")
    found = register(cook=PLUGIN)
    assert [(e.name, e.component.summary) for e in found.entries("recipe")] == [
        ("good", "A sum."),
        ("other", "Another."),
    ]
    assert found.faults() == ()
    entry = found.get("recipe", "cook:good")
    assert entry.build() == read_recipe("stranger_recipes", "good")
    assert entry.source() == f"{kitchen / 'good.toml'}:1"


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("bad.toml", b"summary = ", "bad.toml is not valid TOML: "),
        ("bad.toml", b"\xff\xfe", "bad.toml cannot be read: UnicodeDecodeError"),
        ("bad.toml", b"experiment = 'sum'", "bad.toml: summary: must be given, one sentence"),
        ("bad.toml", b"summary = 3", "bad.toml: summary: must be given, one sentence"),
        ("Bad-One.toml", SIMPLE.encode(), "Bad-One.toml: a recipe's file is named in lower-case"),
        ("7.toml", SIMPLE.encode(), "7.toml: a recipe's file is named in lower-case"),
    ],
)
def test_a_broken_file_is_one_line_and_takes_nothing_else_down(
    register: Callable[..., Registry], kitchen: Path, name: str, content: bytes, fault: str
) -> None:
    (kitchen / name).write_bytes(content)
    found = register(cook=PLUGIN)
    (line,) = found.faults()
    stem = name.removesuffix(".toml")
    assert line.startswith(f"plugin 'cook' (dist-cook 1.0): recipe '{stem}' is left out: {fault}")
    assert "\n" not in line
    assert [entry.name for entry in found.entries("recipe")] == ["good"]
    assert found.get("experiment", "sum").name == "sum"


def test_a_mistake_in_a_file_is_named_when_it_is_used(
    register: Callable[..., Registry], kitchen: Path
) -> None:
    (kitchen / "good.toml").write_text(SIMPLE + "optons = {}", encoding="utf-8")
    entry = register(cook=PLUGIN).get("recipe", "good")
    with pytest.raises(PluginError, match=r"good.toml: optons: .* did you mean 'options'"):
        entry.build()


def test_a_package_that_is_not_there_is_named(register: Callable[..., Registry]) -> None:
    found = register(cook=PLUGIN.replace("stranger_recipes", "no_such_thing"))
    (plugin,) = [plugin for plugin in found.plugins if plugin.name == "cook"]
    assert plugin.status == "broken"
    assert plugin.error.startswith("recipes: there is no package 'no_such_thing'")


def test_an_experiment_and_a_recipe_may_share_a_name(
    register: Callable[..., Registry], kitchen: Path
) -> None:
    (kitchen / "sum.toml").write_text(SIMPLE, encoding="utf-8")
    found = register(cook=PLUGIN)
    assert found.get("experiment", "sum").kind == "experiment"
    assert found.get("recipe", "sum").kind == "recipe"
    with pytest.raises(ComponentError, match="there is a recipe and an experiment of that name"):
        found.find("sum")


def test_an_import_string_leads_to_a_recipe_that_no_plugin_registers(
    register: Callable[..., Registry], kitchen: Path
) -> None:
    assert kitchen.is_dir()
    entry = register(cook=PLUGIN).get("recipe", "stranger_recipes:good")
    assert entry.build().summary == "A sum."


def test_a_recipe_component_holds_no_more_than_name_and_summary(kitchen: Path) -> None:
    assert kitchen.is_dir()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(kitchen.parent))
        (component,) = Component.recipes("stranger_recipes")
    assert component.model_dump() == {
        "kind": "recipe",
        "name": "good",
        "target": "stranger_recipes:good",
        "summary": "A sum.",
    }
