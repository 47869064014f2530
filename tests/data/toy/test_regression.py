from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import SplitLike
from hypnet_data import toy_regression
from hypnet_data.toy import function_named
from hypnet_data.toy.functions import NAMED


def pairs(split: SplitLike | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Inputs and targets of a split."""
    assert split is not None
    batch = next(split.batches(len(split)))
    return batch.x[:, 0].numpy(), batch.y[:, 0].numpy()


def test_by_default_there_are_20_training_and_80_test_samples_between_minus_10_and_10() -> None:
    task = toy_regression()
    assert (len(task.train), len(task.test), task.val) == (20, 80, None)
    x, _ = pairs(task.train)
    assert -10 <= x.min() < x.max() <= 10
    assert task.spec.kind == "regression"
    assert (task.spec.in_shape, task.spec.out_shape) == ((1,), (1,))


def test_test_and_validation_inputs_are_equidistant_and_reach_both_ends() -> None:
    task = toy_regression(
        test_interval=(0, 3), test_size=4, validation_interval=(-1, 1), validation_size=5
    )
    assert pairs(task.test)[0].tolist() == [0, 1, 2, 3]
    assert pairs(task.val)[0].tolist() == [-1, -0.5, 0, 0.5, 1]
    assert (task.test_interval, task.validation_interval) == ((0, 3), (-1, 1))


@pytest.mark.parametrize("name", NAMED)
def test_without_noise_targets_are_the_function(name: str) -> None:
    task = toy_regression(function=name, train_size=50)
    for split in (task.train, task.test):
        x, y = pairs(split)
        oracle = {
            "zero": 0 * x,
            "identity": x,
            "absolute": abs(x),
            "square": x * x,
            "cube": x * x * x,
            "sine": np.sin(x),
        }
        assert np.allclose(y, oracle[name], rtol=1e-5, atol=1e-5)


def test_a_function_may_be_given_in_python_or_by_its_import_string() -> None:
    x, y = pairs(
        toy_regression(function=lambda x: (x - 3) ** 3, test_interval=(2, 4), test_size=3).test
    )
    assert y.tolist() == [-1, 0, 1]
    x, y = pairs(toy_regression(function="numpy:cos").test)
    assert np.allclose(y, np.cos(x), atol=1e-6)


def test_training_inputs_are_uniform() -> None:
    x, _ = pairs(toy_regression(train_interval=(-1, 3), train_size=20_000).train)
    counts, _ = np.histogram(x, bins=8, range=(-1, 3))
    assert (abs(counts - 2500) < 5 * (2500 * 7 / 8) ** 0.5).all()  # five standard deviations


def test_several_intervals_get_their_share_by_length_and_nothing_lies_between() -> None:
    task = toy_regression(train_interval=((-4, -3), (0, 3)), train_size=20_000)
    x, _ = pairs(task.train)
    left, right = (x >= -4) & (x <= -3), (x >= 0) & (x <= 3)
    assert (left | right).all()
    assert abs(left.sum() - 5000) < 5 * (20_000 * 0.25 * 0.75) ** 0.5
    assert task.train_intervals == ((-4, -3), (0, 3))


@given(
    st.lists(st.tuples(st.floats(-50, 49), st.floats(0.1, 5)), min_size=1, max_size=4),
    st.integers(0, 2**31),
)
def test_training_inputs_lie_in_their_intervals(
    intervals: list[tuple[float, float]], seed: int
) -> None:
    given_intervals = tuple((low, low + length) for low, length in intervals)
    x, _ = pairs(toy_regression(train_interval=given_intervals, seed=seed).train)
    slack = 1e-5 * 60  # of float32
    assert all(
        any(low - slack <= value <= high + slack for low, high in given_intervals) for value in x
    )


def test_noise_has_the_standard_deviation_that_is_asked_for() -> None:
    _, y = pairs(toy_regression(function="zero", std=0.5, train_size=20_000).train)
    assert abs(y.mean()) < 5 * 0.5 / 20_000**0.5
    assert abs(y.std() - 0.5) < 5 * 0.5 / 40_000**0.5


def test_noise_may_depend_on_the_place() -> None:
    task = toy_regression(function="zero", std="absolute", train_interval=(1, 4), train_size=20_000)
    x, y = pairs(task.train)
    assert abs((y / x).std() - 1) < 5 / 40_000**0.5
    x, y = pairs(toy_regression(function="zero", std=lambda x: 0 * x, train_size=5).train)
    assert (y == 0).all()


def test_test_and_validation_targets_have_noise_only_if_asked_for() -> None:
    options: dict[str, Any] = {"std": 1.0, "validation_interval": (-1, 1), "validation_size": 5}
    clean, noisy = toy_regression(**options), toy_regression(perturb_test_val=True, **options)
    for name in ("test", "val"):
        x, y = pairs(clean.splits[name])
        assert np.allclose(y, np.sin(x), atol=1e-6)
        assert not np.allclose(pairs(noisy.splits[name])[1], np.sin(x), atol=0.1)


def test_training_samples_depend_on_the_seed_and_on_nothing_else() -> None:
    x, y = pairs(toy_regression(std=0.1, seed=4).train)
    same = toy_regression(
        std=0.1,
        seed=4,
        test_size=7,
        perturb_test_val=True,
        validation_interval=(0, 1),
        validation_size=3,
    )
    assert np.array_equal(pairs(same.train)[0], x)
    assert np.array_equal(pairs(same.train)[1], y)
    assert not np.array_equal(pairs(toy_regression(std=0.1, seed=5).train)[0], x)


def test_the_task_knows_its_function() -> None:
    task = toy_regression(function="square")
    assert task.function(np.array([3.0])) == [9]


def test_all_splits_share_one_storage_of_float32() -> None:
    task = toy_regression(validation_interval=(0, 1), validation_size=10)
    assert task.nbytes == (20 + 80 + 10) * 2 * 4
    ids = torch.cat([split.ids for split in task.splits.values()])
    assert sorted(ids.tolist()) == list(range(110))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"function": "cubic"}, "there is no function 'cubic'; did you mean 'cube'"),
        ({"function": "numpy:nothing"}, "cannot import the function 'numpy:nothing'"),
        ({"function": "no_such_module:f"}, "cannot import the function 'no_such_module:f'"),
        ({"function": ":f"}, "cannot import the function ':f'"),
        ({"function": "math:pi"}, "math:pi is not a function or class, but a float"),
        (
            {"function": lambda x: x.sum()},
            r"the function must return one number per place, but returned shape \[\]",
        ),
        ({"function": lambda x: x / 0}, "the function gives"),
        ({"std": -0.1}, "std must be 0 or a positive number, got -0.1"),
        ({"std": float("nan")}, "std must be 0 or a positive number"),
        ({"std": "identity"}, "the function for std must not be negative, but is -"),
        ({"train_interval": (1, 1)}, "a lower and a higher end, got 1 to 1"),
        ({"train_interval": ((0, 1), (3, 2))}, "got 3 to 2"),
        ({"train_interval": ()}, "at least one interval"),
        ({"test_interval": (0, float("inf"))}, "got 0 to inf"),
        ({"train_size": 0}, "train_size must be at least 1, got 0"),
        ({"test_size": -1}, "test_size must be at least 1, got -1"),
        ({"validation_size": 5}, "validation_interval and validation_size go together"),
        ({"validation_interval": (0, 1)}, "validation_interval and validation_size go together"),
        (
            {"validation_interval": (0, 1), "validation_size": -1},
            "validation_size must be at least 1",
        ),
        ({"seed": -1}, "seed must not be negative, got -1"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_options_that_are_not_possible_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        toy_regression(**options)


def test_a_named_function_is_found_by_its_name() -> None:
    assert function_named("sine") is NAMED["sine"]
