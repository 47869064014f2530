"""One frozen `Init` decides how a hypernetwork starts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from hypnet_core import ConditionSpec, HyperNetwork, MainNetwork, TargetSpec
from hypnet_core.errors import ConfigError, SpecError
from hypnet_core.networks import EMBEDDING
from hypnet_core.plugins import Entry, HypernetChoice, describe, registry
from hypnet_core.protocols import Initialized
from hypnet_core.runs import load_config
from hypnet_zoo.experiments import HyperCLConfig
from hypnet_zoo.hypernets import (
    HMLP,
    Chunked,
    ChunkedHMLP,
    Container,
    CosineSine,
    Delta,
    Encoded,
    LowRank,
    Perturbed,
    SeveralTargets,
    StatisticsPerCondition,
    StructuredHMLP,
    by_shape,
)
from hypnet_zoo.init import (
    HasChunkEmbeddings,
    Init,
    Initializable,
    MainnetInit,
    drawn_weights,
    wanted_moments,
)

TARGET = TargetSpec.from_shapes([[30, 20], [30], [5, 30], [5]])
CONDITIONS = ConditionSpec(count=3, size=8)
OURS = [entry for entry in registry().entries("hypernet") if "zoo" in entry.component.target]
SMALL: dict[str, dict[str, Any]] = {
    "hdeconv": {"filters": [32, 16, 16, 8]},
    "chunked_hdeconv": {"image_shape": [8, 8], "filters": [8, 8, 8, 8], "attention_after": []},
    "chunked_hmlp": {"chunk_size": 100},
    "chunked": {"chunk_size": 100},
}


def built(entry: Entry, **options: Any) -> Any:
    return entry.build(TARGET, CONDITIONS, **SMALL.get(entry.name, {}), **options)


class Plain(HyperNetwork):
    """A third party's hypernetwork, which knows nothing of `Init`."""

    def __init__(self, target: TargetSpec, conditions: ConditionSpec) -> None:
        super().__init__(target, conditions)
        self.layer = nn.Linear(conditions.size, target.numel)

    def generate(self, inputs: Tensor) -> Tensor:
        weights: Tensor = self.layer(inputs)
        return weights


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.name)
def test_every_component_fulfils_the_protocols_and_lists_init(entry: Entry) -> None:
    hypernet = built(entry)
    assert isinstance(hypernet, Initializable)
    if isinstance(hypernet, Initialized):
        assert len(hypernet.starts) == len(TARGET)
    if isinstance(hypernet, HasChunkEmbeddings):
        assert all(one.ndim == 2 for one in hypernet.all_chunk_embeddings())
    options = {option.key: option for option in describe(entry.options())}
    assert all(options[f"init.{name}"].description for name in Init.model_fields)


# The others draw tensors that `initialize` leaves alone, or draws in another order.
@pytest.mark.parametrize(
    "entry",
    [one for one in OURS if one.name not in {"delta", "magnitude_invariant", "container"}],
    ids=lambda entry: entry.name,
)
def test_the_option_equals_starting_anew(entry: Entry) -> None:
    init = Init(fan="out", scheme="xavier")
    torch.manual_seed(0)
    by_option = built(entry, init={"fan": "out", "scheme": "xavier"})
    torch.manual_seed(0)
    anew = built(entry)
    torch.manual_seed(1)
    anew.initialize(init)
    torch.manual_seed(1)
    by_option.initialize()
    uncond = {"uncond_input": torch.ones(TARGET.numel)} if entry.name == "perturbation" else {}
    torch.testing.assert_close(by_option(1, **uncond).flat, anew(1, **uncond).flat)


def test_from_the_configuration_of_an_experiment() -> None:
    config = load_config(HyperCLConfig, overrides=["hnet.init.scheme=xavier", "hnet.init.fan=out"])
    assert config.hnet.options["init"] == Init(scheme="xavier", fan="out")
    assert load_config(HyperCLConfig, base=config.model_dump(mode="json")) == config
    with pytest.raises(ConfigError, match=r"hnet.init.schem: .*did you mean 'hnet.init.scheme'"):
        load_config(HyperCLConfig, overrides=["hnet.init.schem=xavier"])
    with pytest.raises(ConfigError, match=r"hnet.init.scheme: .*'kaiming' or 'xavier'"):
        load_config(HyperCLConfig, overrides=["hnet.init.scheme=xavie"])


def test_it_is_frozen_and_equal_by_value() -> None:
    assert Init(overrides={"bias": (0.0, 1.0)}) == Init(overrides={"bias": (0.0, 1.0)})
    assert len({Init(), Init(), Init(overrides={"bias": (0.0, 1.0)})}) == 2
    with pytest.raises(ValidationError, match="frozen"):
        Init().__setattr__("fan", "out")


@pytest.mark.parametrize("make", [HMLP, ChunkedHMLP, SeveralTargets])
def test_embeddings_have_their_standard_deviation_also_those_added_later(make: Any) -> None:
    torch.manual_seed(0)
    target = {"one": TARGET} if make is SeveralTargets else TARGET
    hypernet = make(target, ConditionSpec(count=50, size=40), init=Init(embedding_std=0.1))
    rows = torch.stack(list(hypernet.parameters_of(EMBEDDING)))
    assert rows.std().item() == pytest.approx(0.1, rel=0.1)
    new = hypernet.embedding(hypernet.add_condition())
    assert new.std().item() == pytest.approx(0.1, rel=0.4)
    weights = hypernet(list(range(50)))
    for (name, tensor), moments in zip(weights.items(), hypernet.starts, strict=True):
        if make is not ChunkedHMLP:
            expected = pytest.approx(moments.mean_square, rel=0.1, abs=1e-9)
            assert tensor.square().mean().item() == expected, name


