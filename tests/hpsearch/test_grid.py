"""Grids against `itertools.product`, conditions against a slow and obvious oracle."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnet_core.errors import ConfigError
from hypnet_hpsearch.spec.grid import Condition, Grid, expand
from hypnet_hpsearch.spec.values import value_of

Configuration = dict[str, Any]


def product(grid: Mapping[str, Sequence[Any]]) -> list[Configuration]:
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def oracle(
    grid: Mapping[str, Sequence[Any]], conditions: Sequence[Condition]
) -> list[Configuration]:
    """Each condition once, in order; `then` replaces a match; no duplicates."""
    configurations = product(grid)
    for condition in conditions:
        replaced: list[Configuration] = []
        for configuration in configurations:
            if all(configuration[key] in values for key, values in condition.when.items()):
                replaced += [{**configuration, **instead} for instead in product(condition.then)]
            else:
                replaced.append(configuration)
        configurations = [
            one for number, one in enumerate(replaced) if one not in replaced[:number]
        ]
    return configurations


def configurations(grid: Grid) -> list[Configuration]:
    return [dict(zip(grid.keys, map(value_of, cell), strict=True)) for cell in grid]


KEYS = ("a", "b", "c.d")
GRIDS = st.fixed_dictionaries(
    {key: st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True) for key in KEYS}
)
CHOICES = st.dictionaries(
    st.sampled_from(KEYS), st.lists(st.integers(0, 6), min_size=1, max_size=3), min_size=1
)
CONDITIONS = st.lists(st.builds(Condition, CHOICES, CHOICES), max_size=4)


@given(GRIDS)
def test_a_grid_is_the_product_of_its_lists(values: dict[str, list[int]]) -> None:
    grid = Grid(values)
    assert configurations(grid) == product(values)
    assert len(grid) == len(product(values))


@given(GRIDS)
def test_a_cell_by_number_is_the_one_at_that_place(values: dict[str, list[int]]) -> None:
    grid = Grid(values)
    assert [grid.cell(number) for number in range(len(grid))] == list(grid)


@settings(max_examples=300)
@given(GRIDS, CONDITIONS)
def test_conditions_are_applied_one_after_the_other(
    values: dict[str, list[int]], conditions: list[Condition]
) -> None:
    grid, _ = expand(Grid(values), conditions)
    assert configurations(grid) == oracle(values, conditions)
    assert [grid.cell(number) for number in range(len(grid))] == list(grid)


def test_an_option_that_does_not_matter_is_searched_once() -> None:
    grid = Grid({"optimizer": ["adam", "sgd"], "beta2": [0.9, 0.99, 0.999]})
    restricted, remarks = expand(grid, [Condition({"optimizer": ["sgd"]}, {"beta2": [0.999]})])
    assert len(restricted) == 4
    assert remarks == []


def test_a_condition_is_not_tested_again() -> None:
    values = {"a": [0, 1], "b": [0, 1]}
    conditions = [Condition({"a": [0]}, {"b": [0]}), Condition({"a": [1]}, {"a": [0]})]
    grid, remarks = expand(Grid(values), conditions)
    assert {"a": 0, "b": 1} in configurations(grid)
    assert remarks == [
        (
            "condition 1 is contradicted by later ones: 1 configuration would match it again and"
            " differ from it"
        ),
    ]


def test_conditions_that_set_one_key_to_different_values_are_reported() -> None:
    conditions = [Condition({"a": [0]}, {"b": [5]}), Condition({"a": [0, 1]}, {"b": [6]})]
    grid, remarks = expand(Grid({"a": [0, 1], "b": [1, 2]}), conditions)
    assert configurations(grid) == [{"a": 0, "b": 6}, {"a": 1, "b": 6}]
    assert len(remarks) == 1
    assert remarks[0].startswith("condition 1 is contradicted by later ones")


def test_a_condition_that_matches_nothing_or_changes_nothing_is_reported() -> None:
    grid = Grid({"a": [0, 1], "b": [0, 1]})
    conditions = [Condition({"a": [7]}, {"b": [0]}), Condition({"a": [0]}, {"b": [0, 1]})]
    assert expand(grid, conditions)[1] == [
        "condition 1 matches no configuration",
        "condition 2 changes nothing",
    ]


def test_a_number_matches_however_it_is_written() -> None:
    grid, remarks = expand(
        Grid({"lr": [1.0, 2], "x": [True, 0]}),
        [Condition({"lr": [1, 2.0], "x": [True]}, {"lr": [1]})],
    )
    assert remarks == []
    assert list(grid) == [("1.0", "true"), ("1.0", "0"), ("2", "0")]


def test_one_is_not_true() -> None:
    _, remarks = expand(Grid({"x": [True, False]}), [Condition({"x": [1]}, {"x": [False]})])
    assert remarks == ["condition 1 matches no configuration"]


@pytest.mark.parametrize("part", ["when", "then"])
def test_a_condition_on_a_key_that_the_grid_lacks_is_refused_with_the_nearest(part: str) -> None:
    chosen: dict[str, Any] = {"when": {"lr": [1]}, "then": {"lr": [1]}, part: {"lrr": [1]}}
    with pytest.raises(
        ConfigError, match=r"condition 2 names 'lrr', which is not in the grid; did you mean 'lr'\?"
    ):
        expand(Grid({"lr": [1, 2]}), [Condition({"lr": [1]}, {"lr": [2]}), Condition(**chosen)])


def test_an_optional_condition_on_a_missing_key_is_skipped_and_said_to_be() -> None:
    grid, remarks = expand(
        Grid({"lr": [1, 2]}), [Condition({"gone": [1]}, {"lr": [2]}, optional=True)]
    )
    assert len(grid) == 2
    assert remarks == ["condition 1 is skipped: the grid has no 'gone'"]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (Condition({}, {"lr": [1]}), "condition 1: 'when' is empty"),
        (Condition({"lr": [1]}, {}), "condition 1: 'then' is empty"),
        (Condition({"lr": []}, {"lr": [1]}), "condition 1: when 'lr' has no values"),
    ],
)
def test_an_empty_condition_is_refused(condition: Condition, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        expand(Grid({"lr": [1, 2]}), [condition])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": []}, "'lr' has no values"),
        ({"lr": [1, 2, 1.0]}, "'lr' lists 1.0 twice"),
        ({"x": [[1], [1]]}, "twice"),
    ],
)
def test_an_impossible_grid_is_refused(values: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Grid(values)
