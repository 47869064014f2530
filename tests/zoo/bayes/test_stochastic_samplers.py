"""SGLD, SGHMC and ensembles against the closed forms of a Gaussian."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from hypnet_core.errors import ConfigError, DivergedError, SamplingError
from hypnet_zoo.bayes import sample
from hypnet_zoo.bayes.samplers import HMC, SGHMC, SGLD, Ensemble

PRECISION = torch.tensor([1.0, 4.0], dtype=torch.float64)
START: dict[str, Tensor | float] = {"x": torch.zeros(2, dtype=torch.float64)}


def gaussian(params: Mapping[str, Tensor]) -> Tensor:
    return -0.5 * (PRECISION * params["x"].square()).sum(-1)


def variance(sampler: Any, *, draws: int = 400) -> Tensor:
    """Variances of 500 chains."""
    found = sample(gaussian, sampler, START, chains=500, warmup=400, draws=draws, thin=2)
    return found.weights["x"].var((0, 1))


def stationary_sghmc(size: float, friction: float) -> Tensor:
    """The covariance that the linear recursion of position and velocity keeps."""
    found = []
    for precision in PRECISION.tolist():
        keep, pull = 1.0 - friction, size * precision
        step = torch.tensor([[1 - pull, keep], [-pull, keep]], dtype=torch.float64)
        noise = torch.full((2, 2), 2 * friction * size, dtype=torch.float64)
        system = torch.eye(4, dtype=torch.float64) - torch.kron(step, step)
        found.append(torch.linalg.solve(system, noise.flatten())[0])
    return torch.stack(found)


@pytest.mark.parametrize("size", [0.1, 0.4])
def test_sgld_has_the_variance_of_its_recursion(size: float) -> None:
    wanted = 1.0 / (PRECISION * (1.0 - size * PRECISION / 4.0))
    assert torch.allclose(variance(partial(SGLD, step_size=size)), wanted, rtol=0.03)


def test_sghmc_has_the_variance_of_its_recursion() -> None:
    found = variance(partial(SGHMC, step_size=0.05, friction=0.3))
    assert torch.allclose(found, stationary_sghmc(0.05, 0.3), rtol=0.03)


def test_small_steps_have_the_variance_of_the_gaussian() -> None:
    """The error is linear in the step: two sizes tell the limit, within 5 %."""
    for sampler, size in ((SGLD, 0.2), (SGHMC, 0.02)):
        large, small = (variance(partial(sampler, step_size=s)) for s in (size, size / 2))
        assert torch.allclose(2.0 * small - large, 1.0 / PRECISION, rtol=0.05), sampler


def test_cold_chains_stay_at_the_mode() -> None:
    for sampler in (SGLD, SGHMC):
        found = variance(partial(sampler, step_size=0.05, temperature=0.0), draws=50)
        assert (found < 1e-10).all()


def test_the_step_of_sgld_decays() -> None:
    """By hand: two steps with noise of the generator."""
    made = SGLD(gaussian, step_size=0.5, decay=0.5, decay_from=3.0)
    generator = torch.Generator().manual_seed(4)
    found = sample(gaussian, lambda _: made, START, chains=3, warmup=0, draws=2, seed=4)
    x = torch.zeros(3, 2, dtype=torch.float64)
    for step in range(2):
        size = 0.5 * (1 + step / 3.0) ** -0.5
        noise = torch.randn(3, 2, generator=generator, dtype=torch.float64)
        x = x - 0.5 * size * PRECISION * x + size**0.5 * noise
        assert torch.allclose(found.weights["x"][:, step], x)


def test_an_ensemble_is_adam_on_each_member() -> None:
    start = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)
    members = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([members], lr=0.1)
    for _ in range(7):
        optimizer.zero_grad()
        (-gaussian({"x": members}).sum()).backward()
        optimizer.step()
    from hypnet_core import TargetSpec, Weights

    spec = TargetSpec.from_shapes([[2]], names=["x"])
    made = partial(Ensemble, lr=0.1)
    found = sample(gaussian, made, Weights(start, spec), chains=3, warmup=6)
    assert found.weights.batch_shape == (3, 1)
    assert torch.allclose(found.weights["x"][:, 0], members.detach())


class Noisy:
    """The gradient of one of two halves of the data, drawn for each step."""

    centre = 0.0

    def __call__(self, params: Mapping[str, Tensor]) -> Tensor:
        return -0.5 * (params["x"] - self.centre).square().sum(-1)

    def resample(self, generator: torch.Generator) -> None:
        self.centre = 2.0 * float(torch.randint(2, (), generator=generator)) - 1.0


def test_estimates_are_drawn_again_at_each_step() -> None:
    options: dict[str, Any] = {"chains": 200, "warmup": 200, "draws": 300}
    found = sample(Noisy(), partial(SGLD, step_size=0.05), START, **options)
    assert float(found.weights["x"].mean()) == pytest.approx(0.0, abs=0.1)
    again = sample(Noisy(), partial(SGLD, step_size=0.05), START, **options)
    assert torch.equal(found.weights.flat, again.weights.flat)


def test_estimates_are_refused_by_samplers_that_compare_them() -> None:
    with pytest.raises(SamplingError, match="sgld or sghmc"):
        HMC(Noisy())
    with pytest.raises(SamplingError, match="batch_size=None"):
        sample(Noisy(), "nuts", START)


@pytest.mark.parametrize("sampler", [SGLD, SGHMC])
def test_steps_that_are_too_large_end_by_name(sampler: Any) -> None:
    with pytest.raises(DivergedError, match="step_size"):
        sample(gaussian, partial(sampler, step_size=50.0), START, warmup=0, draws=3000)


def test_bad_options_are_named() -> None:
    for make, word in (
        (partial(SGLD, step_size=0.0), "step_size"),
        (partial(SGLD, decay=2.0), "decay"),
        (partial(SGLD, decay_from=0.0), "decay_from"),
        (partial(SGLD, temperature=-1.0), "temperature"),
        (partial(SGHMC, friction=0.0), "friction"),
        (partial(SGHMC, noise=0.5), "noise"),
        (partial(Ensemble, lr=-1.0), "lr"),
    ):
        with pytest.raises(ConfigError, match=word):
            make(gaussian)
