from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hypnet_core.errors import ConfigError
from hypnet_data import bimodal_regression


def values(**options: Any) -> Any:
    task = bimodal_regression(**{"train_size": 20_000, **options})
    return next(task.train.batches(20_000)).y[:, 0].numpy()


def test_the_noise_has_two_modes_with_their_weights_means_and_deviations() -> None:
    y = values(first_weight=0.8, first_distance=5, second_distance=3, first_std=0.1, second_std=0.2)
    below, above = y[y < 0], y[y > 0]
    assert abs(len(below) / len(y) - 0.8) < 0.01
    assert (abs(below.mean() + 5), abs(above.mean() - 3)) < (0.01, 0.02)
    assert abs(below.std() - 0.1) < 0.005
    assert abs(above.std() - 0.2) < 0.01


def test_by_default_both_modes_are_alike() -> None:
    y = values()
    assert abs(y.mean()) < 0.15
    assert abs(np.abs(y).mean() - 5) < 0.05
    assert abs(y.std() - np.sqrt(26)) < 0.05


def test_noise_is_added_to_the_function_and_test_targets_have_none_unless_asked() -> None:
    task = bimodal_regression(function="cube", first_std=0, train_size=50)
    batch = next(task.train.batches(50))
    assert set(np.round((batch.y - batch.x**3).flatten().tolist(), 2).tolist()) == {-5.0, 5.0}
    test = next(task.test.batches(80))
    assert torch.allclose(test.y, test.x**3, rtol=1e-4)
    noisy = next(bimodal_regression(perturb_test_val=True).test.batches(80)).y
    assert bool((noisy.abs() > 1).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first_weight": 1.5}, "between 0 and 1"),
        ({"second_std": -1.0}, "a standard deviation"),
        ({"train_size": 0}, "train_size"),
    ],
)
def test_what_cannot_be_is_an_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bimodal_regression(**options)
