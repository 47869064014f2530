from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hypnet_core import ConditionSpec, HyperNetwork, MainNetwork, TargetSpec, Weights
from hypnet_core.errors import ConditionError, SpecError, WeightsError
from hypnet_core.networks import FactoredWeights, weights_of
from hypnet_core.plugins import HypernetChoice
from hypnet_zoo.hypernets import (
    HMLP,
    ChunkedHMLP,
    Container,
    CosineSine,
    Delta,
    Encoded,
    Inputs,
    LowRank,
    Part,
    Perturbed,
    container,
    delta,
    low_rank_factors,
    magnitude_invariant,
    unconditional_weights,
)
from hypnet_zoo.init import Init, draw_chunk_embeddings, draw_condition_embeddings

NAMES = ["fc.weight", "fc.bias", "norm.weight", "norm.bias", "out.weight"]
TARGET = TargetSpec.from_shapes([[10, 5], [10], [10], [10], [5, 10]], names=NAMES)
CONDITIONS = ConditionSpec(count=4, size=6)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def moved(hypernet: nn.Module, by: float = 0.1) -> None:
    with torch.no_grad():
        for parameter in hypernet.parameters():
            parameter.add_(by * torch.randn_like(parameter))


def gradients(hypernet: HyperNetwork) -> dict[str, bool]:
    return {
        name: parameter.grad is not None and bool(parameter.grad.any())
        for name, parameter in hypernet.named_parameters()
    }


# Delta


