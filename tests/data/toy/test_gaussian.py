from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import SplitLike
from hypnet_data import gaussian, gaussian_mixture, gaussian_tasks


def everything(split: SplitLike) -> Any:
    return next(split.batches(len(split)))


def test_by_default_the_density_of_the_inputs_is_learnt() -> None:
    task = gaussian(mean=(1.0, -1.0), covariance=((0.5, 0.1), (0.1, 0.2)), train_size=4000)
    batch = everything(task.train)
    assert np.allclose(
        batch.y[:, 0],
        multivariate_normal([1, -1], [[0.5, 0.1], [0.1, 0.2]]).pdf(batch.x),
        rtol=1e-4,
    )
    assert np.allclose(batch.x.mean(0), [1, -1], atol=0.05)
    assert np.allclose(np.cov(batch.x.numpy().T), [[0.5, 0.1], [0.1, 0.2]], atol=0.03)
    assert (task.spec.kind, task.spec.in_shape, task.spec.out_shape) == ("regression", (2,), (1,))


def test_another_function_may_be_learnt() -> None:
    task = gaussian(function=lambda x: x[:, 0] - 2 * x[:, 1])
    batch = everything(task.test)
    assert torch.allclose(batch.y[:, 0], batch.x[:, 0] - 2 * batch.x[:, 1], atol=1e-6)
    with pytest.raises(ConfigError, match="one finite number per input"):
        gaussian(function=lambda x: x)


def test_the_tasks_are_gaussians_on_a_grid() -> None:
    tasks = gaussian_tasks()
    assert len(tasks) == 25
    assert len({task.spec.name for task in tasks}) == 25
    means = [everything(task.train).x.mean(0) for task in tasks]
    grid = [(a, b) for a in range(-4, 5, 2) for b in range(-4, 5, 2)]
    assert np.allclose(means, grid, atol=0.05)


def test_a_task_does_not_depend_on_how_many_there_are() -> None:
    few, many = (
        gaussian_tasks(means=((0, 0), (1, 1)), seed=3),
        gaussian_tasks(means=((0, 0), (1, 1), (2, 2)), seed=3),
    )
    for one, other in zip(few, many, strict=False):
        assert torch.equal(everything(one.train).x, everything(other.train).x)
        assert not torch.equal(everything(one.train).x, everything(one.test).x)


def test_the_mixture_has_the_inputs_of_all_tasks() -> None:
    tasks, mixture = gaussian_tasks(seed=5), gaussian_mixture(seed=5)
    regression = gaussian_mixture(seed=5, kind="regression")
    for name in ("train", "test"):
        batches = [everything(task.splits[name]) for task in tasks]
        assert torch.equal(
            torch.cat([batch.x for batch in batches]), everything(mixture.splits[name]).x
        )
        assert torch.equal(
            torch.cat([batch.x for batch in batches]), everything(regression.splits[name]).x
        )
        assert torch.allclose(
            torch.cat([batch.y for batch in batches]), everything(regression.splits[name]).y
        )
        assert everything(mixture.splits[name]).y.tolist() == [
            k for k in range(25) for _ in range(100)
        ]


def test_components_get_their_shares_of_the_samples() -> None:
    task = gaussian_mixture(
        means=((0, 0), (3, 3), (5, 5)), weights=(0.1, 0.6, 0.3), train_size=7, test_size=50
    )
    assert everything(task.train).y.bincount().tolist() == [2, 13, 6]  # of 21: 2.1, 12.6, 6.3
    assert everything(task.test).y.bincount().tolist() == [15, 90, 45]
    assert task.mixture.weights.tolist() == [0.1, 0.6, 0.3]


def test_each_component_is_responsible_for_its_own_samples() -> None:
    task = gaussian_mixture()
    batch = everything(task.test)
    assert np.array_equal(task.mixture.classify(batch.x), batch.y)
    assert task.mixture.mode_coverage(batch.x).covered == 25
    assert task.mixture.mode_coverage(batch.x[:1000]).covered == 10
    assert task.symmetric_kl(batch.x) < task.symmetric_kl(batch.x + 0.5)
    assert task.symmetric_kl(batch.x, method="kernel", bandwidth=0.05) < task.symmetric_kl(
        batch.x + 0.5, method="kernel", bandwidth=0.05
    )


def test_a_grid_of_inputs_holds_all_samples() -> None:
    task = gaussian_mixture()
    grid = task.input_mesh(size=50)
    x = torch.cat([everything(task.train).x, everything(task.test).x]).numpy()
    assert grid.points.shape == (2500, 2)
    assert (grid.points.min(0) < x.min(0)).all()
    assert (grid.points.max(0) > x.max(0)).all()
    chosen = task.input_mesh((0, 1), (2, 3), size=(4, 5))
    assert chosen.x1.shape == (5, 4)
    assert (chosen.points.min(0).tolist(), chosen.points.max(0).tolist()) == ([0, 2], [1, 3])
    with pytest.raises(ConfigError, match=r"inputs of shape \[2\]"):
        gaussian(mean=(0,), covariance=((1,),)).input_mesh()


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (gaussian, {"covariance": ((1.0,),)}, "need covariances of shape"),
        (gaussian, {"train_size": 0}, "train_size must be at least 1"),
        (gaussian, {"seed": -1}, "seed must not be negative"),
        (gaussian, {"function": "numpy:nonsense"}, "cannot import the function"),
        (gaussian_tasks, {"covariances": (((1.0, 0.0), (0.0, 1.0)),) * 2}, "one per mean"),
        (gaussian_tasks, {"functions": ("numpy:cos",) * 2}, "one function, or one per mean"),
        (gaussian_mixture, {"covariances": (((1.0, 0.0), (0.0, 1.0)),) * 2}, "one per mean"),
        (gaussian_mixture, {"functions": ("numpy:cos",)}, "kind='regression'"),
        (gaussian_mixture, {"kind": "regression", "one_hot": True}, "kind='classification'"),
        (gaussian_mixture, {"test_size": 0}, "test_size must be at least 1"),
        (gaussian_mixture, {"weights": (1.0,)}, "as many positive weights"),
    ],
)
def test_what_cannot_be_is_an_error(make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)
