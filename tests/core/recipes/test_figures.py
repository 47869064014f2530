"""Figures: found in summaries, and judged over seeds."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from hypnet_core.errors import RunError
from hypnet_core.plugins import Expected
from hypnet_core.recipes import Verdict, figure_in, interval, judge, measured, student_quantile

SUMMARY: dict[str, Any] = {
    "accuracy": 97.0,
    "during": [99.0, 98.0, 97.0],
    "final": [98.0, 49.0, 97.0],
    "scores": [[99.0], [98.0, 97.0]],
    "nested": {"deep": [1, 2]},
    "dotted.key": 5,
    "metric": "accuracy",
    "zero": 0,
    "empty": [],
    "flag": True,
}


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 10, 19, 30, 101, 500])
@pytest.mark.parametrize("probability", [0.5, 0.6, 0.9, 0.975, 0.9999])
def test_quantiles_are_those_of_scipy(freedom: int, probability: float) -> None:
    expected = stats.t.ppf(probability, freedom)
    assert student_quantile(probability, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20), st.floats(0.5, 0.99))
def test_intervals_are_those_of_scipy(values: list[float], confidence: float) -> None:
    assume(statistics.stdev(values) > 1e-6)
    found = interval(values, confidence)
    expected = stats.t.interval(
        confidence, len(values) - 1, statistics.fmean(values), stats.sem(values)
    )
    assert found == pytest.approx(tuple(map(float, expected)), rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan], [1.0, math.inf]])
def test_there_is_no_interval_of_too_little(values: list[float]) -> None:
    assert interval(values) is None


@pytest.mark.parametrize(
    ("facts", "number"),
    [
        ({"figure": "accuracy"}, 97.0),
        ({"figure": "during.1"}, 98.0),
        ({"figure": "scores.1.0"}, 98.0),
        ({"figure": "nested.deep.1"}, 2.0),
        ({"figure": "dotted.key"}, 5.0),
        ({"figure": "during", "reduce": "mean"}, 98.0),
        ({"figure": "during", "reduce": "min"}, 97.0),
        ({"figure": "scores", "reduce": "max"}, 99.0),
        ({"figure": "scores", "reduce": "sum"}, 294.0),
        ({"figure": "during", "over": "final", "reduce": "max"}, 2.0),
        ({"figure": "during", "over": "accuracy", "reduce": "min"}, 1.0),
        ({"figure": "accuracy", "over": "during.2"}, 1.0),
        ({"figure": "accuracy", "over": "zero"}, math.inf),
    ],
)
def test_a_figure_is_found_and_reduced(facts: dict[str, Any], number: float) -> None:
    assert figure_in(SUMMARY, Expected(at_most=0, **facts)) == number


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (
            {"figure": "acuracy"},
            "there is no figure 'acuracy': the summary has no 'acuracy'; did you mean 'accuracy'?",
        ),
        (
            {"figure": "nested.depe"},
            "there is no figure 'nested.depe': nested has no 'depe'; did you mean 'deep'?",
        ),
        ({"figure": "during.3"}, "the figure 'during.3' is not there: during has 3 items"),
        ({"figure": "during.x"}, "the figure 'during.x' is not there: during has 3 items"),
        ({"figure": "accuracy.0"}, "there is no figure 'accuracy.0': accuracy has no '0'"),
        ({"figure": "metric"}, "the figure 'metric' is no number but \"accuracy\""),
        ({"figure": "flag"}, "the figure 'flag' is no number but true"),
        ({"figure": "nested"}, "the figure 'nested' is no number but"),
        ({"figure": "during"}, "the figure 'during' is a list of 3: say which one (during.0)"),
        ({"figure": "empty", "reduce": "mean"}, "the figure 'empty' is an empty list"),
        (
            {"figure": "during", "over": "nested.deep", "reduce": "max"},
            "'during' cannot be divided by 'nested.deep': other lengths",
        ),
        ({"figure": "accuracy", "over": "final"}, "'accuracy' cannot be divided by 'final'"),
    ],
)
def test_a_figure_that_is_not_there_is_named(facts: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError) as error:
        figure_in(SUMMARY, Expected(at_most=0, **facts))
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("facts", "values", "verdict"),
    [
        ({"at_least": 97}, [96.0, 98.0], "met"),
        ({"at_least": 97.01}, [96.0, 98.0], "missed"),
        ({"at_least": 97, "of": "every"}, [96.0, 98.0], "missed"),
        ({"at_least": 97, "of": "every"}, [97.0, 98.0], "met"),
        ({"at_most": 0.01, "share": 0.9}, [0.0] * 9 + [5.0], "met"),
        ({"at_most": 0.01, "share": 0.9}, [0.0] * 8 + [5.0] * 2, "missed"),
        ({"value": 10, "tolerance": 1}, [9.0], "met"),
        ({"value": 10, "tolerance": 1}, [11.5], "missed"),
        ({"value": 10, "at_least": 9}, [50.0], "met"),
        ({"at_most": 1}, [0.0, math.nan], "missed"),
        ({"at_most": 1}, [math.inf], "missed"),
        ({"at_most": 1}, [], "unknown"),
    ],
)
def test_figures_are_judged_by_their_rule(
    facts: dict[str, Any], values: list[float], verdict: str
) -> None:
    figure = judge(Expected(figure="f", **facts), dict(enumerate(values)))
    assert figure.verdict == verdict
    assert list(figure.values.values()) == pytest.approx(values, nan_ok=True)


def test_an_interval_that_holds_a_bound_is_noted() -> None:
    wide = judge(Expected(figure="f", at_least=97), {0: 96.0, 1: 98.5})
    assert (wide.verdict, wide.note[:12]) == (Verdict.MET, "the interval")
    short = judge(Expected(figure="f", at_least=97.3), {0: 96.0, 1: 98.5})
    assert (short.verdict, short.note[:12]) == (Verdict.MISSED, "the interval")
    for values in ({0: 99.0, 1: 99.1, 2: 99.05}, {0: 90.0, 1: 90.1, 2: 90.05}):
        assert judge(Expected(figure="f", at_least=97), values).note == ""


def test_a_difference_pairs_runs_of_one_seed() -> None:
    one = Expected(figure="accuracy", minus="separate", at_least=-1)
    mine = {0: {"accuracy": 97.0}, 7: {"accuracy": 50.0}}
    other = {7: {"accuracy": 50.5}, 0: {"accuracy": 98.0}}
    (figure,) = measured([one], mine, {"separate": other})
    assert figure.values == {0: -1.0, 7: -0.5}
    assert (figure.mean, figure.verdict) == (-0.75, "met")
    assert figure.figure == "accuracy, minus that of separate"
    (alone,) = measured([one], mine, {})
    assert (alone.verdict, alone.mean) == ("unknown", None)
    assert "separate" in alone.note


def test_a_figure_has_its_own_source_or_that_of_the_recipe() -> None:
    own = Expected(figure="f", at_least=0, source="table 2")
    plain = Expected(figure="f", at_least=0)
    found = measured([own, plain], {0: {"f": 1}}, {}, source="the paper")
    assert [figure.source for figure in found] == ["table 2", "the paper"]