def test_training_starts_at_the_pretrained_weights_exactly_and_leaves_them_alone() -> None:
    module = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    base = weights_of(module)
    hnet = Delta(HMLP(base.spec, CONDITIONS), base)
    net = MainNetwork(module)
    assert torch.equal(hnet([0, 3]).flat, base.flat.expand(2, -1))
    optimizer = torch.optim.SGD(hnet.parameters(), lr=0.003)
    x, y = torch.randn(64, 5), torch.randn(64, 3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (net(x, weights=hnet(2)) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    assert torch.equal(hnet.base, base.flat)
    assert not any(parameter is hnet.base for parameter in hnet.parameters())
    torch.testing.assert_close(hnet(2).flat, hnet.delta(2).flat + base.flat)
    assert "base" in hnet.state_dict()


def test_a_trainable_base_is_an_unconditional_parameter() -> None:
    base = Weights(torch.randn(TARGET.numel), TARGET)
    hnet = Delta(HMLP(TARGET, CONDITIONS), base, trainable=True)
    assert any(parameter is hnet.base for parameter in hnet.unconditional_parameters())
    (2.0 * hnet(1).flat).sum().backward()
    assert isinstance(hnet.base, nn.Parameter)
    assert hnet.base.grad is not None
    torch.testing.assert_close(hnet.base.grad, torch.full((TARGET.numel,), 2.0))


def test_a_delta_refuses_a_base_of_another_network_and_what_cannot_start_at_zero() -> None:
    with pytest.raises(WeightsError, match=r"fc.weight has shape \[10, 4\]"):
        Delta(
            HMLP(TARGET, CONDITIONS),
            {**Weights(torch.zeros(TARGET.numel), TARGET), "fc.weight": torch.zeros(10, 4)},
        )
    with pytest.raises(SpecError, match="batch dimension"):
        Delta(HMLP(TARGET, CONDITIONS), Weights(torch.zeros(2, TARGET.numel), TARGET))
    with pytest.raises(SpecError, match="spectral norm cannot start at zero"):
        Delta(
            HMLP(TARGET, CONDITIONS, spectral_norm=True), Weights(torch.zeros(TARGET.numel), TARGET)
        )


def test_the_base_may_come_from_a_file(tmp_path: Path) -> None:
    tensors = {
        name: tensor.clone() for name, tensor in Weights(torch.randn(TARGET.numel), TARGET).items()
    }
    save_file({**tensors, "more": torch.zeros(3)}, tmp_path / "base.safetensors")
    hnet = delta(
        TARGET,
        CONDITIONS,
        base=tmp_path / "base.safetensors",
        inner=HypernetChoice(name="low_rank", rank=1),
    )
    assert torch.equal(hnet(1)["out.weight"], tensors["out.weight"])
    save_file(
        {name: tensor for name, tensor in tensors.items() if name != "fc.bias"},
        tmp_path / "less.safetensors",
    )
    with pytest.raises(SpecError, match=r"less.safetensors holds no 'fc.bias'; did you mean"):
        delta(TARGET, CONDITIONS, base=tmp_path / "less.safetensors")
    save_file({**tensors, "fc.bias": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(SpecError, match=r"other.safetensors: fc.bias has shape \[3\]"):
        delta(TARGET, CONDITIONS, base=tmp_path / "other.safetensors")
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "base.safetensors").read_bytes()[:-7])
    for name in ("torn", "absent"):
        with pytest.raises(SpecError, match=rf"{name}.safetensors cannot be read as safetensors"):
            delta(TARGET, CONDITIONS, base=tmp_path / f"{name}.safetensors")


# Low rank


def test_every_matrix_and_kernel_is_the_product_of_its_factors() -> None:
    target = TargetSpec.from_shapes([[7, 3, 2, 2], [7], [4, 9]], names=["conv", "bias", "fc"])
    hnet = LowRank(target, lambda factors: HMLP(factors, CONDITIONS), rank=2, alpha=5.0)
    moved(hnet)
    weights, factors = hnet([0, 2]), hnet.factors([0, 2])
    generated = hnet.inner([0, 2])
    for name, shape in (("conv", (7, 3, 2, 2)), ("fc", (4, 9))):
        down, up = factors[name]
        for i in range(2):
            torch.testing.assert_close(weights[name][i], (2.5 * up[i] @ down[i]).view(shape))
            assert torch.linalg.matrix_rank(weights[name][i].flatten(1)) == 2
    torch.testing.assert_close(weights["bias"], generated["bias"])
    torch.testing.assert_close(
        factors["fc"][0], generated["fc.lora_A"] + hnet.shared_A[24:].view(2, 9)
    )


@pytest.mark.parametrize(
    "make", [HMLP, lambda target, conditions: ChunkedHMLP(target, conditions, chunk_size=20)]
)
def test_a_low_rank_delta_starts_at_the_base_and_learns_from_the_first_step(make: Any) -> None:
    base = Weights(torch.randn(TARGET.numel), TARGET)
    hnet = Delta(LowRank(TARGET, lambda factors: make(factors, CONDITIONS), rank=2), base)
    assert torch.equal(hnet(1).flat, base.flat)
    hnet(1).flat.square().sum().backward()
    reached = gradients(hnet)
    assert any(reached[name] for name in reached if "head" in name)
    assert not any(
        reached[name] for name in reached if name.startswith("inner.inner.conditional.embedding.0")
    )
    with torch.no_grad():
        for parameter in hnet.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.1 * parameter.grad)
    assert not torch.equal(hnet(1).flat, base.flat)


def test_a_low_rank_needs_a_rank_and_a_matrix() -> None:
    with pytest.raises(SpecError, match="rank must be positive, got 0"):
        low_rank_factors(TARGET, 0)
    with pytest.raises(SpecError, match="nothing to factorise"):
        low_rank_factors(TARGET.select(names="*.bias"), 2)


# Container


def test_a_container_puts_hypernetworks_shared_and_own_tensors_together() -> None:
    first = HMLP(TARGET.select(names="fc.*"), CONDITIONS)
    hnet = Container(
        TARGET, [first], shared=TARGET.select(names="norm.*"), own=TARGET.select(names="out.*")
    )
    weights = hnet([1, 3])
    torch.testing.assert_close(weights["fc.weight"], first([1, 3])["fc.weight"])
    assert torch.equal(weights["norm.weight"][0], weights["norm.weight"][1])
    owned = [hnet.parameters_of("own")[i].view(5, 10) for i in (1, 3)]
    assert torch.equal(weights["out.weight"], torch.stack(owned))
    assert torch.equal(hnet(3).flat, hnet([3]).flat[0])
    assert len(hnet.conditional_parameters(1)) == 2
    assert {id(p) for p in hnet.conditional_parameters()} & {
        id(p) for p in hnet.unconditional_parameters()
    } == set()
    # a gradient of condition 1 reaches its own tensors, the shared ones and theta, and
    # no other condition
    hnet(1).flat.sum().backward()
    reached = {name for name, is_there in gradients(hnet).items() if is_there}
    assert {name for name in reached if "conditional" in name} == {
        "conditional.own.1",
        "writers.0.conditional.embedding.1",
    }
    assert "shared" in reached


def test_a_container_of_two_hypernetworks_and_an_assembly_function() -> None:
    first, last = (
        HMLP(TargetSpec.from_shapes([[10, 5]]), CONDITIONS),
        HMLP(TargetSpec.from_shapes([[20]]), CONDITIONS),
    )

    def assembly(
        parts: Sequence[Weights], shared: Weights | None, own: Weights | None
    ) -> Mapping[str, Tensor]:
        assert shared is not None
        assert own is None
        w, b = parts[0]["0"], parts[1]["0"]
        return {"w": w.mT, "b": b[..., :10] + b[..., 10:], "scale": shared["scale"].exp()}

    target = TargetSpec.from_shapes([[5, 10], [10], [10]], names=["w", "b", "scale"])
    hnet = Container(
        target,
        [first, last],
        shared=TargetSpec.from_shapes([[10]], names=["scale"]),
        combine=assembly,
    )
    weights = hnet([0, 2])
    torch.testing.assert_close(weights["w"], first([0, 2])["0"].mT)
    assert weights["scale"].shape == (2, 10)
    torch.testing.assert_close(hnet(2).flat, weights.flat[1])
    with pytest.raises(
        SpecError, match="combine does not give the target: 1 of 3 weights are missing: b"
    ):
        Container(
            target,
            [first],
            combine=lambda parts, _shared, _own: {"w": parts[0]["0"].mT, "scale": torch.ones(10)},
        )
    with pytest.raises(SpecError, match=r"combine does not give the target: w has shape \[10, 5\]"):
        Container(
            target,
            [first],
            combine=lambda parts, _shared, _own: {
                "w": parts[0]["0"],
                "b": torch.ones(10),
                "scale": torch.ones(10),
            },
        )


def test_a_container_says_what_does_not_fit() -> None:
    fc, norm, out = (TARGET.select(names=f"{name}.*") for name in ("fc", "norm", "out"))
    with pytest.raises(
        SpecError,
        match=r"nothing generates 3 of the target's 5 tensors: norm.weight, norm.bias, out.weight",
    ):
        Container(TARGET, [HMLP(fc, CONDITIONS)])
    with pytest.raises(SpecError, match=r"fc.weight comes from both members\[0\] and shared"):
        Container(TARGET, [HMLP(fc, CONDITIONS)], shared=fc)
    with pytest.raises(
        SpecError,
        match=(
            r"members\[0\] generates 'fc.wieght', which the target lacks; did you mean 'fc.weight'"
        ),
    ):
        Container(
            TARGET, [HMLP(TargetSpec.from_shapes([[10, 5]], names=["fc.wieght"]), CONDITIONS)]
        )
    with pytest.raises(
        SpecError, match=r"own generates fc.bias with shape \[9\], the target's is \[10\]"
    ):
        Container(
            TARGET, [], own=TargetSpec.from_shapes([[9]], names=["fc.bias"]), conditions=CONDITIONS
        )
    with pytest.raises(SpecError, match=r"members\[1\] has 3 conditions, members\[0\] has 4"):
        Container(
            TARGET, [HMLP(fc, CONDITIONS), HMLP(norm, ConditionSpec(count=3, size=6))], shared=out
        )
    with pytest.raises(SpecError, match="without hypernetworks needs conditions="):
        Container(TARGET, [], shared=TARGET)
    with pytest.raises(SpecError, match="unconditional inputs of different sizes: 2, 3"):
        Container(
            TARGET,
            [
                HMLP(fc, ConditionSpec(count=1, size=2, input_size=2)),
                HMLP(norm, ConditionSpec(count=1, size=2, input_size=3)),
            ],
            shared=out,
        )
    hnet = Container(TARGET, [HMLP(fc, CONDITIONS)], shared=norm, own=out)
    with pytest.raises(ConditionError, match=r"out.weight belong to conditions: pass condition="):
        hnet(cond_input=torch.zeros(6))
    with pytest.raises(ConditionError, match="there is no condition 4"):
        hnet(4)


def test_conditions_are_added_to_every_part_and_come_back_from_a_checkpoint() -> None:
    def build() -> Container:
        fc, norm, out = (TARGET.select(names=f"{name}.*") for name in ("fc", "norm", "out"))
        return Container(
            TARGET, [HMLP(fc, CONDITIONS), ChunkedHMLP(norm, CONDITIONS, chunk_size=7)], own=out
        )

    hnet = build()
    assert (hnet.add_condition(), hnet.add_condition()) == (4, 5)
    other = build()
    other.load_state_dict(hnet.state_dict())
    assert torch.equal(other(5).flat, hnet(5).flat)
    assert other.conditions.count == 6
    assert [member.conditions.count for member in other.members()] == [6, 6]
    assert other.add_condition() == 6


def test_the_registered_container_splits_by_globs_and_kinds() -> None:
    parts = (
        Part(names=("norm.*",), source="shared"),
        Part(names=("bias",), source="own"),
        Part(names=("fc.*",), source=HypernetChoice(name="hmlp", hidden=(5,))),
    )
    hnet = container(TARGET, CONDITIONS, parts=parts)
    assert hnet.shared_spec is not None
    assert hnet.shared_spec.names == ("norm.weight", "norm.bias")
    assert hnet.own_spec is not None
    assert hnet.own_spec.names == ("fc.bias",)
    assert [member.target.names for member in hnet.members()] == [("fc.weight",), ("out.weight",)]
    with pytest.raises(SpecError, match=r"parts: nrom.\* matches no tensor that is left"):
        container(TARGET, CONDITIONS, parts=(Part(names=("nrom.*",), source="own"),))


# Perturbation


def test_noise_is_added_to_what_the_first_values_generate() -> None:
    inner = HMLP(TARGET, ConditionSpec(count=2, size=3, input_size=8))
    hnet = Perturbed(inner, noise_std=0.5)
    z = hnet.noise(6, generator=torch.Generator().manual_seed(1))
    assert z.shape == (6, TARGET.numel)
    torch.testing.assert_close(
        hnet(1, uncond_input=z).flat, inner(1, uncond_input=z[:, :8]).flat + 0.5 * z
    )
    one = hnet(1, uncond_input=z[2])
    assert one.batch_shape == ()
    torch.testing.assert_close(one.flat, hnet(1, uncond_input=z).flat[2])
    # the density is full: 400 draws span more than the 8 dimensions that the inner one
    # has
    draws = hnet(1, uncond_input=hnet.noise(400)).flat.detach()
    assert torch.linalg.matrix_rank(draws - draws.mean(dim=0)) == TARGET.numel
    assert (
        torch.linalg.matrix_rank(
            inner(0, uncond_input=torch.randn(400, 8)).flat.detach(), rtol=1e-5
        )
        < TARGET.numel + 1
    )


def test_the_distribution_of_a_linear_hypernetwork_is_the_analytic_one() -> None:
    inner = HMLP(TARGET, ConditionSpec(count=0, size=0, input_size=3), hidden=(), bias=False)
    hnet = Perturbed(inner, noise_std=0.3)
    head = inner.linear_heads()[0].weight.detach()
    # w = H z[:3] + s z, so the covariance is (H E + s I)(H E + s I)^T, with E the first
    # three rows of the identity
    mixing = 0.3 * torch.eye(TARGET.numel)
    mixing[:, :3] += head
    draws = hnet(uncond_input=hnet.noise(200_000)).flat.detach()
    torch.testing.assert_close(
        draws.t() @ draws / len(draws), mixing @ mixing.t(), atol=0.02, rtol=0.05
    )


def test_handlers_replace_what_goes_in_and_what_comes_out() -> None:
    inner = HMLP(TARGET, ConditionSpec(count=2, size=3, input_size=4))

    def first_four(inputs: Inputs) -> Inputs:
        assert inputs.uncond_input is not None
        return inputs._replace(uncond_input=inputs.uncond_input[..., :4])

    def add_rest(weights: Weights, inputs: Inputs) -> Weights:
        assert inputs.uncond_input is not None
        return weights + inputs.uncond_input[..., 4:]

    hnet = Perturbed(
        inner, input_handler=first_four, output_handler=add_rest, input_size=4 + TARGET.numel
    )
    z = hnet.noise(3)
    torch.testing.assert_close(
        hnet([0, 1, 0], uncond_input=z).flat,
        inner([0, 1, 0], uncond_input=z[:, :4]).flat + z[:, 4:],
    )
    broken = Perturbed(inner, output_handler=lambda weights, _inputs: weights.flat)
    with pytest.raises(SpecError, match="output handler must return weights of the target"):
        broken(0, uncond_input=broken.noise())


def test_a_perturbation_says_what_does_not_fit() -> None:
    inner = HMLP(TARGET, ConditionSpec(count=2, size=3, input_size=4))
    with pytest.raises(SpecError, match="must not be negative, got -1"):
        Perturbed(inner, noise_std=-1)
    with pytest.raises(
        SpecError, match="one noise value per weight is needed, 130, got input_size=7"
    ):
        Perturbed(inner, input_size=7)
    big = HMLP(TargetSpec.from_shapes([[2]]), ConditionSpec(count=0, size=0, input_size=4))
    with pytest.raises(
        SpecError, match="unconditional input of size 4, but there are only 2 values"
    ):
        Perturbed(big)
    hnet = Perturbed(inner)
    with pytest.raises(ConditionError, match="uncond_input of size 130 is missing"):
        hnet(0)
    with pytest.raises(
        ConditionError, match=r"must have shape \[130\] or \[B, 130\], got \[5, 4\]"
    ):
        hnet(0, uncond_input=torch.zeros(5, 4))


# Encoders


class DeepSet(nn.Module):
    """A batch of data `[..., n, 5]` to one embedding each."""

    def __init__(self) -> None:
        super().__init__()
        self.each, self.all = nn.Linear(5, 16), nn.Linear(16, 6)

    def forward(self, samples: Tensor) -> Tensor:
        result: Tensor = self.all(self.each(samples).relu().mean(dim=-2))
        return result


def test_a_condition_may_be_computed_from_data_and_the_encoder_learns() -> None:
    hnet = Encoded(HMLP(TARGET, ConditionSpec(count=0, size=6)), DeepSet())
    data = torch.randn(3, 20, 5)
    many = hnet(cond_input=data)
    assert many.batch_shape == (3,)
    one = hnet(cond_input=data[1])
    assert one.batch_shape == ()
    torch.testing.assert_close(many.flat[1], one.flat)
    one.flat.square().sum().backward()
    assert all(gradients(hnet).values())
    assert hnet.conditional_parameters() == []


def test_ids_go_through_the_encoder_too() -> None:
    hnet = Encoded(
        HMLP(TARGET, ConditionSpec(count=0, size=10)), CosineSine(), ConditionSpec(count=3, size=5)
    )
    torch.testing.assert_close(
        hnet(2).flat, hnet.inner(cond_input=CosineSine()(hnet.embedding(2))).flat
    )
    assert hnet([0, 2]).batch_shape == (2,)
    assert hnet.add_condition() == 3


def test_an_encoder_says_what_does_not_fit() -> None:
    inner = HMLP(TARGET, ConditionSpec(count=0, size=6))
    with pytest.raises(SpecError, match="keeps 4 conditions; behind an encoder it must keep none"):
        Encoded(HMLP(TARGET, CONDITIONS), DeepSet())
    with pytest.raises(SpecError, match="unconditional input of size 0, not 3"):
        Encoded(inner, DeepSet(), ConditionSpec(count=1, size=2, input_size=3))
    hnet = Encoded(inner, nn.Linear(5, 7))
    with pytest.raises(
        ConditionError, match=r"must give an embedding \[6\] or \[B, 6\], it gave \[7\]"
    ):
        hnet(cond_input=torch.zeros(5))
    with pytest.raises(ConditionError, match="neither was given"):
        hnet()
    with pytest.raises(ConditionError, match="both were given"):
        hnet(0, cond_input=torch.zeros(5))
    with pytest.raises(ConditionError, match="keeps no inputs for its encoder"):
        hnet(0)
    with pytest.raises(SpecError, match="low must be below high"):
        CosineSine(1.0, 1.0)


# Magnitude invariance


def test_the_length_of_an_encoding_and_the_variance_of_the_weights_do_not_depend_on_the_input() -> (
    None
):
    gammas = torch.tensor([0.0, 0.01, 0.3, 0.5, 0.9, 1.0]).unsqueeze(1) * torch.ones(6, 7)
    torch.testing.assert_close(CosineSine()(gammas).square().sum(dim=1), torch.full((6,), 7.0))
    squares, plain = [], []
    for seed in range(40):  # over draws of the hypernetwork
        torch.manual_seed(seed)
        hnet = Encoded(HMLP(TARGET, ConditionSpec(count=0, size=14), hidden=(64,)), CosineSine())
        squares.append(
            hnet(cond_input=gammas)
            .select(TARGET.select(kinds="weight"))
            .flat.detach()
            .square()
            .mean(dim=1)
        )
        bare = HMLP(TARGET, ConditionSpec(count=0, size=7), hidden=(64,))
        plain.append(
            bare(cond_input=gammas)
            .select(TARGET.select(kinds="weight"))
            .flat.detach()
            .square()
            .mean(dim=1)
        )
    mean, bare_mean = torch.stack(squares).mean(dim=0), torch.stack(plain).mean(dim=0)
    assert (mean / mean.mean() - 1).abs().max() < 0.1
    assert bare_mean[0] < 0.01 * bare_mean[-1]  # what the parametrisation is there for


def test_the_two_parts_compose_to_the_registered_one() -> None:
    hnet = magnitude_invariant(TARGET, ConditionSpec(count=0, size=2), low=-1.0, high=3.0)
    assert isinstance(hnet.base, nn.Parameter)
    gamma = torch.tensor([[-1.0, 3.0], [0.0, 1.0]])
    torch.testing.assert_close(hnet(cond_input=gamma).flat, hnet.base.expand(2, -1))
    moved(hnet)
    encoded = CosineSine()((gamma + 1) / 4)
    assert isinstance(hnet.inner, Encoded)
    torch.testing.assert_close(
        hnet(cond_input=gamma).flat, hnet.base + hnet.inner.inner(cond_input=encoded).flat
    )
    with pytest.raises(SpecError, match="nothing to encode"):
        magnitude_invariant(TARGET, ConditionSpec(count=1, size=0))


# Helpers, and hypernetworks of composites


def test_embeddings_are_started_wherever_they_are_kept() -> None:
    fc, rest = TARGET.select(names="fc.*"), TARGET.select(names=["norm.*", "out.*"])
    hnet = Container(
        TARGET,
        [
            HMLP(fc, CONDITIONS),
            ChunkedHMLP(rest, CONDITIONS, chunk_size=30, conditional_chunks=True),
        ],
    )
    before = unconditional_weights(hnet)
    draw_condition_embeddings(hnet, lambda embedding, condition: embedding.fill_(condition))
    draw_chunk_embeddings(hnet, mean=7.0, std=0.0)
    for i in range(4):
        embedding, *others = hnet.conditional_parameters(i)
        assert torch.equal(embedding, torch.full((6,), float(i)))
        assert {float(other.detach().unique()) for other in others} == {float(i), 7.0}
    assert torch.equal(unconditional_weights(hnet).flat, before.flat)


@pytest.mark.parametrize("name", ["delta", "low_rank", "container", "perturbed"])
def test_theta_of_a_composite_may_be_generated_in_turn(name: str) -> None:
    conditions = ConditionSpec(count=4, size=6, input_size=2 if name == "perturbed" else 0)
    built: dict[str, HyperNetwork] = {
        "delta": Delta(
            HMLP(TARGET, CONDITIONS),
            Weights(torch.ones(TARGET.numel), TARGET),
            trainable=True,
            zero=False,
        ),
        "low_rank": LowRank(TARGET, lambda factors: HMLP(factors, CONDITIONS)),
        "container": Container(
            TARGET,
            [HMLP(TARGET.select(names="fc.*"), CONDITIONS)],
            shared=TARGET.select(names=["norm.*", "out.*"]),
        ),
        "perturbed": Perturbed(HMLP(TARGET, conditions)),
    }
    hnet = built[name]
    given = {"uncond_input": torch.randn(TARGET.numel)} if name == "perturbed" else {}
    expected = hnet(1, **given).flat.detach()
    theta = unconditional_weights(hnet)
    outer = MainNetwork(hnet, generate="unconditional")
    torch.testing.assert_close(outer(1, weights=theta, **given).flat, expected)
    upper = HMLP(outer.target, ConditionSpec(count=2, size=3), hidden=(4,))
    outer(1, weights=upper(0), **given).flat.square().sum().backward()
    assert gradients(upper)["conditional.embedding.0"]
    assert not gradients(upper)["conditional.embedding.1"]


@pytest.mark.parametrize("fan", ["in", "out", "harmonic"])
@pytest.mark.parametrize("hidden", [(), (32,), (32, 32, 32)], ids=str)
def test_products_start_with_the_mean_square_that_the_main_network_wants(
    fan: Any, hidden: tuple[int, ...]
) -> None:
    target = TargetSpec.from_shapes([[40, 3, 5, 5], [40], [30, 200], [30]])
    conditions = ConditionSpec(count=150, size=10)
    hnet = LowRank(
        target,
        lambda factors: HMLP(factors, conditions, hidden=hidden),
        rank=3,
        alpha=7.0,
        init=Init(fan=fan),
    )
    with torch.no_grad():
        weights = hnet(list(range(150)))
    for param, start in zip(target.params, hnet.starts, strict=True):
        assert weights[param.name].square().mean().item() == pytest.approx(
            start.mean_square, rel=0.1, abs=1e-12
        )


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan, math.inf])
def test_a_low_rank_needs_a_positive_alpha(alpha: float) -> None:
    with pytest.raises(SpecError, match="alpha must be positive"):
        LowRank(
            TargetSpec.from_shapes([[4, 3]]),
            lambda factors: HMLP(factors, ConditionSpec(count=1, size=2)),
            alpha=alpha,
        )


