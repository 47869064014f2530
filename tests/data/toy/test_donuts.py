from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypnet_core.errors import ConfigError
from hypnet_data import donuts
from hypnet_data.toy.donuts import annulus


def test_each_ring_is_a_class() -> None:
    task = donuts()
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 200, "test": 200}
    for split in task.splits.values():
        batch = next(split.batches(200))
        assert batch.y.tolist() == [0] * 100 + [1] * 100
        distance = batch.x.norm(dim=1)
        assert bool(((distance[:100] > 3 - 1e-5) & (distance[:100] <= 4 + 1e-5)).all())
        assert bool(((distance[100:] > 9 - 1e-5) & (distance[100:] <= 10 + 1e-5)).all())


@given(st.floats(0, 5), st.floats(0.1, 3), st.floats(-10, 10), st.floats(-10, 10))
def test_points_are_inside_the_ring(
    inner: float, width: float, first: float, second: float
) -> None:
    points = annulus((first, second), (inner, inner + width), 200, np.random.default_rng(0))
    distance = np.hypot(points[:, 0] - first, points[:, 1] - second)
    assert distance.min() > inner - 1e-9
    assert distance.max() <= inner + width + 1e-9


def test_points_are_uniform_in_area() -> None:
    points = annulus((1, 2), (1, 3), 40_000, np.random.default_rng(0)) - (1, 2)
    within_two = (np.hypot(*points.T) <= 2).mean()
    assert abs(within_two - (4 - 1) / (9 - 1)) < 0.01
    quadrants = np.bincount((points[:, 0] > 0) * 2 + (points[:, 1] > 0)) / 40_000
    assert np.allclose(quadrants, 0.25, atol=0.01)


def test_the_seed_decides_and_rings_do_not_depend_on_each_other() -> None:
    one, same, other = donuts(), donuts(seed=42), donuts(seed=1)
    more = donuts(centers=((0, 0), (0, 0), (5, 5)), radii=((3, 4), (9, 10), (0, 1)), one_hot=True)
    assert torch.equal(next(one.train.batches(200)).x, next(same.train.batches(200)).x)
    assert not torch.equal(next(one.train.batches(200)).x, next(other.train.batches(200)).x)
    assert torch.equal(next(more.train.batches(200)).x, next(one.train.batches(200)).x)
    assert next(more.train.batches(300)).y.shape == (300, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radii": ((3, 4),)}, "one entry per ring"),
        ({"centers": ((0, 0),), "radii": ((3, 4),)}, "two rings at least"),
        ({"radii": ((3, 4), (5, 5))}, "a larger outer one, got 5 and 5"),
        ({"train_size": 0}, "train_size must be at least 1"),
        ({"seed": -1}, "seed must not be negative"),
    ],
)
def test_what_cannot_be_is_an_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        donuts(**options)
