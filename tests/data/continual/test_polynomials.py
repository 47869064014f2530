from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from hypnet_core.errors import ConfigError
from hypnet_data import polynomials
from hypnet_data.toy import RegressionTask

FUNCTIONS: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
    lambda x: x + 3,
    lambda x: 2 * x**2 - 1,
    lambda x: (x - 3) ** 3,
)
INTERVALS = ((-4, -2), (-1, 1), (2, 4))


def test_the_tasks_are_the_published_ones() -> None:
    tasks = polynomials(train_size=2000)
    assert len(tasks) == 3
    for task, function, (low, high) in zip(tasks, FUNCTIONS, INTERVALS, strict=True):
        assert isinstance(task, RegressionTask)
        test = next(task.test.batches(50))
        assert torch.allclose(test.y, function(test.x), atol=1e-5)
        assert (float(test.x.min()), float(test.x.max())) == (low, high)
        train = next(task.train.batches(2000))
        assert low <= train.x.min() < train.x.max() <= high
        assert abs(float((train.y - function(train.x)).std()) - 0.05) < 0.005


def test_tasks_have_inputs_of_their_own_and_follow_the_seed() -> None:
    one, two, three = (next(task.train.batches(20)).x for task in polynomials())
    assert not torch.allclose((one + 4) / 2, (two + 1) / 2)
    assert not torch.allclose((two + 1) / 2, (three - 2) / 2)
    assert torch.equal(next(polynomials(tasks=1)[0].train.batches(20)).x, one)
    assert not torch.equal(next(polynomials(seed=1)[0].train.batches(20)).x, one)


def test_there_may_be_validation_samples() -> None:
    for task in polynomials(validation_size=7):
        assert task.val is not None
        assert len(task.val) == 7


@pytest.mark.parametrize(
    "options", [{"tasks": 4}, {"tasks": 0}, {"std": -0.1}, {"seed": -1}, {"train_size": 0}]
)
def test_what_cannot_be_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must "):
        polynomials(**options)