@pytest.mark.parametrize("structured", [False, True])
def test_chunk_embeddings_have_their_standard_deviation(structured: bool) -> None:
    torch.manual_seed(0)
    init = Init(chunk_embedding_std=0.3)
    target = TargetSpec.from_shapes([[20, 20]] * 40 + [[5]])
    conditions = ConditionSpec(count=20, size=8)
    hypernet = (
        StructuredHMLP(target, conditions, by_shape(target), init=init)
        if structured
        else ChunkedHMLP(target, conditions, chunk_size=200, init=init)
    )
    embeddings = hypernet.all_chunk_embeddings()[0]
    assert embeddings.std().item() == pytest.approx(0.3, rel=0.15)
    wanted = sum(
        moments.mean_square * param.numel
        for moments, param in zip(hypernet.starts, target.params, strict=True)
    )
    found = hypernet(list(range(20))).flat.square().mean().item() * target.numel
    assert found == pytest.approx(wanted, rel=0.15)


@pytest.mark.parametrize("make", [HMLP, ChunkedHMLP])
def test_a_plain_normal_start_draws_the_hypernetworks_own_weights(make: Any) -> None:
    torch.manual_seed(0)
    hypernet = make(TARGET, CONDITIONS, init=Init(normal_std=0.05))
    inner = hypernet if make is HMLP else hypernet.inner
    for layer in (*inner.trunk, *inner.heads):
        if isinstance(layer, nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.05, rel=0.2)
            assert layer.bias.abs().max() == 0
    assert hypernet.starts == ()
    draw = drawn_weights(TARGET, Init(normal_std=0.05))
    assert draw["0"].std().item() == pytest.approx(0.05, rel=0.15)
    assert draw["1"].abs().max() == 0


def test_wrappers_hand_it_to_their_inner_hypernetwork() -> None:
    init = Init(normal_std=0.5)
    inner = HMLP(TARGET, ConditionSpec(count=3, size=8, input_size=4), batch_norm=True)
    for wrapper in (Perturbed(inner), StatisticsPerCondition(inner)):
        wrapper.initialize(init)
        assert inner.init is init
        inner.initialize(Init())
    plain = HMLP(TARGET, ConditionSpec(count=0, size=16))
    Encoded(plain, CosineSine()).initialize(init)
    assert plain.init is init
    difference = HMLP(TARGET, CONDITIONS)
    delta = Delta(difference, drawn_weights(TARGET))
    delta.initialize(init)
    assert difference.init is init
    assert torch.equal(delta(1).flat, delta.base)  # a difference that starts at zero still does


def test_a_container_restricts_overrides_to_its_parts() -> None:
    torch.manual_seed(0)
    member = HMLP(TARGET.select(names="0"), CONDITIONS)
    hnet = Container(
        TARGET, [member], shared=TARGET.select(names=["1", "2"]), own=TARGET.select(names="3")
    )
    hnet.initialize(Init(overrides={"0": (0.0, 9.0), "bias": (3.0, 0.0)}))
    assert hnet(0)["0"].square().mean().item() == pytest.approx(9.0, rel=0.5)
    assert torch.equal(hnet([0, 1])["1"], torch.full((2, 30), 3.0))
    assert torch.equal(hnet([0, 1])["3"], torch.full((2, 5), 3.0))
    with pytest.raises(SpecError, match="no parameter and no kind matches '4'"):
        hnet.initialize(Init(overrides={"4": (0.0, 1.0)}))
    again = hnet(0).flat
    hnet.initialize()
    assert not torch.equal(hnet(0).flat, again)


def test_an_inner_hypernetwork_that_knows_no_init_is_named() -> None:
    with pytest.raises(SpecError, match=r"inner: a Plain has no initialize\(init\)"):
        Perturbed(Plain(TARGET, CONDITIONS)).initialize()
    with pytest.raises(SpecError, match=r"inner: a Plain has no initialize\(init\)"):
        LowRank(TARGET, lambda factors: Plain(factors, CONDITIONS), init=Init(fan="out"))
    with pytest.raises(SpecError, match=r"members\[0\]: a Plain has no initialize\(init\)"):
        Container(TARGET, [Plain(TARGET, CONDITIONS)]).initialize()
    LowRank(TARGET, lambda factors: Plain(factors, CONDITIONS))  # keeps its own start
    Chunked(TARGET, CONDITIONS, Plain, chunk_size=100)


@pytest.mark.parametrize("name", ["chunked", "low_rank"])
def test_an_inner_init_without_effect_is_refused(name: str) -> None:
    inner = {"name": "hmlp", "init": {"fan": "out"}}
    choice = HypernetChoice(name=name, inner=inner)
    with pytest.raises(SpecError, match=r"inner.init has no effect.* set init instead"):
        choice.build(TARGET, CONDITIONS)


def test_xavier_and_normal_start_the_main_networks_own_parameters() -> None:
    config = load_config(HyperCLConfig, overrides=["mnet_init.scheme=normal", "mnet_init.std=0.3"])
    module = nn.Linear(100, 100)
    config.mnet_init.apply(module)
    assert module.weight.std().item() == pytest.approx(0.3, rel=0.05)
    assert module.bias.abs().max() == 0
    MainnetInit(scheme="xavier").apply(module)
    assert module.weight.abs().max().item() == pytest.approx((6 / 200) ** 0.5, rel=0.01)
    before = module.weight.clone()
    MainnetInit().apply(module)
    assert torch.equal(module.weight, before)
    net = MainNetwork(module)
    assert wanted_moments(net.target)[0].variance == pytest.approx(2 / 100)
