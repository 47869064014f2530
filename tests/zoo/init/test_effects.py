"""An option of `Init` has an effect, or is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hypnet_core import ConditionSpec, HyperNetwork, TargetSpec
from hypnet_core.errors import ConfigError, SpecError
from hypnet_core.networks import EMBEDDING
from hypnet_core.plugins import HypernetChoice, registry
from hypnet_zoo.hypernets import (
    HMLP,
    Chunked,
    ChunkedHMLP,
    Container,
    CosineSine,
    Encoded,
    LowRank,
    Perturbed,
    StructuredHMLP,
    by_shape,
)
from hypnet_zoo.init import Init, drawn_weights, wanted_moments
from hypnet_zoo.init.protocols import HasInitOptions

TARGET = TargetSpec.from_shapes([[30, 20], [30], [5, 30], [5]])
CONDITIONS = ConditionSpec(count=3, size=8)
FROM_CALLERS = ConditionSpec(count=0, size=8, input_size=4)
SMALL: dict[str, dict[str, Any]] = {
    "hdeconv": {"filters": [32, 16, 16, 8]},
    "chunked_hdeconv": {"image_shape": [8, 8], "filters": [8, 8, 8, 8], "attention_after": []},
    "chunked_hmlp": {"chunk_size": 100},
    "chunked": {"chunk_size": 100},
    # A difference of zero hides how it would have started.
    "delta": {"zero": False},
    "magnitude_invariant": {"zero": False},
}
VALUES: dict[str, Any] = {
    "fan": "out",
    "scheme": "xavier",
    "bias": "torch",
    "trunk": "orthogonal",
    "trunk_gain": 3.0,
    "overrides": {"0": (0.0, 0.3)},
    "from_module": True,
    "by_bias": True,
    "normal_std": 0.3,
    "embeddings": "spread",
    "embedding_std": 0.01,
    "chunk_embedding_std": 0.3,
    "uniform_chunks": True,
    "min_variance": 0.5,
    "condition_share": 0.2,
    "cond_var": 0.2,
    "uncond_var": 5.0,
}
OURS = [one.name for one in registry().entries("hypernet") if "zoo" in one.component.target]
# It has an effect only for targets whose chunks differ in variance.
LATENT = {("structured_hmlp", "min_variance")}


def build(name: str, conditions: ConditionSpec = CONDITIONS, **options: Any) -> Any:
    torch.manual_seed(0)
    return HypernetChoice(name=name, **{**SMALL.get(name, {}), **options}).build(TARGET, conditions)


def tried(name: str, *args: Any, **options: Any) -> tuple[HyperNetwork | None, str]:
    """The hypernetwork, or the message of its refusal."""
    try:
        return build(name, *args, **options), ""
    except SpecError as error:
        return None, str(error)


def state(hypernet: HyperNetwork) -> list[torch.Tensor]:
    return [tensor for tensor in hypernet.state_dict().values() if tensor.is_floating_point()]


@pytest.mark.parametrize("option", list(Init.model_fields))
@pytest.mark.parametrize("name", OURS)
def test_every_option_has_an_effect_or_is_refused(name: str, option: str) -> None:
    # Embeddings of callers and conditions differ, so both are tried.
    for conditions in (CONDITIONS, FROM_CALLERS):
        usual = state(build(name, conditions))
        hypernet, refusal = tried(name, conditions, init={option: VALUES[option]})
        if hypernet is None:
            assert f"init.{option} has no effect in" in refusal
            continue
        same = all(torch.equal(a, b) for a, b in zip(usual, state(hypernet), strict=True))
        # Conditions that are added later, and embeddings from callers, may use these.
        later = (option in {"embeddings", "embedding_std"} and not conditions.count) or (
            option == "cond_var" and bool(conditions.count)
        )
        assert not same or later or (name, option) in LATENT, (name, option, conditions)


@pytest.mark.parametrize("name", OURS)
def test_every_component_tells_its_options(name: str) -> None:
    hypernet = build(name)
    assert isinstance(hypernet, HasInitOptions)
    assert hypernet.init_options(Init()) <= set(Init.model_fields)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "hmlp", "init": {"uniform_chunks": True}}, "in HMLP: there are no chunk emb"),
        ({"name": "hmlp", "init": {"trunk": "orthogonal"}, "hidden": []}, "no hidden layer"),
        ({"name": "hmlp", "init": {"fan": "out"}, "spectral_norm": True}, "no generated weight"),
        ({"name": "hmlp", "init": {"uncond_var": 2.0}}, "there is no unconditional input"),
        ({"name": "hmlp", "init": {"normal_std": 0.1, "fan": "out"}}, "normal_std replaces"),
        (
            {"name": "hmlp", "init": {"normal_std": 0.1, "overrides": {"0": (0.0, 1.0)}}},
            "normal_std replaces",
        ),
        (
            {"name": "chunked_hmlp", "init": {"chunk_embedding_std": 0.1, "min_variance": 0.1}},
            "min_variance has no effect in ChunkedHMLP: init.chunk_embedding_std sets",
        ),
        (
            {"name": "structured_hmlp", "init": {"condition_share": 0.1}},
            "StructuredHMLP: there is no chunk writer",
        ),
        ({"name": "delta", "init": {"condition_share": 0.1}}, "condition_share .* in delta"),
        ({"name": "low_rank", "init": {"uniform_chunks": True}}, "in LowRank: there are no"),
    ],
)
def test_the_refusal_names_the_option_and_the_reason(options: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        HypernetChoice(**options).build(TARGET, CONDITIONS)


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("name", ["delta", "magnitude_invariant"])
def test_the_outer_init_reaches_embeddings_behind_wrappers(name: str, zero: bool) -> None:
    conditions = ConditionSpec(count=50, size=40)
    hypernet = build(name, conditions, zero=zero, init={"embedding_std": 0.01})
    keeper = next(one for one in hypernet.modules() if EMBEDDING in embeddings_of(one))
    rows = torch.stack(list(keeper.parameters_of(EMBEDDING)))
    assert rows.std().item() == pytest.approx(0.01, rel=0.1)
    new = hypernet.add_condition()
    assert keeper.embedding(new).std().item() == pytest.approx(0.01, rel=0.5)
    if zero:
        assert torch.equal(hypernet(0).flat, hypernet.base)


def embeddings_of(module: object) -> list[str]:
    return list(module.conditional_shapes) if isinstance(module, HyperNetwork) else []


def test_the_difference_starts_by_the_outer_init() -> None:
    hypernet = build("delta", ConditionSpec(count=100, size=8), init={"scheme": "xavier"})
    for found in (hypernet.base[: 30 * 20], hypernet.delta(list(range(100)))["0"]):
        assert found.square().mean().item() == pytest.approx(1 / 20, rel=0.15)


def test_one_init_at_most_where_the_outer_starts_the_inner() -> None:
    inner = {"name": "hmlp", "init": {"fan": "out"}}
    for name in ("delta", "magnitude_invariant", "perturbation"):
        with pytest.raises(SpecError, match=r"inner\.init has no effect.* set init instead"):
            build(name, init={"scheme": "xavier"}, inner=inner)
        build(name, inner=inner)
    for nested in (
        {"name": "delta", "inner": inner},
        {"name": "container", "parts": [{"names": ["*"], "source": inner}]},
    ):
        with pytest.raises(SpecError, match=r"inner\.init has no effect"):
            build("delta", init={"scheme": "xavier"}, inner=nested)
        build("delta", inner=nested)


def test_a_difference_of_zero_from_a_file_has_no_moments(tmp_path: Any) -> None:
    from_file = {"base": tmp_path / "base.safetensors"}
    save_file(dict(drawn_weights(TARGET).items()), from_file["base"])
    with pytest.raises(SpecError, match=r"init\.fan has no effect in delta"):
        build("delta", init={"fan": "out"}, zero=True, **from_file)
    build("delta", init={"trunk": "orthogonal"}, zero=True, **from_file)
    build("delta", init={"fan": "out"}, zero=False, **from_file)


def test_a_part_of_a_container_may_keep_its_own_init() -> None:
    own = {"name": "hmlp", "init": {"overrides": {"2": (0.0, 4.0)}}}
    parts = [{"names": ["0"], "source": "shared"}, {"names": ["2"], "source": own}]
    init = {"overrides": {"0": (3.0, 0.0), "1": (2.0, 0.0)}, "embedding_std": 0.01}
    hypernet = build("container", parts=parts, init=init)
    weights = hypernet([0, 1, 2])
    assert weights["0"].eq(3.0).all()
    assert weights["1"].mean().item() == pytest.approx(2.0, abs=1e-3)
    assert weights["2"].square().mean().item() == pytest.approx(4.0, rel=0.3)
    stds = [member.embedding(0).std().item() for member in hypernet.members()]
    assert stds[0] > 0.3
    assert stds[1] < 0.03
    with pytest.raises(SpecError, match=r"init\.overrides: 2 has no effect.* sets its own init"):
        build("container", parts=parts, init={"overrides": {"2": (0.0, 1.0)}})
    all_own = [{"names": ["*"], "source": own}]
    with pytest.raises(SpecError, match=r"init\.trunk has no effect in container"):
        build("container", parts=all_own, init={"trunk": "orthogonal"})


def test_a_container_in_python_starts_its_own_tensors_alone() -> None:
    member = HMLP(TARGET.select(names=["0", "1"]), CONDITIONS)
    shared = TARGET.select(names=["2", "3"])
    with pytest.raises(SpecError, match=r"init\.trunk has no effect in Container"):
        Container(TARGET, [member], shared=shared, init=Init(trunk="orthogonal"))
    hypernet = Container(TARGET, [member], shared=shared, init=Init(overrides={"3": (1.0, 0.0)}))
    assert hypernet(0)["3"].eq(1.0).all()
    hypernet.initialize(Init(trunk="orthogonal"))
    with pytest.raises(SpecError, match=r"init\.uniform_chunks has no effect in Container"):
        hypernet.initialize(Init(uniform_chunks=True))


def test_a_refused_init_leaves_the_hypernetwork_as_it_was() -> None:
    for hypernet in (HMLP(TARGET, CONDITIONS), build("low_rank"), build("delta")):
        before = hypernet(1).flat
        with pytest.raises(SpecError, match=r"init\.uniform_chunks has no effect"):
            hypernet.initialize(Init(uniform_chunks=True))
        assert torch.equal(hypernet(1).flat, before)
        hypernet.initialize()


def test_an_encoder_keeps_inputs_of_the_standard_deviation() -> None:
    torch.manual_seed(0)
    inner = HMLP(TARGET, ConditionSpec(count=0, size=80))
    with_ids = Encoded(inner, CosineSine(), ConditionSpec(count=30, size=40))
    with_ids.initialize(Init(embedding_std=0.2))
    assert with_ids.embeddings(list(range(30))).std().item() == pytest.approx(0.2, rel=0.1)
    with_ids.initialize()
    assert with_ids.embeddings(list(range(30))).std().item() == pytest.approx(0.2, rel=0.1)
    with pytest.raises(SpecError, match=r"init\.embedding_std has no effect in Encoded"):
        Encoded(inner, CosineSine()).initialize(Init(embedding_std=0.2))


def test_products_are_measured_with_the_callers_variance() -> None:
    torch.manual_seed(0)
    conditions = ConditionSpec(count=0, size=8)
    hypernet = LowRank(TARGET, lambda f: HMLP(f, conditions), init=Init(cond_var=0.01))
    given = 0.1 * nn.functional.rms_norm(torch.randn(500, 8), (8,))  # of one length
    found = hypernet(cond_input=given)["0"].square().mean().item()
    assert found == pytest.approx(wanted_moments(TARGET)[0].variance, rel=0.15)


def test_a_chunk_writer_without_hidden_layers_has_no_trunk_to_draw() -> None:
    with pytest.raises(SpecError, match=r"init\.trunk has no effect in ChunkedHMLP"):
        ChunkedHMLP(TARGET, CONDITIONS, hidden=(), chunk_size=50, init=Init(trunk="orthogonal"))
    Chunked(TARGET, CONDITIONS, HMLP, chunk_size=50, init=Init(trunk="orthogonal"))


def test_python_may_pass_a_mapping() -> None:
    given: Any = {"scheme": "xavier", "overrides": {"1": [1.0, 0.0]}}
    hypernet = HMLP(TARGET, CONDITIONS, init=given)
    assert hypernet.init == Init(scheme="xavier", overrides={"1": (1.0, 0.0)})
    hypernet.initialize(given)
    assert wanted_moments(TARGET, given) == hypernet.starts
    given = {"schem": "xavier"}
    with pytest.raises(ConfigError, match=r"init\.schem: .*did you mean 'init\.scheme'"):
        HMLP(TARGET, CONDITIONS, init=given)


@pytest.mark.parametrize("wrong", ["xavier", 3, Init, True])
def test_anything_else_is_refused_with_the_option_and_what_it_takes(wrong: Any) -> None:
    expected = "init must be an Init or a mapping of its fields, such as .*, got"
    for name in OURS:
        entry = registry().get("hypernet", name)
        with pytest.raises((SpecError, ConfigError), match="init"):
            entry.build(TARGET, CONDITIONS, init=wrong)
    member = HMLP(TARGET, CONDITIONS)
    for call in (
        lambda: HMLP(TARGET, CONDITIONS, init=wrong),
        lambda: LowRank(TARGET, lambda f: HMLP(f, CONDITIONS), init=wrong),
        lambda: Container(TARGET, [member], init=wrong),
        lambda: member.initialize(wrong),
        lambda: build("delta").initialize(wrong),
        lambda: build("container").initialize(wrong),
        lambda: drawn_weights(TARGET, wrong),
    ):
        with pytest.raises(SpecError, match=expected):
            call()


def test_a_field_in_place_of_init_is_told_where_it_belongs() -> None:
    wrong: Any = {"fan": "out"}
    misspelt: Any = {"hiden": (5,)}
    with pytest.raises(TypeError, match=r"no option 'fan', but init has it: pass init=Init\(fan="):
        HMLP(TARGET, CONDITIONS, **wrong)
    with pytest.raises(TypeError, match="no option 'hiden'; did you mean 'hidden'"):
        HMLP(TARGET, CONDITIONS, **misspelt)


@pytest.mark.parametrize(
    "options",
    [
        {"normal_std": float("inf")},
        {"overrides": {"weight": (float("nan"), 1.0)}},
        {"overrides": {"weight": (0.0, float("inf"))}},
        {"cond_var": float("nan")},
    ],
)
def test_infinite_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="finite"):
        Init(**options)


def test_a_draw_refuses_what_it_does_not_use() -> None:
    unused: dict[str, Any] = {"trunk": "orthogonal", "cond_var": 2.0, "by_bias": True}
    for option, value in unused.items():
        with pytest.raises(SpecError, match=rf"init\.{option} has no effect in drawn_weights"):
            drawn_weights(TARGET, Init(**{option: value}))
    with pytest.raises(SpecError, match=r"init\.from_module has no effect in drawn_weights"):
        drawn_weights(TARGET, Init(from_module=True))
    drawn_weights(TARGET, Init(normal_std=0.1, overrides={"1": (1.0, 0.0)}))


def test_rules_of_an_inner_hypernetwork_are_refused_where_they_would_be_lost() -> None:
    def inner(target: TargetSpec, conditions: ConditionSpec = CONDITIONS) -> HMLP:
        return HMLP(target, conditions, init=Init(trunk="orthogonal"))

    message = r"init of the inner HMLP has no effect, because {} starts it"
    with pytest.raises(SpecError, match=message.format("LowRank")):
        LowRank(TARGET, inner)
    with pytest.raises(SpecError, match=message.format("LowRank")):
        LowRank(TARGET, lambda factors: Perturbed(inner(factors), input_size=factors.numel))
    with pytest.raises(SpecError, match=message.format("Chunked")):
        Chunked(TARGET, CONDITIONS, inner, chunk_size=50)
    chunking = by_shape(TARGET)
    own = {"init": {"trunk": "orthogonal"}}
    groups = tuple(group.model_copy(update={"options": own}) for group in chunking.groups)
    with pytest.raises(SpecError, match=message.format("StructuredHMLP")):
        StructuredHMLP(TARGET, CONDITIONS, chunking.model_copy(update={"groups": groups}))
