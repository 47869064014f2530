"""Distributions over weights, against torch's own, closed forms and draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, distributions, nn

from hypnet_core import TargetSpec
from hypnet_core.errors import SpecError, WeightsError
from hypnet_core.networks import MainNetwork, Weights
from hypnet_zoo.bayes.posteriors import (
    Dirac,
    DiracFamily,
    Discriminator,
    Gaussian,
    GaussianFamily,
    Implicit,
    ImplicitFamily,
    LearnedPrior,
    LocalWeights,
    Posterior,
    Radial,
    RadialFamily,
    ScaleMixture,
    between_means,
    gaussian_prior,
    kl,
    ssge,
    stein_direction,
    wasserstein,
)
from hypnet_zoo.init import wanted_moments
from hypnet_zoo.mainnets import MLP

SPEC = TargetSpec.of(MLP((2,), 1, hidden=(3,)))


def some(kind: Any = Gaussian, *, batch: tuple[int, ...] = (), seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    shape = (*batch, SPEC.numel)
    mean = torch.randn(shape, generator=generator, dtype=torch.float64)
    scale = 0.2 + torch.rand(shape, generator=generator, dtype=torch.float64)
    return kind(Weights(mean, SPEC), scale)


def torchs(q: Gaussian) -> distributions.Independent[distributions.Normal]:
    return distributions.Independent(distributions.Normal(q.mean.flat, q.scale), 1)


@pytest.mark.parametrize("batch", [(), (4,)])
def test_gaussians_are_those_of_torch(batch: tuple[int, ...]) -> None:
    q, p = some(batch=batch), some(batch=batch, seed=1)
    draws = q.sample(7)
    assert draws.batch_shape == (7, *batch)
    torch.testing.assert_close(q.log_prob(draws), torchs(q).log_prob(draws.flat))
    torch.testing.assert_close(q.entropy(), torchs(q).entropy())
    torch.testing.assert_close(kl(q, p), distributions.kl_divergence(torchs(q), torchs(p)))
    assert kl(q, q).abs().max() < 1e-12


@pytest.mark.parametrize("kind", [Gaussian, Radial])
def test_moments_and_entropies_are_those_of_many_draws(kind: Any) -> None:
    q, p = some(kind), gaussian_prior(SPEC, 1.3)
    torch.manual_seed(0)
    draws = q.sample(200_000)
    spread = (draws.flat - q.mean.flat).square().mean(dim=0)
    torch.testing.assert_close(
        spread / q.second_moments(), torch.ones_like(spread), atol=0.02, rtol=0
    )
    logs = q.log_prob(draws)
    error = 4.0 * float(logs.std()) / 200_000**0.5
    assert abs(float(q.entropy() + logs.mean())) < error
    ratio = logs - p.log_prob(draws)
    error = 4.0 * float(ratio.std()) / 200_000**0.5
    assert abs(float(kl(q, p) - ratio.mean())) < error


def test_radial_draws_stay_near_the_mean_in_many_dimensions() -> None:
    """The squared distance is 1 in each layer, not the number of its weights."""
    spec = TargetSpec.from_shapes([[40, 50]], names=["weight"])
    mean = Weights(torch.zeros(2000), spec)
    torch.manual_seed(0)
    near = Radial(mean, torch.ones(2000)).sample(4000).flat.square().sum(dim=1)
    far = Gaussian(mean, torch.ones(2000)).sample(100).flat.square().sum(dim=1)
    assert float(near.mean()) == pytest.approx(1.0, abs=0.1)
    assert float(far.mean()) == pytest.approx(2000.0, rel=0.02)


def test_the_density_of_a_radial_layer_integrates_to_one() -> None:
    spec = TargetSpec.from_shapes([[1, 2]], names=["weight"])
    q = Radial(Weights(torch.tensor([0.3, -0.2]), spec), torch.tensor([0.5, 1.5]))
    axis = torch.linspace(-8, 8, 1601, dtype=torch.float64) + 0.005
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1)
    total = q.log_prob(Weights(grid, spec)).exp().sum() * (16 / 1600) ** 2
    # The density is infinite at the mean, which the grid goes around.
    assert float(total) == pytest.approx(1.0, abs=0.02)


def test_a_point_has_no_entropy_and_one_draw() -> None:
    q, p = Dirac(some().mean), gaussian_prior(SPEC, 2.0)
    assert torch.equal(q.sample(3).flat[2], q.mean.flat)
    torch.testing.assert_close(kl(q, p), -p.log_prob(q.mean))
    with pytest.raises(SpecError, match="Dirac has no density"):
        kl(some(), q)


def test_distances_are_those_of_the_formula() -> None:
    q, p = some(batch=(2,)), some(batch=(2,), seed=1)
    wanted = (q.mean.flat - p.mean.flat).square().sum(1) + (q.scale - p.scale).square().sum(1)
    torch.testing.assert_close(wasserstein(q, p), wanted)
    torch.testing.assert_close(between_means(q, p), (q.mean.flat - p.mean.flat).square().sum(1))


class TestPriors:
    """Gaussian, scale mixture, learned."""

    def test_scales_go_by_kind(self) -> None:
        prior = gaussian_prior(SPEC, {"weight": 0.5})
        scales = Weights(prior.scale, SPEC)
        assert float(scales["out.weight"].flatten()[0]) == 0.5
        assert float(scales["out.bias"][0]) == 1.0
        with pytest.raises(SpecError, match=r"there is no kind 'weigth'; did you mean 'weight'"):
            gaussian_prior(SPEC, {"weigth": 0.5})
        with pytest.raises(SpecError, match="must be positive"):
            gaussian_prior(SPEC, 0.0)

    def test_a_scale_mixture_is_that_of_torch(self) -> None:
        mixture = ScaleMixture(SPEC, wide=1.5, narrow=0.1, share=0.3)
        parts = distributions.Normal(torch.zeros(2).double(), torch.tensor([1.5, 0.1]).double())
        own = distributions.MixtureSameFamily(
            distributions.Categorical(torch.tensor([0.3, 0.7]).double()), parts
        )
        draws = some().sample(5)
        torch.testing.assert_close(mixture.log_prob(draws), own.log_prob(draws.flat).sum(1))
        q = some()
        wanted = -q.entropy() - mixture.log_prob(draws).mean(0)
        torch.testing.assert_close(kl(q, mixture, draws=draws), wanted)
        with pytest.raises(SpecError, match="share between 0 and 1"):
            ScaleMixture(SPEC, share=1.0)

    def test_a_learned_prior_finds_the_scale_of_weights(self) -> None:
        """Its optimum has the second moment of each tensor, known in closed form."""
        q, prior = some(), LearnedPrior(SPEC, scale=3.0).double()
        optimizer = torch.optim.LBFGS(prior.parameters(), max_iter=200)

        def loss() -> Tensor:
            optimizer.zero_grad()
            found = kl(q, prior())
            found.backward()
            return found

        optimizer.step(loss)
        moments = Weights(q.mean.flat.square() + q.scale.square(), SPEC)
        wanted = torch.stack([moments[name].mean().sqrt() for name in SPEC.names])
        torch.testing.assert_close(prior.log_scale.exp(), wanted, rtol=1e-4, atol=1e-6)


class TestFamilies:
    """Distributions from the outputs of a hypernetwork."""

    @pytest.mark.parametrize("kind", [GaussianFamily, RadialFamily])
    def test_scales_start_as_a_share_of_those_of_weights(self, kind: Any) -> None:
        family = kind(SPEC, 0.2)
        assert family.target.numel == 2 * SPEC.numel
        q = family(torch.zeros(3, family.target.numel))
        assert isinstance(q, Gaussian)
        assert q.mean.batch_shape == (3,)
        usual = wanted_moments(SPEC)[0].variance ** 0.5
        scales = Weights(q.scale[0], SPEC)
        assert float(scales["hidden.0.weight"][0, 0]) == pytest.approx(0.2 * usual)
        # A bias as the weights of its layer.
        assert float(scales["hidden.0.bias"][0]) == pytest.approx(0.2 * usual)
        with pytest.raises(SpecError, match="start must be positive"):
            kind(SPEC, 0.0)

    def test_a_point_is_what_is_written(self) -> None:
        family = DiracFamily(SPEC)
        written = torch.randn(family.target.numel)
        assert torch.equal(family(written).mean.flat, written)

    def test_implicit_draws_are_those_of_the_written_network(self) -> None:
        family = ImplicitFamily(SPEC, latent=3, hidden=(4,), spread=0.0)
        written = torch.randn(family.target.numel, requires_grad=True)
        q = family(written)
        draws = q.sample(5, generator=torch.Generator().manual_seed(0))
        z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
        w = Weights(written, family.target)
        hidden = torch.tanh(z @ w["hidden.0.weight"].T + w["hidden.0.bias"])
        wanted = family.scales * (hidden @ w["out.weight"].T + w["out.bias"])
        torch.testing.assert_close(draws.flat, wanted)
        (gradient,) = torch.autograd.grad(draws.flat.sum(), written)
        assert bool(gradient.any())
        with pytest.raises(SpecError, match="made one by one"):
            family(written.expand(2, -1))
        with pytest.raises(SpecError, match="the entropy of Implicit is unknown"):
            kl(q, gaussian_prior(SPEC))

    def test_all_are_posteriors(self) -> None:
        for family in (DiracFamily(SPEC), GaussianFamily(SPEC), ImplicitFamily(SPEC)):
            assert isinstance(family(torch.zeros(family.target.numel)), Posterior)

    def test_a_scale_of_another_shape_is_refused(self) -> None:
        with pytest.raises(WeightsError, match=r"the scale has shape \[3\]"):
            Gaussian(some().mean, torch.ones(3))


class TestScores:
    """Directions from draws alone."""

    def test_the_score_of_a_gaussian_is_linear(self) -> None:
        torch.manual_seed(0)
        x = torch.randn(500, 2) * torch.tensor([1.0, 2.0]) + 1.0
        wanted = -(x - 1.0) / torch.tensor([1.0, 4.0])
        found = ssge(x)
        assert torch.cosine_similarity(found.flatten(), wanted.flatten(), dim=0) > 0.95
        with pytest.raises(SpecError, match="at least 2 draws"):
            ssge(torch.zeros(1, 3))

    def test_the_stein_direction_is_the_double_sum(self) -> None:
        torch.manual_seed(0)
        x, s = torch.randn(6, 3).double(), torch.randn(6, 3).double()
        h = 1.7
        wanted = torch.zeros_like(x)
        for i in range(6):
            for j in range(6):
                xj = x[j].clone().requires_grad_()
                k = torch.exp(-(xj - x[i]).square().sum() / (2 * h * h))
                (slope,) = torch.autograd.grad(k, xj)
                wanted[i] += (k.detach() * s[j] + slope) / 6
        torch.testing.assert_close(stein_direction(x, s, width=h), wanted)
        with pytest.raises(SpecError, match="in the shape of draws"):
            stein_direction(x, s[:2])

    def test_particles_that_follow_it_have_the_moments_of_the_target(self) -> None:
        torch.manual_seed(0)
        x = 0.1 * torch.randn(100, 1).double() - 4.0
        for _ in range(800):
            x = x + 0.2 * stein_direction(x, -(x - 2.0) / 0.25)
        assert float(x.mean()) == pytest.approx(2.0, abs=0.05)
        assert float(x.std()) == pytest.approx(0.5, abs=0.1)


class TestDiscriminator:
    """Density ratios from samples."""

    @pytest.mark.parametrize("statistics", [False, True])
    def test_it_estimates_the_divergence_of_a_gaussian(self, statistics: bool) -> None:
        """The contrast leaves the classifier nothing to find, and has a closed form."""
        torch.manual_seed(0)
        spec = TargetSpec.from_shapes([[1, 2]], names=["weight"])
        q = Gaussian(Weights(torch.tensor([0.5, -1.0]), spec), torch.tensor([0.3, 0.6]))
        prior = gaussian_prior(spec)
        judge = Discriminator(2, (16,), mean_statistics=statistics)
        optimizer = torch.optim.Adam(judge.parameters(), lr=0.01)
        for _ in range(200):
            optimizer.zero_grad()
            judge.loss(q.sample(200).flat).backward()
            optimizer.step()
        with torch.no_grad():
            found = torch.stack([judge.kl(q.sample(500), prior) for _ in range(20)]).mean()
        assert float(found) == pytest.approx(float(kl(q, prior)), rel=0.1)

    def test_it_finds_what_a_gaussian_does_not_say(self) -> None:
        """Two modes, whose divergence is known by quadrature."""
        torch.manual_seed(0)
        spec = TargetSpec.from_shapes([[1, 1]], names=["weight"])
        modes = distributions.Normal(torch.tensor([-1.0, 1.0]), 0.2)
        q = distributions.MixtureSameFamily(
            distributions.Categorical(torch.tensor([0.5, 0.5])), modes
        )
        prior = gaussian_prior(spec)
        axis = torch.linspace(-3, 3, 6001)
        density = q.log_prob(axis)
        wanted = ((density - prior.log_prob(Weights(axis[:, None], spec))) * density.exp()).sum()
        judge = Discriminator(1, (32, 32))
        optimizer = torch.optim.Adam(judge.parameters(), lr=0.003)
        for _ in range(1000):
            optimizer.zero_grad()
            judge.loss(q.sample((512, 1))).backward()
            optimizer.step()
        with torch.no_grad():
            found = judge.kl(Weights(q.sample((20_000, 1)), spec), prior)
        # Without the classifier the estimate would be zero.
        assert float(found) == pytest.approx(0.001 * float(wanted), abs=0.15)


def test_implicit_means_do_not_move_the_callers_random_numbers() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    q = Implicit(lambda z: z, TargetSpec.from_shapes([[3]]), 3, like=torch.zeros(1))
    assert q.mean.flat.abs().max() < 0.3
    assert torch.equal(torch.rand(2), expected)


class TestLocalReparametrisation:
    """Outputs that are drawn have the distribution of outputs by drawn weights."""

    @pytest.mark.parametrize(
        ("module", "shape"),
        [
            (nn.Linear(4, 3), (4,)),
            (nn.Linear(4, 3, bias=False), (4,)),
            (nn.Conv2d(2, 3, 3, padding=1, stride=2, groups=1), (2, 5, 5)),
            (nn.Conv1d(4, 2, 2, dilation=2, groups=2), (4, 6)),
        ],
        ids=["linear", "linear without bias", "conv2d", "conv1d"],
    )
    def test_moments_are_those_of_drawn_weights(self, module: nn.Module, shape: Any) -> None:
        torch.manual_seed(0)
        net = MainNetwork(module)
        mean = torch.randn(net.target.numel)
        q = Gaussian(Weights(mean, net.target), 0.1 + torch.rand(net.target.numel))
        x = torch.randn(1, *shape)
        local = net(x.expand(20_000, *shape), weights=LocalWeights(q))
        drawn = net(x, weights=q.sample(20_000))[:, 0]
        torch.testing.assert_close(local.mean(0), drawn.mean(0), atol=0.15, rtol=0.02)
        torch.testing.assert_close(local.std(0), drawn.std(0), atol=0.0, rtol=0.05)

    def test_gradients_have_the_same_mean_and_less_noise(self) -> None:
        torch.manual_seed(0)
        net = MainNetwork(nn.Linear(5, 1))
        x, y = torch.randn(64, 5), torch.randn(64, 1)
        log_scale = torch.full((6,), -1.0, requires_grad=True)

        def gradient(*, local: bool) -> Tensor:
            q = Gaussian(Weights(torch.zeros(6), net.target), log_scale.exp())
            weights: Any = LocalWeights(q) if local else q.sample(1).index(0)
            loss = (net(x, weights=weights) - y).square().mean()
            return torch.autograd.grad(loss, log_scale)[0]

        each = {
            way: torch.stack([gradient(local=way) for _ in range(2000)]) for way in (True, False)
        }
        error = 5.0 * each[False].std(0) / 2000**0.5
        assert ((each[True].mean(0) - each[False].mean(0)).abs() < error).all()
        assert (each[True].std(0) < 0.4 * each[False].std(0)).all()

    def test_other_operations_see_one_draw(self) -> None:
        """Norms, embeddings and recurrent layers; the same draw wherever it is read."""
        torch.manual_seed(0)
        modules: list[tuple[nn.Module, Tensor]] = [
            (nn.LayerNorm(4), torch.randn(3, 4)),
            (nn.Embedding(7, 4), torch.tensor([1, 1, 2])),
            (nn.LSTM(4, 5, batch_first=True), torch.randn(3, 6, 4)),
        ]
        for module, x in modules:
            net = MainNetwork(module)
            q = Gaussian(Weights(torch.randn(net.target.numel), net.target), torch.tensor(0.5))
            found = net(x, weights=LocalWeights(q))
            outputs = found[0] if isinstance(found, tuple) else found
            assert bool(outputs.isfinite().all())
        ids = torch.tensor([1, 1])
        net = MainNetwork(nn.Embedding(7, 4))
        q = Gaussian(Weights(torch.randn(28), net.target), torch.tensor(0.5))
        first, second = net(ids, weights=LocalWeights(q))
        assert torch.equal(first, second)

    def test_only_single_gaussians_are_local(self) -> None:
        with pytest.raises(SpecError, match="not for a Radial"):
            LocalWeights(some(Radial))
        with pytest.raises(SpecError, match=r"one distribution at a time .* \[2\]"):
            LocalWeights(some(batch=(2,)))
