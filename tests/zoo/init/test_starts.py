"""Starts by a module's own moments, and by one conventional draw."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnet_core import ConditionSpec, MainNetwork, TargetSpec, weights_of
from hypnet_core.errors import SpecError
from hypnet_core.plugins import registry
from hypnet_zoo.hypernets import HMLP, ChunkedHMLP, Delta, HDeconv, SharedHMLP, structured_hmlp
from hypnet_zoo.init import Init, drawn_weights

CONDITIONS = ConditionSpec(count=40, size=8)
MAKERS: dict[str, Any] = {
    "hmlp": HMLP,
    "chunked": lambda target, conditions, **given: ChunkedHMLP(
        target, conditions, chunk_size=300, **given
    ),
    "structured": structured_hmlp,
}


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 30), nn.LayerNorm(30), nn.Tanh(), nn.Linear(30, 10))


@pytest.mark.parametrize("kind", [*MAKERS, "shared"])
def test_moments_come_from_the_module_as_it_was_built(kind: str) -> None:
    torch.manual_seed(0)
    module: Any = network()
    with torch.no_grad():
        module[1].weight.fill_(0.5)
        module[0].weight.mul_(3)
        module[3].bias.add_(2)
    make = MAKERS.get(kind, SharedHMLP)
    init = Init.of(module, Init(overrides={"3.weight": (0.0, 0.25)}))
    weights = make(TargetSpec.of(module), CONDITIONS, init=init)(list(range(40)))
    for name, own in module.named_parameters():
        wanted = 0.25 if name == "3.weight" else float(own.detach().var(correction=0))
        mean = 0.0 if name == "3.weight" else float(own.detach().mean())
        found = weights[name].detach()
        slack = 0.15 * math.sqrt(wanted) + 0.05
        assert float(found.mean()) == pytest.approx(mean, abs=slack), name
        if own.ndim > 1:
            assert float(found.var()) == pytest.approx(wanted, rel=0.3), name


@pytest.mark.parametrize(
    ("kind", "init"),
    [
        *((kind, Init(by_bias=True)) for kind in MAKERS),
        ("chunked", Init(by_bias=True, chunk_embedding_std=0.5)),
        ("structured", Init(by_bias=True, chunk_embedding_std=0.5)),
    ],
)
def test_by_bias_all_conditions_start_as_one_ordinary_network(kind: str, init: Init) -> None:
    torch.manual_seed(0)
    target = TargetSpec.of(network())
    hypernet = MAKERS[kind](target, CONDITIONS, init=init)
    weights = hypernet([0, 7, 30])
    assert torch.equal(weights.flat[0], weights.flat[1])
    one = weights.index(2)
    assert float(one["0.weight"].detach().var()) == pytest.approx(2 / 20, rel=0.2)
    assert torch.equal(one["1.weight"], torch.ones(30))
    assert not one["0.bias"].any()
    # Two steps teach conditions apart: the first reaches the heads alone.
    optimizer = torch.optim.SGD(hypernet.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        flat = hypernet([0, 1]).flat
        (flat[0].square().mean() + (flat[1] - 1).square().mean()).backward()
        optimizer.step()
    assert not torch.equal(*hypernet([0, 1]).flat.unbind())
    # What is added outside travels with the state.
    torch.manual_seed(1)
    twin = MAKERS[kind](target, CONDITIONS)
    twin.load_state_dict(hypernet.state_dict())
    torch.testing.assert_close(twin(3).flat, hypernet(3).flat)


def test_by_bias_is_refused_where_no_bias_writes_single_weights() -> None:
    target = TargetSpec.of(network())
    for make in (SharedHMLP, HDeconv, lambda t, c, **given: HMLP(t, c, bias=False, **given)):
        with pytest.raises(SpecError, match=r"init\.by_bias has no effect in"):
            make(target, CONDITIONS, init=Init(by_bias=True))


def test_a_module_must_be_at_hand() -> None:
    module = network()
    with pytest.raises(SpecError, match=r"init\.from_module has no effect .* init=Init\.of"):
        HMLP(TargetSpec.of(module), CONDITIONS, init=Init(from_module=True))
    MainNetwork(module)
    with pytest.raises(SpecError, match=r"use Init\.of before MainNetwork"):
        Init.of(module)
    assert hash(Init.of(network(), Init(fan="out"))) != hash(Init())


def test_a_difference_adds_no_second_mean() -> None:
    torch.manual_seed(0)
    target = TargetSpec.of(network())
    hypernet = Delta(HMLP(target, CONDITIONS), drawn_weights(target), zero=False)
    for _ in range(2):
        scales = hypernet(list(range(40)))["1.weight"].detach()
        assert float(scales.mean()) == pytest.approx(1.0, abs=0.05)
        hypernet.initialize()


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(30 * x)


def siren() -> nn.Module:
    """The start of V. Sitzmann et al., NeurIPS 2020, arXiv:2006.09661, section 3.2."""
    first, second, third = nn.Linear(1, 48), nn.Linear(48, 48), nn.Linear(48, 1)
    bound = math.sqrt(6 / 48) / 30
    with torch.no_grad():
        first.weight.uniform_(-1, 1)
        for layer in (second, third):
            layer.weight.uniform_(-bound, bound)
    return nn.Sequential(first, Sine(), second, Sine(), third)


def test_a_siren_learns_from_its_own_start() -> None:
    x = torch.linspace(-1, 1, 128)[:, None]
    y = torch.stack([(20 * x).sin() * (7 * x).cos(), (11 * x + 1).sin() + 0.3 * (40 * x).cos()])
    losses: dict[str, float] = {}
    for name in ("rules", "module"):
        torch.manual_seed(0)
        module = siren()
        init = Init.of(module) if name == "module" else Init()
        net = MainNetwork(module)
        hypernet = HMLP(net.target, ConditionSpec(count=2, size=8), init=init)
        optimizer = torch.optim.Adam(hypernet.parameters(), lr=3e-5)
        for _ in range(300):
            optimizer.zero_grad()
            loss = (net(x, weights=hypernet([0, 1])) - y).square().mean()
            loss.backward()
            optimizer.step()
        losses[name] = loss.item()
    assert losses["module"] < 3e-3
    assert losses["module"] < 0.1 * losses["rules"]


@pytest.mark.parametrize(
    "name", [one.name for one in registry().entries("hypernet") if "zoo" in one.component.target]
)
def test_hypernetworks_can_be_built_without_memory(name: str) -> None:
    """To count the parameters of a large target."""
    target = TargetSpec.of(network())
    small: dict[str, Any] = {
        "hdeconv": {"filters": [32, 16, 16, 8]},
        "chunked_hdeconv": {"image_shape": [8, 8], "filters": [8] * 4, "attention_after": []},
    }
    entry = registry().get("hypernet", name)
    options = small.get(name, {})
    count = sum(p.numel() for p in entry.build(target, CONDITIONS, **options).parameters())
    with torch.device("meta"):
        hypernet = entry.build(target, CONDITIONS, **options)
    assert sum(p.numel() for p in hypernet.parameters()) == count
    assert {p.device.type for p in hypernet.parameters()} == {"meta"}
    if name != "perturbation":  # it needs noise
        assert hypernet(3).flat.shape == (target.numel,)
    assert weights_of(hypernet).flat.numel() == count
