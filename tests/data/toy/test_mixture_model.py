from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from hypnet_core.errors import ConfigError
from hypnet_data.toy import GaussianMixture, mesh

MEANS = [[0.0, 0.0], [2.0, 1.0], [-1.0, 3.0]]
COVARIANCES = [[[1.0, 0.3], [0.3, 0.5]], [[0.2, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]]]
WEIGHTS = [0.5, 0.2, 0.3]


@pytest.fixture
def mixture() -> GaussianMixture:
    return GaussianMixture.of(MEANS, COVARIANCES, WEIGHTS)


@pytest.fixture
def points() -> Any:
    return np.random.default_rng(0).normal(0, 3, (200, 2))


def drawn(count: int, seed: int) -> Any:
    random = np.random.default_rng(seed)
    which = random.choice(3, count, p=WEIGHTS)
    factors = np.linalg.cholesky(np.array(COVARIANCES))
    return np.array(MEANS)[which] + np.einsum(
        "nij,nj->ni", factors[which], random.standard_normal((count, 2))
    )


def test_densities_are_those_that_scipy_computes(mixture: GaussianMixture, points: Any) -> None:
    expected = np.stack(
        [
            multivariate_normal(mean, cov).pdf(points)
            for mean, cov in zip(MEANS, COVARIANCES, strict=True)
        ],
        axis=1,
    )
    assert np.allclose(mixture.densities(points), expected, rtol=1e-10)
    assert np.allclose(mixture.density(torch.tensor(points)), expected @ WEIGHTS)


def test_responsibilities_follow_bayes_and_sum_to_one_everywhere(
    mixture: GaussianMixture, points: Any
) -> None:
    joint = mixture.densities(points) * WEIGHTS
    assert np.allclose(mixture.responsibilities(points), joint / joint.sum(axis=1, keepdims=True))
    far = mixture.responsibilities([[1e4, 1e4], [-1e4, 0.0]])
    assert np.allclose(far.sum(axis=1), 1)
    assert np.array_equal(mixture.classify(points), joint.argmax(axis=1))


