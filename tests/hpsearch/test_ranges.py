"""Ranges, and what is drawn from them at random."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnet_core.errors import ConfigError
from hypnet_hpsearch import RangeSpec, Search, SearchSpec, load_spec
from hypnet_hpsearch.propose.grid import GridProposer

PLACES = st.floats(0, 1, exclude_max=True)
LEAST: dict[str, Any] = {
    "name": "x",
    "command": ["sim", "{options}"],
    "metric": "m",
    "direction": "minimize",
}
RANGES = {
    "lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "width": {"low": 1, "high": 8, "integer": True},
}


def spec(**fields: Any) -> SearchSpec:
    return SearchSpec(**{**LEAST, "ranges": RANGES, "max_trials": 20, **fields})


def options(**fields: Any) -> list[dict[str, Any]]:
    plan = GridProposer(spec(**fields))
    return [plan.trial(number).options for number in plan.order()]


def ids(**fields: Any) -> list[str]:
    return [trial for _, trial in GridProposer(spec(**fields)).ids()]


@given(PLACES, st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_a_uniform_range_is_a_line_from_low_to_high(place: float, low: float, width: float) -> None:
    found = RangeSpec(low=low, high=low + width).at(place)
    assert low <= found <= low + width
    assert found == pytest.approx(low + place * width, rel=1e-9, abs=1e-9 * width + 1e-5)


@given(PLACES, st.floats(1e-9, 1e3), st.floats(1.1, 1e6))
def test_a_logarithmic_range_is_a_line_of_logarithms(
    place: float, low: float, factor: float
) -> None:
    found = RangeSpec(low=low, high=low * factor, log=True).at(place)
    assert low <= found <= low * factor
    assert math.log(found) == pytest.approx(
        math.log(low) + place * math.log(factor), rel=1e-6, abs=1e-6
    )


@given(st.integers(-50, 50), st.integers(1, 30), st.integers(1, 7))
def test_steps_are_equally_wide_and_all_there(low: int, width: int, step: int) -> None:
    steps = list(range(low, low + width + 1, step))
    for integer in (True, False):
        one = RangeSpec(low=low, high=low + width, step=step, integer=integer)
        assert one.count == len(steps)
        assert [one.at((number + 0.5) / len(steps)) for number in range(len(steps))] == steps
        assert isinstance(one.at(0), int) is integer


def test_whole_numbers_of_a_logarithmic_range() -> None:
    one = RangeSpec(low=1, high=1000, log=True, integer=True)
    found = [one.at(number / 3000) for number in range(3000)]
    assert (found[0], one.at(1 - 1e-9)) == (1, 1000)
    assert all(isinstance(number, int) for number in found)
    tens = [sum(10**power <= number < 10 ** (power + 1) for number in found) for power in range(3)]
    assert max(tens) < 1.5 * min(tens)


def test_a_step_that_is_no_power_of_two_gives_the_numbers_as_written() -> None:
    one = RangeSpec(low=0.0, high=1.0, step=0.1)
    assert [one.at(number / 11) for number in range(11)] == [
        0.0,
        0.1,
        0.2,
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.8,
        0.9,
        1.0,
    ]


def test_draws_stay_in_their_ranges_and_fill_them() -> None:
    found = options(max_trials=400)
    assert all(1e-4 <= one["lr"] <= 1e-1 for one in found)
    assert {one["width"] for one in found} == set(range(1, 9))
    below = sum(one["lr"] < math.sqrt(1e-5) for one in found)
    assert 150 < below < 250


def test_a_search_that_goes_on_draws_what_it_would_have_drawn() -> None:
    assert ids(max_trials=50)[:20] == ids() == ids()


def test_the_order_of_writing_makes_no_difference() -> None:
    assert ids(ranges=dict(reversed(RANGES.items()))) == ids()


def test_another_range_leaves_the_other_draws_as_they_were() -> None:
    more = options(ranges={**RANGES, "beta": {"low": 0.0, "high": 1.0}})
    assert [{"lr": one["lr"], "width": one["width"]} for one in more] == options()


def test_another_seed_draws_something_else() -> None:
    other = {"name": "random", "seed": 1}
    assert not set(ids(sampler=other)) & set(ids())
    assert (
        spec(sampler=other).fingerprint()
        != spec().fingerprint()
        == spec(sampler={"name": "random", "seed": 0}).fingerprint()
    )


def test_the_first_draws_never_change() -> None:
    assert [(one["lr"], one["width"]) for one in options(max_trials=3)] == [
        (0.00100231516685, 2),
        (0.000788184578148, 8),
        (0.00111954317677, 4),
    ]


def test_lists_are_drawn_from_too() -> None:
    found = options(grid={"act": ["relu", "tanh", "gelu"]}, max_trials=300)
    counts = [sum(one["act"] == act for one in found) for act in ("relu", "tanh", "gelu")]
    assert min(counts) > 70


def test_equal_draws_are_one_trial() -> None:
    only_width = {"width": RANGES["width"]}
    assert sorted(one["width"] for one in options(ranges=only_width, max_trials=8)) == list(
        range(1, 9)
    )
    plan = GridProposer(spec(ranges=only_width, max_trials=30))
    assert len(plan) == 8
    assert plan.remarks == ["there are only 8 configurations to draw, not 30"]


def test_a_grid_too_large_to_expand_can_be_drawn_from() -> None:
    grid = {name: list(range(100)) for name in "abcdefgh"}
    found = options(
        ranges={},
        grid=grid,
        sampler="random",
        conditions=[{"when": {"a": list(range(50))}, "then": {"b": 7}}],
    )
    assert len(found) == 20
    assert all(one["b"] == 7 for one in found if one["a"] < 50)


def test_each_configuration_has_every_seed() -> None:
    found = options(seeds=2, max_trials=6)
    assert [one["seed"] for one in found] == [0, 1] * 3
    assert len({one["lr"] for one in found}) == 3


def test_a_condition_applies_to_each_draw() -> None:
    conditions = [
        {"when": {"opt": "sgd"}, "then": {"lr": [0.5, 0.6], "beta": 0}},
        {"when": {"width": [1.0, 2]}, "then": {"opt": "adam"}},
    ]
    grid = {"opt": ["sgd", "adam"], "beta": [1, 2, 3]}
    found = options(grid=grid, conditions=conditions, max_trials=200)
    assert {one["lr"] for one in found if one["opt"] == "sgd"} == {0.5, 0.6}
    assert {one["beta"] for one in found if one["opt"] == "sgd"} == {0}
    assert {one["opt"] for one in found if one["width"] <= 2} == {"adam"}
    assert {one["opt"] for one in found if one["width"] > 2} == {"adam", "sgd"}


def test_conditions_without_effect_are_remarked() -> None:
    conditions = [
        {"when": {"width": 77}, "then": {"lr": 1}},
        {"when": {"depth": 1}, "then": {"lr": 1}, "optional": True},
    ]
    assert GridProposer(spec(conditions=conditions)).remarks == [
        "condition 2 is skipped: the grid has no 'depth'",
        "condition 1 matches none of the configurations drawn",
    ]


def test_tables_in_tables_are_dotted_names(tmp_path: Any) -> None:
    file = tmp_path / "s.toml"
    file.write_text(
        'experiment = "x"\nmetric = "m"\ndirection = "minimize"\nmax_trials = 3\n[ranges]\ntrain.lr'
        " = { low = 1e-4, high = 1e-1, log = true }\nlow = { low = 0, high = 1 }\n"
    )
    found = load_spec(file)
    assert set(found.ranges) == {"train.lr", "low"}
    assert SearchSpec(**found.model_dump(mode="json")).fingerprint() == found.fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"ranges": {"lr": {"low": 1, "high": 1}}},
            "ranges.lr: low must be below high, but they are 1 and 1",
        ),
        ({"ranges": {"lr": {"low": 2, "high": 1}}}, "ranges.lr: low must be below high"),
        (
            {"ranges": {"lr": {"low": 0, "high": 1, "log": True}}},
            "ranges.lr: the logarithm needs low to be above 0, it is 0",
        ),
        (
            {"ranges": {"lr": {"low": 1, "high": 2, "log": True, "step": 1}}},
            "'log' and 'step' exclude each other",
        ),
        (
            {"ranges": {"lr": {"low": 0.5, "high": 2, "integer": True}}},
            "low must be an integer",
        ),
        (
            {"ranges": {"lr": {"low": 0, "high": 2, "step": 0}}},
            "ranges.lr.step: 0 is not possible, expected a number greater",
        ),
        (
            {"ranges": {"lr": {"low": float("nan"), "high": 2}}},
            "ranges.lr.low: NaN is not possible",
        ),
        (
            {"ranges": {"lr": {"low": 0, "high": float("inf")}}},
            "ranges.lr.high: Infinity is not possible",
        ),
        (
            {"ranges": {"lr": {"lo": 0, "high": 1}}},
            "ranges.lr.lo: there is no such option; did you mean",
        ),
        ({"ranges": {"lr": {}}}, "ranges.lr.low: must be given"),
        ({"ranges": {"lr": [1, 2]}}, "ranges: 'lr' is a list; lists of values belong in 'grid'"),
        ({"ranges": {"lr": 1}}, "ranges: 'lr' must be a table such as { low = 1e-4"),
        ({"base": {"lr": 1}}, "'lr' is both in 'base' and in 'ranges'"),
        ({"grid": {"lr": [1]}}, "'lr' is both in 'grid' and in 'ranges'"),
        ({"max_trials": None}, "the sampler 'random' needs 'max_trials'"),
        (
            {"sampler": "grid"},
            "a range cannot be searched exhaustively: the sampler must be 'random' or one of",
        ),
        ({"sampler": {"seed": 1}}, "'sampler' has no 'name'"),
        (
            {"sampler": {"name": "random", "sed": 1}},
            "sampler: 'random' has no option 'sed'; did you mean 'seed'?",
        ),
        (
            {"sampler": {"name": "random", "seed": "x"}},
            "sampler: the seed must be an integer, is 'x'",
        ),
        ({"pruner": "median"}, "a pruner needs a sampler of Optuna, such as"),
        ({"ranges": {"out": {"low": 0, "high": 1}}}, "an option cannot be called 'out'"),
        (
            {"conditions": [{"when": {"lr": 1}, "then": {"width": 1}}]},
            "condition 1: 'lr' is a range of real numbers",
        ),
        (
            {"conditions": [{"when": {"wide": 1}, "then": {"lr": 1}}]},
            "names 'wide', which is not in the grid; did you mean",
        ),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Search(spec(**change))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_ten_thousand_draws_take_no_time() -> None:
    assert len(set(ids(max_trials=10_000))) == 10_000
