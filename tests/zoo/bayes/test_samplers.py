"""Samplers against closed forms, exact reversibility and published posteriors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from hypnet_core import Weights
from hypnet_core.errors import ConfigError, SamplingError
from hypnet_core.specs import TargetSpec
from hypnet_zoo.bayes import Draws, ess_bulk, leapfrog, mcse_mean, sample
from hypnet_zoo.bayes.samplers import HMC, NUTS, Metropolis

SPEC = TargetSpec.from_shapes([[10]], names=["x"])


def zeros(numel: int) -> dict[str, Tensor | float]:
    return {"x": torch.zeros(numel, dtype=torch.float64)}


def standard(params: Mapping[str, Tensor]) -> Tensor:
    return -0.5 * params["x"].square().sum(-1)


def gaussian(covariance: Tensor) -> Callable[[Mapping[str, Tensor]], Tensor]:
    precision = torch.linalg.inv(covariance)

    def log_density(params: Mapping[str, Tensor]) -> Tensor:
        found: Tensor = -0.5 * ((params["x"] @ precision) * params["x"]).sum(-1)
        return found

    return log_density


def banana(params: Mapping[str, Tensor]) -> Tensor:
    """x ~ N(0, 1), y given x ~ N((x^2 - 1) / 2, 1): mean 0 and variances 1 and 1.5."""
    x, y = params["x"].unbind(-1)
    return -0.5 * x.square() - 0.5 * (y - 0.5 * (x.square() - 1.0)).square()


def correlated() -> Tensor:
    return torch.full((10, 10), 0.5, dtype=torch.float64) + 0.5 * torch.eye(10)


def ill_conditioned() -> Tensor:
    """50 parameters, condition number 1,000, rotated."""
    generator = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(50, 50, generator=generator, dtype=torch.float64))
    found: Tensor = (q * torch.logspace(-3, 0, 50, dtype=torch.float64)) @ q.T
    return found


def eight_schools(params: Mapping[str, Tensor]) -> Tensor:
    """The non-centred form; priors N(0, 5) of mu and half-Cauchy(0, 5) of tau."""
    y = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12])
    sigma = torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18])
    tau = params["log_tau"].exp()
    theta = params["mu"][:, None] + tau[:, None] * params["z"]
    squares = ((y - theta) / sigma).square() + params["z"].square()
    prior = -0.5 * (params["mu"] / 5).square() - torch.log1p((tau / 5).square())
    found: Tensor = -0.5 * squares.sum(-1) + prior + params["log_tau"]
    return found


def check_moments(found: Draws, mean: Tensor, variance: Tensor, *, rel: float = 0.05) -> None:
    draws = found.weights["x"]
    errors = mcse_mean(draws)
    assert ((draws.mean((0, 1)) - mean).abs() < 4 * errors).all()
    assert torch.allclose(draws.var((0, 1)), variance, rtol=rel)


# ------------------------------------------------------------------------- leapfrog


@pytest.mark.parametrize("mass", ["number", "vector", "matrix"])
def test_leapfrog_is_undone_by_the_opposite_momentum(mass: str) -> None:
    generator = torch.Generator().manual_seed(0)
    q, p = torch.randn(2, 3, 10, generator=generator, dtype=torch.float64)
    covariance = correlated()
    inv_mass = {"number": 0.7, "vector": covariance.diagonal() * 2, "matrix": covariance}[mass]
    options: dict[str, Any] = {"step_size": 0.1, "num_steps": 25, "inv_mass": inv_mass}
    log_density = gaussian(covariance)
    q1, p1 = leapfrog(log_density, Weights(q, SPEC), Weights(p, SPEC), **options)
    assert not torch.allclose(q1.flat, q)
    q2, p2 = leapfrog(log_density, q1, -p1, **options)
    assert torch.allclose(q2.flat, q, atol=1e-10)
    assert torch.allclose(-p2.flat, p, atol=1e-10)


@pytest.mark.parametrize("mass", ["number", "vector", "matrix"])
def test_leapfrog_is_the_textbook_loop(mass: str) -> None:
    generator = torch.Generator().manual_seed(1)
    q0, p0 = torch.randn(2, 4, 10, generator=generator, dtype=torch.float64)
    matrix = {
        "number": 0.7 * torch.eye(10, dtype=torch.float64),
        "vector": torch.diag(torch.linspace(0.5, 2, 10, dtype=torch.float64)),
        "matrix": correlated(),
    }[mass]
    given: Any = {"number": 0.7, "vector": matrix.diagonal(), "matrix": matrix}[mass]
    q, p = q0.clone(), p0.clone()
    for _ in range(5):
        p = p - 0.05 * q
        q = q + 0.1 * p @ matrix
        p = p - 0.05 * q
    found = leapfrog(
        standard, Weights(q0, SPEC), Weights(p0, SPEC), step_size=0.1, num_steps=5, inv_mass=given
    )
    assert torch.allclose(found[0].flat, q)
    assert torch.allclose(found[1].flat, p)


def test_the_error_of_the_energy_falls_with_the_square_of_the_step() -> None:
    spec = TargetSpec.from_shapes([[2]], names=["x"])
    q = Weights(torch.tensor([0.3, 0.2], dtype=torch.float64), spec)
    p = Weights(torch.tensor([0.4, -0.5], dtype=torch.float64), spec)

    def energy(q: Weights, p: Weights) -> float:
        position = Weights(q.flat[None], spec)
        return float(-banana(position) + 0.5 * p.flat.square().sum())

    errors = []
    for steps in (400, 800):
        ends = leapfrog(banana, q, p, step_size=2.0 / steps, num_steps=steps)
        errors.append(abs(energy(*ends) - energy(q, p)))
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)


def test_leapfrog_of_one_set_is_that_of_a_batch_of_one() -> None:
    q = torch.linspace(-1, 1, 10, dtype=torch.float64)
    one = leapfrog(standard, Weights(q, SPEC), Weights(q, SPEC), step_size=0.2, num_steps=3)
    many = leapfrog(
        standard, Weights(q[None], SPEC), Weights(q[None], SPEC), step_size=0.2, num_steps=3
    )
    assert one[0].batch_shape == ()
    assert torch.equal(one[0].flat, many[0].flat[0])


# ------------------------------------------------------------------------- moments


@pytest.mark.parametrize(
    "sampler",
    [NUTS, partial(NUTS, mass="dense"), partial(HMC, num_steps=5), partial(HMC, mass="dense")],
    ids=["nuts", "nuts_dense", "hmc", "hmc_dense"],
)
def test_gaussians_have_their_moments(sampler: Any) -> None:
    """Many short chains: the same number of draws for a fraction of the time."""
    covariance = correlated()
    found = sample(
        gaussian(covariance), sampler, zeros(10), chains=64, warmup=150, draws=150, progress=False
    )
    check_moments(found, torch.zeros(10), covariance.diagonal())
    draws = found.weights["x"].flatten(0, 1)
    assert torch.allclose(draws.T.cov(), covariance, atol=0.06)


def test_the_banana_has_its_moments() -> None:
    found = sample(banana, "nuts", zeros(2), chains=64, warmup=150, draws=400)
    check_moments(found, torch.zeros(2), torch.tensor([1.0, 1.5], dtype=torch.float64))


def test_metropolis_has_the_moments_of_a_gaussian() -> None:
    covariance = correlated()[:2, :2]
    found = sample(gaussian(covariance), "metropolis", zeros(2), chains=64, warmup=300, draws=1500)
    check_moments(found, torch.zeros(2), covariance.diagonal())
    assert float(found.stats["acceptance"].mean()) == pytest.approx(0.234, abs=0.05)
    assert found.gradients == 0


def test_metropolis_needs_no_gradient() -> None:
    with torch.no_grad():
        table = torch.tensor([-1.0, -0.5])

    def steps(params: Mapping[str, Tensor]) -> Tensor:
        x = params["x"][:, 0]
        inside = torch.where(x.floor() == 0, table[0], table[1])
        return torch.where((x >= 0) & (x < 2), inside, -torch.inf)

    start = {"x": torch.tensor([0.5])}
    found = sample(steps, Metropolis, start, chains=64, warmup=100, draws=500)
    share = float((found.weights["x"] < 1).float().mean())
    assert share == pytest.approx(1 / (1 + torch.e**0.5), abs=0.02)
    with pytest.raises(SamplingError, match="metropolis"):
        sample(steps, "nuts", start)


@pytest.mark.slow
def test_eight_schools_is_the_published_posterior() -> None:
    start = {
        "mu": torch.zeros((), dtype=torch.float64),
        "log_tau": torch.zeros(()),
        "z": torch.zeros(8),
    }
    found = sample(eight_schools, "nuts", start)
    mu, tau = found.weights["mu"], found.weights["log_tau"].exp()
    theta = mu[..., None] + tau[..., None] * found.weights["z"]
    draws = torch.cat([mu[..., None], tau[..., None], theta], dim=-1)
    # posteriordb, eight_schools-eight_schools_noncentered.
    published = torch.tensor([4.411, 3.602, 6.15, 4.94, 3.91, 4.80, 3.61, 4.05, 6.32, 4.88])
    assert ((draws.mean((0, 1)) - published).abs() < 4 * mcse_mean(draws)).all()
    assert found.divergences <= 3
    assert float(found.summary().worst_rhat) < 1.01
    assert float(ess_bulk(draws).min()) / found.gradients >= 0.06


@pytest.mark.slow
def test_an_effective_draw_takes_few_gradients() -> None:
    """Measured .22 to .28, .007 and .15."""
    found = sample(standard, "nuts", zeros(10))
    assert float(ess_bulk(found.weights["x"]).min()) / found.gradients >= 0.20
    log_density, start = gaussian(ill_conditioned()), zeros(50)
    for mass, least in (("diagonal", 0.005), ("dense", 0.1)):
        found = sample(log_density, {"name": "nuts", "mass": mass}, start)
        assert float(ess_bulk(found.weights["x"]).min()) / found.gradients >= least, mass


# ------------------------------------------------------------------------- details


@pytest.mark.parametrize(
    "sampler", ["nuts", {"name": "hmc", "num_steps": 3, "target": 0.9}, "metropolis"]
)
def test_a_constant_in_the_energy_changes_no_draw(sampler: Any) -> None:
    found = [
        sample(lambda p, c=c: standard(p) - c, sampler, zeros(10), warmup=100, draws=50)
        for c in (0.0, 200.0)
    ]
    assert torch.allclose(found[0].weights.flat, found[1].weights.flat, atol=1e-8)
    assert float(found[1].weights.flat.std()) > 0.5


@pytest.mark.parametrize("sampler", [HMC, NUTS])
def test_given_tuning_is_kept_without_a_warm_up(sampler: Any) -> None:
    for inv_mass in (1.0, tuple([1.0] * 10), correlated()):
        mass = "dense" if isinstance(inv_mass, Tensor) else "diagonal"
        made = partial(sampler, step_size=0.3, inv_mass=inv_mass, mass=mass)
        found = sample(standard, made, zeros(10), warmup=0, draws=5)
        assert found.state.shared["step_size"] == 0.3
        assert torch.equal(
            found.state.shared["inv_mass"],
            torch.as_tensor(inv_mass, dtype=torch.float64).expand(
                found.state.shared["inv_mass"].shape
            ),
        )


def test_the_warm_up_finds_the_covariance() -> None:
    covariance = ill_conditioned()
    found = sample(
        gaussian(covariance),
        partial(NUTS, mass="dense"),
        zeros(50),
        chains=32,
        warmup=200,
        draws=4,
    )
    learned = found.state.shared["inv_mass"]
    assert float((learned - covariance).norm() / covariance.norm()) < 0.15
    # With the right mass this is a standard Gaussian.
    assert float(found.stats["depth"].double().mean()) < 4
    assert float(found.stats["acceptance"].mean()) == pytest.approx(0.85, abs=0.1)


def test_a_fixed_mass_or_step_stays() -> None:
    found = sample(standard, partial(NUTS, mass="fixed"), zeros(10), warmup=60, draws=4)
    assert torch.equal(found.state.shared["inv_mass"], torch.ones(10, dtype=torch.float64))
    made = partial(NUTS, step_size=0.3, adapt_step_size=False)
    found = sample(standard, made, zeros(10), warmup=60, draws=4)
    assert found.state.shared["step_size"] == 0.3
    assert not torch.equal(found.state.shared["inv_mass"], torch.ones(10, dtype=torch.float64))


def test_trajectories_stop_at_their_depth() -> None:
    made = partial(NUTS, step_size=1e-3, max_depth=3)
    found = sample(standard, made, zeros(10), warmup=0, draws=20)
    assert (found.stats["depth"] == 3).all()
    assert (found.stats["gradients"] == 7).all()
    assert any("max_depth=3" in line for line in found.warnings())


def test_divergences_are_counted_and_their_remedy_named(caplog: pytest.LogCaptureFixture) -> None:
    made = partial(NUTS, step_size=3.0)
    found = sample(gaussian(ill_conditioned()), made, zeros(50), warmup=0, draws=50)
    assert found.divergences > 100
    assert "raise target=" in caplog.text
    assert any("raise target=" in line for line in found.summary().warnings)


def test_chains_are_those_of_a_batch_of_one() -> None:
    """A trajectory does not depend on the chains beside it."""
    spec = SPEC
    start = torch.randn(3, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q, p = Weights(start, spec), Weights(start.flip(0), spec)
    whole = leapfrog(banana_chain, q, p, step_size=0.1, num_steps=4)[0]
    for chain in range(3):
        single = leapfrog(banana_chain, q.index(chain), p.index(chain), step_size=0.1, num_steps=4)
        assert torch.allclose(whole.flat[chain], single[0].flat)


def banana_chain(params: Mapping[str, Tensor]) -> Tensor:
    return standard(params) - 0.1 * (params["x"][:, 1:] - params["x"][:, :-1] ** 2).square().sum(-1)


def test_multinomial_trees_keep_the_distribution() -> None:
    """Start in the distribution, without a warm-up: it must stay."""
    # Another seed than the sampler's, whose momenta must be independent of the start.
    start = torch.randn(4000, 2, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    start[:, 1] += 0.5 * (start[:, 0].square() - 1.0)
    spec = TargetSpec.from_shapes([[2]], names=["x"])
    made = partial(NUTS, step_size=0.4)
    found = sample(banana, made, Weights(start, spec), chains=4000, warmup=0, draws=3)
    for draw in range(3):
        x, y = found.weights["x"][:, draw].unbind(-1)
        noise = y - 0.5 * (x.square() - 1.0)
        for values in (x, noise):
            assert abs(float(values.mean())) < 4 / 4000**0.5
            assert float(values.var()) == pytest.approx(1.0, abs=4 * (2 / 4000) ** 0.5)


# ------------------------------------------------------------------------- bad input


def test_bad_options_are_named() -> None:
    for options, word in (
        ({"step_size": -1.0}, "step_size"),
        ({"target": 1.5}, "target"),
        ({"max_depth": 0}, "max_depth"),
    ):
        with pytest.raises(ConfigError, match=word):
            NUTS(standard, **options)
    with pytest.raises(ConfigError, match="num_steps"):
        HMC(standard, num_steps=0)
    for inv_mass in ((1.0, 2.0), -1.0, torch.ones(10, 10)):
        with pytest.raises(ConfigError, match="inv_mass"):
            sample(standard, partial(HMC, inv_mass=inv_mass, mass="dense"), zeros(10))


@pytest.mark.parametrize(
    ("log_density", "message"),
    [
        (lambda p: -p["x"].square(), r"shape \[4\], got \[4, 10\]: sum over"),
        (lambda p: -p["x"].square().sum(), r"got \[\]"),
        (lambda p: 3.0, "one value per chain, got a float"),
        (lambda p: -p["x"].detach().square().sum(-1), "has no gradient"),
        (lambda p: standard(p) + torch.log(p["x"][:, 0] - 1), "nan, because of 'x'"),
        (lambda p: standard(p) - torch.inf, "4 of 4 chains have no finite start"),
        (lambda p: standard(p) + p["x"].sum(-1).abs().sqrt(), "gradient .* not finite in 'x'"),
    ],
)
def test_densities_that_cannot_be_sampled_are_named(log_density: Any, message: str) -> None:
    with pytest.raises(SamplingError, match=message):
        sample(log_density, "nuts", zeros(10))


def test_a_density_that_raises_on_nan_never_sees_one() -> None:
    """As torch.distributions do: divergent chains must not leave all bounds."""

    def strict(params: Mapping[str, Tensor]) -> Tensor:
        x = params["x"]
        scale = x[:, :1].exp()
        inner: Tensor = torch.distributions.Normal(0.0, scale).log_prob(x[:, 1:]).sum(-1)
        return inner - x[:, 0] ** 2 / 18

    found = sample(strict, partial(NUTS, step_size=5.0), zeros(10), warmup=0, draws=100)
    assert found.divergences
    assert torch.isfinite(found.weights.flat).all()
