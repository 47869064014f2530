"""Which trials a search has."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from hypnet_hpsearch import SearchSpec
from hypnet_hpsearch.propose.grid import GridProposer

GRID: dict[str, list[Any]] = {"b": [1, 2, 3], "a.x": ["u", "v"]}


def plan(**fields: Any) -> GridProposer:
    least = {
        "name": "x",
        "command": ["sim", "{options}"],
        "metric": "m",
        "direction": "minimize",
        "grid": GRID,
    }
    return GridProposer(SearchSpec(**{**least, **fields}))


def options(found: GridProposer) -> list[dict[str, Any]]:
    return [found.trial(number).options for number in found.order()]


def ids(found: GridProposer) -> list[str]:
    return [trial for _, trial in found.ids()]


def test_trials_are_the_product_in_order() -> None:
    assert options(plan()) == [
        {"b": b, "a.x": x} for b, x in itertools.product(GRID["b"], GRID["a.x"])
    ]


def test_ids_are_those_of_the_trials() -> None:
    for fields in (
        {},
        {"seeds": 2},
        {"order": "shuffled"},
        {"max_trials": 4, "seeds": [7, 9], "order": "shuffled"},
    ):
        found = plan(**fields)
        assert [(number, trial) for number, trial in found.ids()] == [
            (n, found.trial(n).id) for n in found.order()
        ]


def test_every_trial_has_an_id_of_its_own() -> None:
    assert len(set(ids(plan(seeds=5)))) == 30


def test_a_configuration_has_the_same_id_wherever_it_is_written() -> None:
    here = plan(grid={"b": [1], "a.x": ["u"]})
    assert (
        ids(here)
        == ids(plan(grid={"a.x": ["u"], "b": [1]}))
        == ids(plan(grid={"a": {"x": ["u"]}}, base={"b": 1}))
    )
    assert ids(here)[0] == ids(plan())[0]


def test_a_seed_is_an_option_like_any_other() -> None:
    assert ids(plan(grid={"b": [1]}, seeds=[3])) == ids(plan(grid={"b": [1], "seed": [3]}))


@pytest.mark.parametrize(
    "change", [{"command": ["other", "{options}"]}, {"style": "key=value"}, {"base": {"c": 0}}]
)
def test_another_target_or_base_makes_other_ids(change: dict[str, Any]) -> None:
    assert not set(ids(plan(**change))) & set(ids(plan()))


def test_what_is_not_run_makes_no_difference_to_ids() -> None:
    assert ids(plan(attempts=3, metric="other", resources={"cpus": 2})) == ids(plan())


def test_long_values_make_different_ids() -> None:
    long = "x" * 10_000
    assert len(set(ids(plan(grid={"a": [long, long + "y", long + "z"]})))) == 3


def test_percent_signs_and_quotes_do_not_confuse_the_hash() -> None:
    found = ids(plan(grid={"a%s": ["%s", '"', "%d%%"]}, base={"b%": "%s"}))
    assert len(set(found)) == 3


def test_seeds_are_the_innermost_loop() -> None:
    assert options(plan(grid={"b": [1, 2]}, seeds=2)) == [
        {"b": 1, "seed": 0},
        {"b": 1, "seed": 1},
        {"b": 2, "seed": 0},
        {"b": 2, "seed": 1},
    ]


def test_seeds_alone_are_a_search() -> None:
    assert options(plan(grid={}, base={"lr": 1}, seeds=3)) == [
        {"lr": 1, "seed": seed} for seed in range(3)
    ]


def test_shuffled_trials_are_the_same_trials_in_an_order_that_the_seed_fixes() -> None:
    one, again, other = (plan(seeds=20, order="shuffled", order_seed=seed) for seed in (0, 0, 1))
    assert ids(one) == ids(again) != ids(other)
    assert ids(one) != ids(plan(seeds=20))
    assert sorted(ids(one)) == sorted(ids(other)) == sorted(ids(plan(seeds=20)))


def test_a_maximum_takes_the_first_trials() -> None:
    for order in ("fixed", "shuffled"):
        whole, part = plan(order=order), plan(order=order, max_trials=4)
        assert len(part) == 4
        assert ids(part) == ids(whole)[:4]
    assert len(plan(max_trials=100)) == 6


def test_conditions_are_applied_before_seeds() -> None:
    found = plan(
        grid={"a": [0, 1], "b": [0, 1]}, conditions=[{"when": {"a": 0}, "then": {"b": 0}}], seeds=2
    )
    assert len(found) == 6


def test_a_million_cells_are_opened_and_hashed_in_no_time() -> None:
    started = time.perf_counter()
    found = plan(grid={key: list(range(10)) for key in "abcdef"}, base={"text": "y" * 10_000})
    assert len(found) == 10**6
    assert sum(1 for _ in found.ids()) == 10**6
    assert found.trial(123_456).options["f"] == 6
    assert time.perf_counter() - started < 10
