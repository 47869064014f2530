from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hypnet_core.errors import ConfigError
from hypnet_data import gaussian_mixture, gaussian_tasks
from hypnet_data.plots import (
    plot_classification_map,
    plot_gaussians,
    plot_real_fake,
    plot_uncertainty_map,
    uncertainty,
)
from hypnet_data.toy import GaussianMixture, MixtureTask

FOUR = ((-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0))


@pytest.fixture(scope="module")
def task() -> MixtureTask:
    return gaussian_mixture(means=FOUR, covariances=(((0.2, 0.0), (0.0, 0.2)),))


def drawn(figure: Any) -> Any:
    return np.asarray(figure.axes[0].collections[0].get_array())


def test_in_the_middle_between_all_components_nothing_is_known(task: MixtureTask) -> None:
    found = uncertainty(task.mixture, [[0.0, 0.0], [5.0, 5.0], [0.0, 5.0]])
    assert np.allclose(found, [1.0, 0.0, 0.5])  # the components alike: all four, one, two of four


def test_the_joint_uncertainty_is_the_entropy_of_component_and_input(task: MixtureTask) -> None:
    points = np.random.default_rng(0).normal(0, 1, (50, 2))
    joint = task.mixture.densities(points) * task.mixture.weights
    joint /= joint.sum(axis=1).max()
    assert np.allclose(
        uncertainty(task.mixture, points, "joint"), -(joint * np.log(joint)).sum(axis=1)
    )
    assert np.allclose(uncertainty(task.mixture, points, "density"), task.mixture.density(points))
    unknown: Any = "all"
    with pytest.raises(ConfigError, match="'class', 'density' or 'joint', got 'all'"):
        uncertainty(task.mixture, points, unknown)


def test_a_single_component_leaves_no_doubt() -> None:
    assert uncertainty(GaussianMixture.of([[0.0, 0.0]], np.eye(2)), [[1.0, 2.0]]).tolist() == [0.0]


@pytest.mark.parametrize("kind", ["class", "density", "joint"])
def test_the_uncertainty_map_has_one_value_per_point_of_the_grid(
    task: MixtureTask, kind: Any
) -> None:
    grid = task.input_mesh(size=(20, 30))
    figure = plot_uncertainty_map(task, grid=grid, kind=kind)
    assert np.allclose(drawn(figure).reshape(-1), uncertainty(task.mixture, grid.points, kind))


def test_a_networks_uncertainties_may_be_drawn_with_samples_and_components(
    task: MixtureTask, tmp_path: Path
) -> None:
    grid = task.input_mesh(size=10)
    batch = next(task.train.batches(400))
    figure = plot_uncertainty_map(
        task,
        grid=grid,
        uncertainties=np.arange(100),
        samples=batch.x,
        modes=batch.y,
        sketch_components=True,
        path=tmp_path / "map.png",
        publication_style=True,
    )
    assert drawn(figure).reshape(-1).tolist() == list(range(100))
    assert [
        np.asarray(points.get_offsets()).shape[0] for points in figure.axes[0].collections[1:]
    ] == [100] * 4
    assert len(figure.axes[0].lines) == 8
    assert (tmp_path / "map.png").stat().st_size > 1000
    with pytest.raises(
        ConfigError, match="one number per point of the grid: it has 100 points, but got 7"
    ):
        plot_uncertainty_map(task, grid=grid, uncertainties=np.arange(7))


def test_the_classification_map_shows_the_most_probable_component(task: MixtureTask) -> None:
    grid = task.input_mesh(size=15)
    figure = plot_classification_map(
        task, grid=grid, samples=next(task.train.batches(9)).x, sample_label="some"
    )
    assert drawn(figure).reshape(-1).tolist() == task.mixture.classify(grid.points).tolist()
    assert figure.axes[0].get_legend_handles_labels()[1] == ["some"]
    given = plot_classification_map(task, grid=grid, classes=np.full(225, 2))
    assert set(drawn(given).reshape(-1).tolist()) == {2}


def test_real_and_fake_samples_are_told_apart() -> None:
    figure = plot_real_fake(np.zeros((5, 2)), np.ones((7, 2)))
    assert [np.asarray(points.get_offsets()).shape[0] for points in figure.axes[0].collections] == [
        5,
        7,
    ]
    assert figure.axes[0].get_legend_handles_labels()[1] == ["real", "fake"]
    with pytest.raises(
        ConfigError, match=r"points of a plane \[n, 2\] were expected, got \[5, 3\]"
    ):
        plot_real_fake(np.zeros((5, 3)), np.ones((7, 2)))


def test_several_tasks_are_drawn_in_one_space_with_their_predictions() -> None:
    tasks = [task for task in gaussian_tasks(means=FOUR) if isinstance(task, MixtureTask)]
    places = [next(task.test.batches(5)) for task in tasks]
    figure = plot_gaussians(
        tasks, places=[p.x for p in places], predictions=[p.y for p in places], labels=list("abcd")
    )
    assert len(figure.axes[0].collections) == 8
    assert figure.axes[0].get_legend_handles_labels()[1] == list("abcd")
    with pytest.raises(ConfigError, match="give both, or neither"):
        plot_gaussians(tasks, places=[p.x for p in places])
    with pytest.raises(ConfigError, match="labels must have one entry per task"):
        plot_gaussians(tasks, labels=["a"])