def test_a_delta_from_a_module_says_how_to_get_its_weights() -> None:
    module: Any = nn.Linear(3, 4)
    with pytest.raises(SpecError, match=r"such as weights_of\(module\), got Linear"):
        Delta(HMLP(TargetSpec.from_shapes([[4, 3]]), ConditionSpec(count=1)), module)


@pytest.mark.parametrize(
    "make",
    [
        lambda one: Delta(one, {}),
        lambda one: LowRank(TARGET, lambda _: one),
        lambda one: Container(TARGET, [one]),
        Perturbed,
        lambda one: Encoded(one, CosineSine()),
    ],
)
def test_an_argument_that_is_not_a_hypernetwork_is_named(make: Any) -> None:
    with pytest.raises(SpecError, match="must be a hypernetwork, got Linear"):
        make(nn.Linear(2, 2))


def test_a_low_rank_refuses_an_inner_hypernetwork_of_other_tensors() -> None:
    with pytest.raises(SpecError, match="make_inner must return a hypernetwork for the target"):
        LowRank(TARGET, lambda _: HMLP(TARGET, CONDITIONS))


def test_a_container_whose_members_take_no_unconditional_input_refuses_one() -> None:
    with pytest.raises(ConditionError, match="takes no uncond_input"):
        Container(TARGET, [HMLP(TARGET, CONDITIONS)])(0, uncond_input=torch.zeros(3))


@pytest.mark.parametrize("trainable", [False, True])
def test_a_low_rank_delta_writes_one_adapter_per_sample_without_multiplying(
    trainable: bool,
) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(9, 6), nn.Tanh(), nn.Linear(6, 5))
    base = weights_of(module)
    net = MainNetwork(module)
    hnet = Delta(
        LowRank(net.target, lambda factors: HMLP(factors, ConditionSpec(count=0, size=4)), rank=2),
        base,
        trainable=trainable,
    ).double()
    net.double()
    moved(hnet)
    users, tokens = torch.randn(6, 4, dtype=torch.float64), torch.randint(9, (6, 1, 7))
    losses = []
    for way in ("factored", "multiplied"):
        hnet.zero_grad()
        weights = hnet(cond_input=users)
        assert isinstance(weights, FactoredWeights)
        given = weights if way == "factored" else Weights(weights.flat, net.target)
        loss = net(tokens, weights=given, paired=True).square().mean()
        assert (net.batching_used == "factored") == (way == "factored")
        loss.backward()
        losses.append((loss, [p.grad for p in hnet.parameters() if p.grad is not None]))
    torch.testing.assert_close(*losses)
    assert len(losses[0][1]) == len(list(hnet.parameters()))
