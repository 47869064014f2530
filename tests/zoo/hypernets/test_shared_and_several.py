"""One head for many tensors, and one hypernetwork for many networks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from hypnet_core import ConditionSpec, MainNetwork, TargetSpec
from hypnet_core.errors import SpecError
from hypnet_zoo.hypernets import Chunked, LowRank, SeveralTargets, SharedHMLP
from hypnet_zoo.hypernets.shared_hmlp import depths_of, pattern_of
from hypnet_zoo.init import Init
from hypnet_zoo.mainnets import ResNet

DEEP = nn.Sequential(
    *(nn.Sequential(nn.Linear(12, 12), nn.LayerNorm(12)) for _ in range(4)), nn.Linear(12, 5)
)
TARGET = TargetSpec.of(DEEP)


def test_tensors_are_told_apart_by_layer_kind_and_depth() -> None:
    assert pattern_of("0.0.weight") == pattern_of("3.0.weight") == "*.*.weight"
    depths = dict(zip(TARGET.names, depths_of(TARGET), strict=True))
    assert [depths[f"{block}.0.weight"] for block in range(4)] == [
        0,
        2,
        4,
        6,
    ], "norms have weights of the same pattern"
    assert depths["4.weight"] == 0
    hypernet = SharedHMLP(TARGET, ConditionSpec())
    assert {name: len(tag) for name, tag in hypernet.tags.items()} == {
        "layer": 2,
        "kind": 4,
        "depth": 8,
    }
    assert len(hypernet.heads) == 4, "[12, 12], [12], [5, 12] and [5]"


@pytest.mark.parametrize("hidden", [(), (9,), (9, 7)])
def test_the_weights_are_those_of_a_slow_loop_over_tensors(hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    hypernet = SharedHMLP(
        TARGET, ConditionSpec(count=2, size=3, input_size=2), hidden=hidden
    ).double()
    heads = dict(zip(hypernet.shapes, hypernet.heads, strict=True))
    layers = list(dict.fromkeys(pattern_of(param.layer) for param in TARGET.params))
    kinds = list(dict.fromkeys(param.kind for param in TARGET.params))
    noise = torch.randn(2, dtype=torch.float64)
    weights = hypernet([0, 1], uncond_input=noise).index(1)
    for t, (param, depth) in enumerate(zip(TARGET.params, depths_of(TARGET), strict=True)):
        row = [
            *(
                hypernet.embedding(1),
                noise,
                hypernet.tags["layer"][layers.index(pattern_of(param.layer))],
            ),
            *(hypernet.tags["kind"][kinds.index(param.kind)], hypernet.tags["depth"][depth]),
        ]
        written = heads[param.shape](hypernet.trunk(torch.cat(row)))
        expected = hypernet.per_tensor.gain[t] * written + hypernet.per_tensor.shift[t]
        torch.testing.assert_close(weights[param.name], expected.view(param.shape))


def test_a_deeper_network_needs_no_larger_head() -> None:
    def parameters(n: int) -> int:
        target = TargetSpec.of(ResNet((3, 32, 32), 10, n=n))
        return sum(
            p.numel()
            for p in SharedHMLP(target, ConditionSpec(count=1, size=8), hidden=(16,)).parameters()
        )

    more = (
        TargetSpec.of(ResNet((3, 32, 32), 10, n=18)).numel
        - TargetSpec.of(ResNet((3, 32, 32), 10, n=5)).numel
    )
    assert more > 1_250_000
    tensors = 13 * 3 * 2 * 3  # convolution, scale and shift of two layers in each of three groups
    assert (
        parameters(18) - parameters(5) == tensors * 2 + 13 * 3 * 2 * 8
    )  # gain and shift, and one depth for all three


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("fan", ["in", "out", "harmonic"])
@pytest.mark.parametrize("bias", ["zero", "share", "torch"])
def test_shared_heads_give_every_tensor_what_it_wants(depth: int, fan: Any, bias: Any) -> None:
    torch.manual_seed(depth)
    hypernet = SharedHMLP(TARGET, ConditionSpec(count=100), hidden=(50,) * depth)
    hypernet.initialize(Init(fan=fan, bias=bias, overrides={"2.0.weight": (0.5, 0.1)}))
    for (name, tensor), start in zip(
        hypernet(list(range(100))).items(), hypernet.starts, strict=True
    ):
        assert tensor.square().mean().item() == pytest.approx(
            start.mean_square, rel=0.1, abs=1e-9
        ), name


def test_tensors_without_variance_still_learn() -> None:
    hypernet = SharedHMLP(TARGET, ConditionSpec(count=2))
    weights = hypernet([0, 1])
    assert weights["0.0.bias"].abs().max() == 0
    assert torch.equal(weights["0.1.weight"], torch.ones(2, 12))
    optimizer = torch.optim.SGD(hypernet.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (hypernet([0, 1])["0.0.bias"] - torch.tensor([[1.0], [-1.0]])).square().sum().backward()
        optimizer.step()
    first, second = hypernet([0, 1])["0.0.bias"]
    assert (first - second).abs().max() > 0


def test_shared_heads_start_at_zero_and_still_learn() -> None:
    hypernet = SharedHMLP(TARGET, ConditionSpec(count=2))
    hypernet.start_at_zero()
    weights = hypernet([0, 1]).flat
    assert weights.abs().max() == 0
    weights.sum().backward()
    assert hypernet.per_tensor.gain.grad is not None
    assert hypernet.per_tensor.gain.grad.abs().min() > 0


def test_shared_heads_write_factors_and_chunks() -> None:
    low_rank = LowRank(TARGET, lambda factors: SharedHMLP(factors, ConditionSpec(count=2)), rank=2)
    assert torch.linalg.matrix_rank(low_rank(1)["3.0.weight"]) == 2
    chunked = Chunked(TARGET, ConditionSpec(count=2), SharedHMLP, chunk_size=50)
    assert chunked([0, 1]).flat.shape == (2, TARGET.numel)


ENCODER, DECODER = nn.Sequential(nn.Linear(9, 6), nn.Tanh(), nn.Linear(6, 2)), nn.Linear(2, 9)


def several(**options: Any) -> SeveralTargets:
    targets = {"encoder": TargetSpec.of(ENCODER), "decoder": TargetSpec.of(DECODER)}
    return SeveralTargets(targets, ConditionSpec(count=3, size=4), **options)


def test_one_targets_weights_are_its_part_of_all() -> None:
    torch.manual_seed(0)
    hypernet = several(hidden=(7,))
    everything = hypernet([2, 0])
    assert everything.spec.names[:2] == ("encoder.0.weight", "encoder.0.bias")
    for name, target in hypernet.targets.items():
        weights = hypernet([2, 0], target=name)
        assert weights.spec == target
        for key, tensor in weights.items():
            torch.testing.assert_close(tensor, everything[f"{name}.{key}"])
        torch.testing.assert_close(hypernet(2, target=name).flat, weights.index(0).flat)


def test_only_the_head_that_is_asked_for_is_computed() -> None:
    hypernet = several()
    called: list[str] = []
    for name, head in hypernet.heads.items():
        head.register_forward_hook(lambda *_, name=name: called.append(name))
    hypernet(0, target="decoder").flat.sum().backward()
    assert called == ["decoder"]
    heads = dict(hypernet.heads.items())
    assert all(p.grad is None for p in heads["encoder"].parameters())
    assert all(
        p.grad is not None for p in [*heads["decoder"].parameters(), *hypernet.trunk.parameters()]
    )
    assert [p.grad is not None for p in hypernet.conditional_parameters()] == [True, False, False]


def test_an_encoder_and_a_decoder_learn_together() -> None:
    torch.manual_seed(0)
    hypernet = several(hidden=(20,))
    encoder, decoder = MainNetwork(copy.deepcopy(ENCODER)), MainNetwork(copy.deepcopy(DECODER))
    x = torch.randn(64, 2) @ torch.randn(2, 9)
    optimizer = torch.optim.Adam(hypernet.parameters(), lr=3e-3)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        code = encoder(x, weights=hypernet(1, target="encoder"))
        loss = (decoder(code, weights=hypernet(1, target="decoder")) - x).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("fan", ["in", "out", "harmonic"])
def test_every_target_starts_as_wanted(depth: int, fan: Any) -> None:
    torch.manual_seed(depth)
    targets = {"a": TARGET, "b": TargetSpec.of(DECODER)}
    hypernet = SeveralTargets(targets, ConditionSpec(count=100), hidden=(40,) * depth)
    hypernet.initialize(Init(fan=fan, bias="torch"))
    for (name, tensor), start in zip(
        hypernet(list(range(100))).items(), hypernet.starts, strict=True
    ):
        assert tensor.square().mean().item() == pytest.approx(
            start.mean_square, rel=0.1, abs=1e-9
        ), name


def test_all_targets_start_at_zero() -> None:
    hypernet = several()
    hypernet.start_at_zero()
    assert hypernet([0, 1]).flat.abs().max() == 0
    hypernet(0, target="encoder").flat.sum().backward()
    assert hypernet.heads["encoder"].weight.grad is not None


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match="there is no target 'decodr'; did you mean 'decoder'"):
        several()(0, target="decodr")
    with pytest.raises(SpecError, match=r"must not be empty or have a dot, got 'a\.b'"):
        SeveralTargets({"a.b": TARGET}, ConditionSpec())
    with pytest.raises(SpecError, match="there is no target"):
        SeveralTargets({}, ConditionSpec())
    with pytest.raises(SpecError, match="a target cannot be called 'keys'"):
        SeveralTargets({"keys": TargetSpec.from_shapes([[3, 2]])}, ConditionSpec())
    with pytest.raises(SpecError, match="depth_embedding_size must not be negative, got -1"):
        SharedHMLP(TargetSpec.from_shapes([[3, 2]]), ConditionSpec(), depth_embedding_size=-1)
    with pytest.raises(SpecError, match="has no input"):
        SeveralTargets({"a": TARGET}, ConditionSpec(size=0))
    with pytest.raises(SpecError, match="at least one unit"):
        SharedHMLP(TARGET, ConditionSpec(), hidden=(0,))
