"""Priors, likelihoods and log posteriors against torch and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, distributions, nn

from hypnet_core import ConditionSpec, MainNetwork, TargetSpec, Weights
from hypnet_core.errors import ConfigError, DataError
from hypnet_core.protocols import NoisyLogDensity
from hypnet_core.specs import ParamKind
from hypnet_zoo.bayes import Classification, Prior, Regression, log_posterior, mcse_mean, sample
from hypnet_zoo.hypernets import HMLP
from hypnet_zoo.mainnets import MLP


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def spec() -> TargetSpec:
    return TargetSpec.of(MLP((3,), 2, hidden=(4,)))


# ------------------------------------------------------------------------- priors


@pytest.mark.parametrize("weights", ["gaussian", "laplace"])
@pytest.mark.parametrize("biases", ["gaussian", "laplace"])
def test_priors_are_those_of_torch(spec: TargetSpec, weights: str, biases: str) -> None:
    families = {"gaussian": distributions.Normal, "laplace": distributions.Laplace}
    prior = Prior.model_validate(
        {
            "family": weights,
            "scale": 2.0,
            "by_fan_in": True,
            "kinds": {"bias": {"family": biases, "scale": 0.5, "mean": 1.0}},
        }
    )
    flat = random(5, spec.numel)
    params = Weights(flat, spec)
    expected = torch.zeros(5, dtype=torch.float64)
    for param in spec:
        if param.kind == "bias":
            single = families[biases](1.0, 0.5)
        else:
            single = families[weights](0.0, 2.0 / math.sqrt(param.shape[1]))
        expected += single.log_prob(params[param.name]).flatten(1).sum(1)
    assert torch.allclose(prior.on(spec).log_prob(flat), expected)


def test_draws_of_a_prior_have_its_scales(spec: TargetSpec) -> None:
    prior = Prior(scale=2.0, kinds={ParamKind.BIAS: Prior(family="laplace", scale=0.5, mean=1.0)})
    generator = torch.Generator().manual_seed(0)
    found = prior.on(spec).sample(torch.empty(40_000, spec.numel), generator)
    biases = torch.tensor([p.kind == "bias" for p in spec for _ in range(p.numel)])
    assert float(found[:, ~biases].std()) == pytest.approx(2.0, rel=0.01)
    assert float(found[:, biases].mean()) == pytest.approx(1.0, abs=0.01)
    assert float((found[:, biases] - 1.0).abs().mean()) == pytest.approx(0.5, rel=0.01)


def test_priors_survive_json() -> None:
    prior = Prior(kinds={ParamKind.BIAS: Prior(family="laplace")})
    assert Prior.model_validate_json(prior.model_dump_json()) == prior


# ------------------------------------------------------------------------- likelihoods


def test_regression_is_that_of_torch() -> None:
    outputs, y, own = random(5, 7, 2), random(7, 2, seed=1), random(5, 1, seed=2)
    known = distributions.Normal(outputs, 0.3).log_prob(y).sum(-1)
    assert torch.allclose(Regression(0.3).each(outputs, y, own[:, :0]), known)
    learned = distributions.Normal(outputs, own.exp()[:, :, None]).log_prob(y).sum(-1)
    assert torch.allclose(Regression(None).each(outputs, y, own), learned)
    prior = distributions.Normal(math.log(0.2), 0.7).log_prob(own[:, 0])
    assert torch.allclose(Regression(None, expected=0.2, spread=0.7).log_prior(own), prior)


def test_classification_is_that_of_torch() -> None:
    outputs, y = random(5, 7, 3), torch.arange(7) % 3
    expected = distributions.Categorical(logits=outputs).log_prob(y)
    found = Classification().each(outputs, y, outputs[:, 0, :0])
    assert torch.allclose(found, expected)
    rows = torch.nn.functional.one_hot(y, 3).double()
    assert torch.allclose(Classification().each(outputs, rows, outputs[:, 0, :0]), expected)


def test_targets_of_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match="shape of the targets"):
        Regression(0.1).each(random(5, 7, 1), random(7), random(5, 0))


# ------------------------------------------------------------------------- posteriors


def test_a_linear_regression_has_its_closed_posterior() -> None:
    """Sampled by NUTS; the posterior of a Bayesian linear regression is a Gaussian."""
    x, noise = random(15, 2), 0.3
    y = x @ torch.tensor([[1.0], [-2.0]], dtype=torch.float64) + 0.5 + noise * random(15, 1, seed=1)
    density = log_posterior(
        nn.Linear(2, 1).double(), x, y, prior=Prior(scale=1.5), likelihood=noise
    )
    design = torch.cat([x, torch.ones(15, 1, dtype=torch.float64)], dim=1)
    precision = design.T @ design / noise**2 + torch.eye(3) / 1.5**2
    mean = torch.linalg.solve(precision, design.T @ y / noise**2)[:, 0]
    start = density.draw(32, torch.Generator().manual_seed(0), dtype=torch.float64)
    found = sample(density, "nuts", start, chains=32, warmup=150, draws=150)
    draws = found.weights.flat
    assert ((draws.mean((0, 1)) - mean).abs() < 4 * mcse_mean(draws)).all()
    covariance = torch.linalg.inv(precision)
    assert torch.allclose(
        draws.flatten(0, 1).T.cov(), covariance, atol=0.1 * float(covariance.max())
    )


def test_the_potential_is_that_of_the_predecessor() -> None:
    """1 / 2s^2 times the sum of squared errors, and the prior's; up to a constant."""
    net, x, y = MLP((1,), 1, hidden=(5,)).double(), random(9, 1), random(9, 1, seed=1)
    density = log_posterior(net, x, y, likelihood=0.2, prior=Prior(scale=0.7))
    flat = random(3, density.spec.numel)
    errors = torch.stack(
        [(density.net(x, weights=Weights(row, density.spec)) - y).square().sum() for row in flat]
    )
    expected = errors / (2 * 0.2**2) + flat.square().sum(1) / (2 * 0.7**2)
    away = density.potential(Weights(flat, density.spec)) - expected
    assert torch.allclose(away, away[0].expand(3))


