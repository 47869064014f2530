"""Predictive mixtures and calibration against torch.distributions and by hand."""

from __future__ import annotations

import pytest
import torch
from torch import distributions

from hypnet_zoo.bayes.predictive import (
    Mixture,
    calibration,
    calibration_error,
    coverage,
    expected_calibration_error,
    set_coverage,
)


@pytest.fixture
def mixture() -> Mixture:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    noise = 0.1 + torch.rand(30, 1, generator=generator, dtype=torch.float64)
    return Mixture(outputs, noise)


def test_a_mixture_is_that_of_torch(mixture: Mixture) -> None:
    known = distributions.MixtureSameFamily(
        distributions.Categorical(torch.ones(4, 30, dtype=torch.float64)),
        distributions.Normal(mixture.outputs.T, mixture.noise.expand(30, 4).T),
    )
    y = torch.tensor([-1.0, 0.0, 0.5, 2.0], dtype=torch.float64)
    assert torch.allclose(mixture.log_prob(y), known.log_prob(y))
    assert torch.allclose(mixture.cdf(y), known.cdf(y))
    assert torch.allclose(mixture.mean, known.mean)
    assert torch.allclose(mixture.std, known.stddev)


@pytest.mark.parametrize("probability", [0.01, 0.05, 0.5, 0.95])
def test_quantiles_invert_the_distribution(mixture: Mixture, probability: float) -> None:
    found = mixture.cdf(mixture.quantile(probability))
    assert torch.allclose(found, torch.full_like(found, probability), atol=1e-6)


def test_targets_from_the_mixture_are_covered_as_often_as_they_should() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(10, 1, generator=generator, dtype=torch.float64).expand(10, 20_000)
    noise = torch.full((10, 1), 0.3, dtype=torch.float64)
    pick = torch.randint(10, (20_000,), generator=generator)
    own = outputs[pick, torch.arange(20_000)]
    y = own + 0.3 * torch.randn(20_000, generator=generator, dtype=torch.float64)
    mixture = Mixture(outputs, noise)
    assert float(coverage(mixture, y).double().mean()) == pytest.approx(0.9, abs=0.01)
    assert calibration_error(mixture, y) < 0.01
    sure = Mixture(torch.zeros(1, 20_000, dtype=torch.float64), 0.1 * torch.ones(1, 1))
    levels, shares = calibration(sure, y - own)
    # Of noise that is three times as large: erf of a third of the quantile.
    expected = torch.erf(torch.erfinv(levels) / 3.0)
    assert torch.allclose(shares, expected, atol=0.015)


def test_the_calibration_error_of_classes_by_hand() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.45, 0.55]])
    y = torch.tensor([0, 1, 1, 1])
    # Bins of 1/15: two answers at .9 of which one is right, one at .7, one at .55.
    expected = (2 * abs(0.9 - 0.5) + abs(0.7 - 1.0) + abs(0.55 - 1.0)) / 4
    assert expected_calibration_error(probabilities, y) == pytest.approx(expected)


def test_sets_hold_the_likeliest_classes() -> None:
    probabilities = torch.tensor([[0.5, 0.3, 0.15, 0.05]] * 4)
    # 50 and 80 % are not yet 90 %: the third class belongs to it, the last does not.
    assert set_coverage(probabilities, torch.arange(4)).tolist() == [True, True, True, False]


def test_noise_may_differ_between_targets() -> None:
    mixture = Mixture(torch.zeros(5, 2), torch.tensor([[0.5, 2.0]]).expand(5, 2))
    assert torch.allclose(mixture.std, torch.tensor([0.5, 2.0]))