def test_coverage_counts_the_components_that_some_sample_reaches(mixture: GaussianMixture) -> None:
    assert mixture.mode_coverage(MEANS).covered == 3
    assert mixture.mode_coverage([[0.0, 0.0], [0.1, 0.1], [-1.0, 3.0]]).covered == 2
    given = mixture.mode_coverage(
        [[0.0, 0.0], [0.1, 0.1]], responsibilities=[[0.1, 5.0, 0.0], [3.0, 0.0, 0.0]]
    )
    assert given.covered == 2
    assert given.responsibilities.tolist() == [[0.1, 5.0, 0.0], [3.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("method", "size", "options"), [("histogram", 5000, {}), ("kernel", 1000, {"bandwidth": 0.3})]
)
def test_samples_of_the_mixture_are_nearer_to_it_than_others(
    mixture: GaussianMixture, method: Any, size: int, options: Any
) -> None:
    real = drawn(size, 0)
    near = mixture.symmetric_kl(drawn(size, 1), real, method=method, **options)
    shifted = mixture.symmetric_kl(drawn(size, 1) + 1.0, real, method=method, **options)
    far = mixture.symmetric_kl(drawn(size, 1) + 4.0, real, method=method, **options)
    assert near < shifted < far


def test_the_kernel_estimate_comes_near_the_exact_divergence_of_two_gaussians() -> None:
    standard = GaussianMixture.of([[0.0]], [[1.0]])
    random = np.random.default_rng(0)
    fake, real = random.normal(1.0, 1.0, (2000, 1)), random.normal(0.0, 1.0, (2000, 1))
    estimate = standard.symmetric_kl(fake, real, method="kernel", bandwidth=0.15)
    assert abs(estimate - 1.0) < 0.12  # KL is one half each way


def test_the_histogram_estimate_equals_one_that_counts_by_hand() -> None:
    standard = GaussianMixture.of([[0.0]], [[1.0]])
    fake, real = (
        np.array([[0.0], [0.1], [0.9], [1.0]]),
        np.array([[0.2], [2.0]]),
    )  # two bins: [0, 0.5) and [0.5, 1]
    q_fake, q_real = np.full(4, 1.0), np.array([1.0, 1e-5])
    p_fake, p_real = (np.exp(-(x[:, 0] ** 2) / 2) / np.sqrt(2 * np.pi) for x in (fake, real))
    expected = (np.log(q_fake) - np.log(p_fake)).mean() + (np.log(p_real) - np.log(q_real)).mean()
    assert standard.symmetric_kl(fake, real) == pytest.approx(expected)


def test_a_mesh_has_all_its_points_in_rows() -> None:
    grid = mesh((0, 1), (-2, 2), (2, 3))
    assert grid.x1.tolist() == [[0, 1]] * 3
    assert grid.x2.tolist() == [[-2, -2], [0, 0], [2, 2]]
    assert grid.points.tolist() == [[0, -2], [1, -2], [0, 0], [1, 0], [0, 2], [1, 2]]
    with pytest.raises(ConfigError, match="at least two points"):
        mesh((0, 1), (0, 1), 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((MEANS, COVARIANCES[:2]), "need covariances of shape"),
        ((MEANS, [[1.0, 2.0], [2.0, 1.0]]), "not positive definite"),
        ((MEANS, [[1.0, 0.5], [0.0, 1.0]]), "covariances symmetric"),
        ((MEANS, COVARIANCES, [0.5, 0.5, 0.5]), "sum to 1"),
        ((MEANS, COVARIANCES, [1.0, 0.0, 0.0]), "positive weights"),
        ((MEANS, COVARIANCES, [0.5, 0.5]), "as many positive weights"),
        (([[0], [1, 1]], [[1.0]]), "means must be numbers, in rows of equal length"),
        (([["a"]], [[1.0]]), "means must be numbers"),
        (([], [[1.0]]), "at least one component"),
        (([[[0.0]]], [[1.0]]), r"shape \[components, size\], got \[1, 1, 1\]"),
        (([[0.0]], [[1.0], [1.0, 2.0]]), "covariances must be numbers"),
        ((MEANS, COVARIANCES, [[0.5], [0.5, 1]]), "weights must be numbers"),
    ],
)
def test_what_is_no_mixture_is_an_error(arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GaussianMixture.of(*arguments)


def test_inputs_and_methods_that_do_not_fit_are_named(mixture: GaussianMixture) -> None:
    with pytest.raises(ConfigError, match=r"shape \[n, 2\] were expected, got \[1, 3\]"):
        mixture.density([[1.0, 2.0, 3.0]])
    unknown: Any = "kde"
    with pytest.raises(ConfigError, match="'histogram' or 'kernel', got 'kde'"):
        mixture.symmetric_kl(MEANS, MEANS, method=unknown)
    with pytest.raises(ConfigError, match="must be positive"):
        mixture.symmetric_kl(MEANS, MEANS, floor=0)
    with pytest.raises(ConfigError, match="choose method='kernel'"):
        GaussianMixture.of([[0.0] * 3], np.eye(3)).symmetric_kl(np.zeros((4, 3)), np.zeros((4, 3)))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_points_that_are_not_finite_are_an_error_that_names_the_row(
    mixture: GaussianMixture, bad: float
) -> None:
    points = torch.zeros(4, 2)
    points[2, 1] = bad
    for use in (
        mixture.density,
        mixture.classify,
        mixture.mode_coverage,
        lambda x: mixture.symmetric_kl(x, MEANS),
    ):
        with pytest.raises(ConfigError, match="must be finite, but row 2 is not"):
            use(points)
    with pytest.raises(ConfigError, match="inputs must be numbers"):
        mixture.density([[0.0, 1.0], [2.0]])