def test_learned_noise_is_sampled_with_the_weights() -> None:
    x = random(100, 1)
    y = 2 * x + 0.25 * random(100, 1, seed=1)
    density = log_posterior(nn.Linear(1, 1).double(), x, y)
    assert density.spec.names == ("weight", "bias", "log_noise")
    start = density.draw(8, torch.Generator().manual_seed(0), dtype=torch.float64)
    found = sample(density, "nuts", start, chains=8, warmup=120, draws=40)
    assert float(found.weights["log_noise"].exp().mean()) == pytest.approx(0.25, rel=0.25)
    weights, own = density.parts(found.weights)
    assert density.outputs(weights, x).shape == (8, 40, 100, 1)
    assert own.shape == (8, 40, 1)


def test_mappings_are_densities_of_chains() -> None:
    density = log_posterior(nn.Linear(1, 1), torch.ones(3, 1), torch.ones(3, 1), likelihood=1.0)
    params = Weights(torch.randn(4, 2), density.spec)
    assert torch.equal(density(dict(params)), density(params))


def test_theta_of_a_hypernetwork_has_a_posterior() -> None:
    """Batched over chains, as each set of weights on its own; and of its condition."""
    x = random(6, 1).float()
    net = MainNetwork(MLP((1,), 1, hidden=(5,)))
    hnet = HMLP(net.target, ConditionSpec(count=2, size=3), hidden=(4,))
    theta = MainNetwork(hnet, generate="unconditional")
    found = []
    for condition in (0, 1):
        density = log_posterior(net, x, x, likelihood=0.5, hypernet=theta, condition=condition)
        assert density.target == theta.target
        draws = density.draw(3, torch.Generator().manual_seed(0))
        batched = density(draws).detach()
        for chain in range(3):
            weights = theta(condition, weights=draws.index(chain))
            outputs = net(x, weights=weights).detach()
            likelihood = distributions.Normal(outputs, 0.5).log_prob(x).sum()
            prior = distributions.Normal(0.0, 1.0).log_prob(draws.flat[chain]).sum()
            assert float(batched[chain]) == pytest.approx(float(likelihood + prior), rel=1e-4)
        found.append(batched)
    assert not torch.allclose(found[0], found[1])


def test_estimates_from_batches_are_unbiased() -> None:
    net, x, y = MLP((1,), 1, hidden=(5,)).double(), random(12, 1), random(12, 1, seed=1)
    whole = log_posterior(net, x, y, likelihood=0.5)
    some = log_posterior(whole.net, x, y, likelihood=0.5, batch_size=3)
    assert isinstance(some, NoisyLogDensity)
    assert not isinstance(whole, NoisyLogDensity)
    generator = torch.Generator().manual_seed(0)
    draws = whole.draw(2, generator, dtype=torch.float64)
    estimates = []
    for _ in range(2000):
        some.resample(generator)
        estimates.append(some(draws))
    found = torch.stack(estimates)
    error = found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - whole(draws)).abs() < 4 * error).all()
    assert (error > 0).all()


def test_what_does_not_fit_is_refused() -> None:
    x = torch.ones(3, 1)
    for module in (nn.Dropout(), nn.BatchNorm1d(1)):
        net = nn.Sequential(nn.Linear(1, 1), module)
        with pytest.raises(ConfigError, match=r"net\.eval"):
            log_posterior(net, x, x)
        log_posterior(net.eval(), x, x)
    with pytest.raises(DataError, match="3 inputs and 2 targets"):
        log_posterior(nn.Linear(1, 1), x, x[:2])
    with pytest.raises(ConfigError, match="batch_size"):
        log_posterior(nn.Linear(1, 1), x, x, batch_size=0)
    with pytest.raises(ConfigError, match="hypernet and condition"):
        log_posterior(nn.Linear(1, 1), x, x, condition=0)
    with pytest.raises(ConfigError, match="noise"):
        log_posterior(nn.Linear(1, 1), x, x, likelihood=-1.0)
