"""No condition starts with larger weights than another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hypnet_core import ConditionSpec, MainNetwork
from hypnet_zoo.hypernets import HMLP, Encoded, SharedHMLP, StructuredHMLP, by_shape
from hypnet_zoo.init import Init, drawn_weights
from hypnet_zoo.init.isometric import draw_isometric
from hypnet_zoo.mainnets import MLP

MAKERS: dict[str, Any] = {
    "hmlp": HMLP,
    "structured_hmlp": lambda target, conditions: StructuredHMLP(
        target, conditions, by_shape(target)
    ),
    "shared_hmlp": SharedHMLP,
}


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU, None])
def test_isometric_layers_keep_lengths_exactly(activation: Any) -> None:
    torch.manual_seed(0)
    widths = [(6, 40), (40, 40), (40, 50)]
    layers = [nn.Linear(i, o).double() for i, o in widths]
    draw_isometric(layers, activation)
    x = torch.randn(50, 6, dtype=torch.float64)
    z = x
    for layer in layers:
        z = layer(z) if activation is None else activation()(layer(z))
    ratios = z.norm(dim=1) / x.norm(dim=1)
    torch.testing.assert_close(ratios, ratios[:1].expand(50))


@pytest.mark.parametrize("size", [2, 8])
@pytest.mark.parametrize("depth", [3, 10])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_outputs_spread_over_conditions_as_over_independent_draws(
    make: Any, depth: int, size: int
) -> None:
    """Quantiles of the output, within a factor of three of independent networks'."""
    torch.manual_seed(0)
    net = MainNetwork(MLP((64,), 10, hidden=(64,) * (depth - 1)))
    x = torch.randn(64, 64)

    def quantiles(weights: Any) -> Any:
        sizes = [net(x, weights=one).square().mean().sqrt() for one in weights]
        return torch.stack(sizes).quantile(torch.tensor([0.1, 0.9]))

    with torch.no_grad():
        usual = quantiles([drawn_weights(net.target) for _ in range(60)])
        hypernet = make(net.target, ConditionSpec(count=60, size=size))
        found = quantiles(hypernet(list(range(60))).unbind())
    assert found[0] > usual[0] / 3
    assert found[1] < usual[1] * 3


def test_embeddings_have_one_length_also_those_added_later() -> None:
    net = MainNetwork(nn.Linear(4, 3))
    for init, std in ((Init(), 1.0), (Init(embedding_std=0.1), 0.1)):
        hypernet = HMLP(net.target, ConditionSpec(count=5, size=3), init=init)
        hypernet.add_condition()
        for condition in range(6):
            found = hypernet.embedding(condition).square().mean().sqrt().item()
            assert found == pytest.approx(std)


def test_an_encoder_gives_embeddings_of_callers_one_length() -> None:
    torch.manual_seed(0)
    net = MainNetwork(MLP((16,), 4, hidden=(16,)))
    inner = HMLP(net.target, ConditionSpec(count=0, size=5))
    normed = Encoded(inner, nn.RMSNorm(5, elementwise_affine=False))
    e = torch.randn(5)
    torch.testing.assert_close(normed(cond_input=e).flat, normed(cond_input=7 * e).flat)


def test_a_larger_gain_keeps_conditions_apart_behind_bounded_activations() -> None:
    """Mean squared distance of weights, where independent networks have 1."""
    net = MainNetwork(MLP((1,), 1, hidden=(10, 10), activation="sigmoid"))

    @torch.no_grad()
    def distance(gain: float) -> float:
        torch.manual_seed(0)
        init = Init(trunk_gain=gain)
        options: Any = {"hidden": (10, 10), "activation": "sigmoid", "init": init}
        made = [HMLP(net.target, ConditionSpec(count=3, size=2), **options) for _ in range(60)]
        flats = torch.stack([hypernet([0, 1, 2]).flat for hypernet in made])
        # Variances of 2 / fan_in: 20 per hidden layer, 2 for the output.
        assert flats.square().sum(dim=2).mean().item() == pytest.approx(42, rel=0.01)
        apart = (flats - flats.roll(1, dims=1)).square().sum(dim=2).mean()
        return float(apart) / 84

    assert distance(1.0) < 0.25
    assert 0.4 < distance(8.0) < 1.1


@pytest.mark.parametrize("trunk", ["isometric", "kaiming", "xavier_fan_in", "orthogonal"])
def test_the_gain_of_a_trunk_multiplies_its_first_layer(trunk: Any) -> None:
    def first(gain: float) -> torch.Tensor:
        torch.manual_seed(0)
        net = MainNetwork(nn.Linear(4, 3))
        init = Init(trunk=trunk, trunk_gain=gain)
        hypernet = HMLP(net.target, ConditionSpec(count=2, size=6), hidden=(20,), init=init)
        layer = hypernet.trunk[0]
        assert isinstance(layer, nn.Linear)
        return layer.weight.detach()

    torch.testing.assert_close(first(3.0), 3.0 * first(1.0))


def test_spread_embeddings_point_away_from_each_other_also_later() -> None:
    def largest_cosine(rows: torch.Tensor) -> float:
        unit = torch.nn.functional.normalize(rows, dim=1)
        return float((unit @ unit.t() - 2 * torch.eye(len(rows))).max())

    net = MainNetwork(nn.Linear(4, 3))
    init = Init(embeddings="spread", embedding_std=2.0)
    for seed in range(20):
        torch.manual_seed(seed)
        hypernet = HMLP(net.target, ConditionSpec(count=3, size=2), init=init)
        rows = torch.stack([hypernet.embedding(one).detach() for one in range(3)])
        # More than 90 degrees apart; 120, a cosine of -0.5, would be best.
        assert largest_cosine(rows) < 0.0
        torch.testing.assert_close(rows.square().mean(dim=1), torch.full((3,), 4.0))
        hypernet.add_condition()
        later = torch.stack([hypernet.embedding(one).detach() for one in range(4)])
        assert torch.equal(later[:3], rows)
        # The middle of the widest gap of at least 120 degrees.
        assert largest_cosine(later) < 0.52
        torch.testing.assert_close(later[3].square().mean(), torch.tensor(4.0))


def test_spread_embeddings_need_no_numbers_on_the_meta_device() -> None:
    net = MainNetwork(nn.Linear(4, 3))
    with torch.device("meta"):
        hypernet = HMLP(net.target, ConditionSpec(count=3, size=2), init=Init(embeddings="spread"))
        hypernet.add_condition()
    assert hypernet.embedding(3).is_meta
