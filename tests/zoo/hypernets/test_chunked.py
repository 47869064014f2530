"""One wrapper cuts the target into chunks, whatever writes them."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnet_core import ConditionSpec, HyperNetwork, TargetSpec
from hypnet_core.errors import ConfigError, SpecError
from hypnet_core.plugins import HypernetChoice
from hypnet_zoo.hypernets import HMLP, Chunked, ChunkedHMLP, SharedHMLP
from hypnet_zoo.init import Init
from hypnet_zoo.init.chunks import sizes_of_chunks
from hypnet_zoo.init.moments import scalar_moments
from hypnet_zoo.mainnets import MLP

TARGET = TargetSpec.from_shapes([[10, 5], [10], [3, 10], [3]])  # 93 weights


class Plain(HyperNetwork):
    """A third party's hypernetwork: one method, nothing that a wrapper could use."""

    def __init__(self, target: TargetSpec, conditions: ConditionSpec) -> None:
        super().__init__(target, conditions)
        self.layers = nn.Sequential(
            nn.Linear(conditions.size, 12), nn.Tanh(), nn.Linear(12, target.numel)
        )

    def generate(self, inputs: Tensor) -> Tensor:
        """Map `[B, n]` to `[B, numel]`."""
        weights: Tensor = self.layers(inputs)
        return weights


class Scalable(Plain):
    """One that says how it starts and how it is scaled."""

    def initialize(self, init: Init | None = None) -> None:
        """Keep the weights that torch draws, without biases."""
        for name, parameter in self.layers.named_parameters():
            if "bias" in name:
                nn.init.zeros_(parameter)

    def scale_outputs(self, factor: Tensor) -> None:
        """Scale the last layer."""
        for parameter in self.layers[-1].parameters():
            parameter.mul_(factor)


MAKERS: dict[str, Any] = {
    "plain": Plain,
    "linear": functools.partial(HMLP, hidden=()),
    "mlp": functools.partial(HMLP, hidden=(7,)),
    "chunks of chunks": functools.partial(ChunkedHMLP, chunk_size=6, hidden=(7,)),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("conditional_chunks", [False, True])
def test_weights_are_the_chunks_of_any_inner_hypernetwork_laid_end_to_end(
    make: Any, conditional_chunks: bool
) -> None:
    torch.manual_seed(0)
    conditions = ConditionSpec(count=3, size=3, input_size=2)
    hypernet = Chunked(
        TARGET,
        conditions,
        make,
        chunk_size=20,
        chunk_embedding_size=4,
        conditional_chunks=conditional_chunks,
    )
    hypernet.double()
    noise = torch.randn(2, dtype=torch.float64)
    embeddings = hypernet.all_chunk_embeddings()[1 if conditional_chunks else 0]
    rows = [torch.cat([hypernet.embedding(1), noise, c]) for c in embeddings]
    loop = torch.cat([hypernet.inner(cond_input=row).flat for row in rows])
    expected = hypernet.origin.offset + hypernet.origin.scale * loop[:93]
    torch.testing.assert_close(hypernet(1, uncond_input=noise).flat, expected)
    torch.testing.assert_close(hypernet([0, 1], uncond_input=noise).index(1).flat, expected)


@pytest.mark.parametrize("conditional_chunks", [False, True])
def test_very_many_pairs_are_written_in_several_batches(
    monkeypatch: pytest.MonkeyPatch, conditional_chunks: bool
) -> None:
    torch.manual_seed(0)
    hypernet = ChunkedHMLP(
        TARGET, ConditionSpec(count=5), chunk_size=20, conditional_chunks=conditional_chunks
    ).double()
    at_once = hypernet(list(range(5))).flat
    module = importlib.import_module("hypnet_zoo.hypernets.chunked")
    monkeypatch.setattr(module, "_PAIRS", 2 * hypernet.num_chunks)
    sizes: list[int] = []
    hypernet.inner.trunk[-1].register_forward_hook(
        lambda _module, _inputs, output: sizes.append(len(output))
    )
    torch.testing.assert_close(hypernet(list(range(5))).flat, at_once)
    assert sizes == [10, 10, 5]


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_gradient_reaches_the_parameters_of_its_condition_and_no_other(make: Any) -> None:
    hypernet = Chunked(
        TARGET, ConditionSpec(count=3, size=3), make, chunk_size=20, conditional_chunks=True
    )
    hypernet([1]).flat.square().sum().backward()
    assert all(p.grad is not None for p in hypernet.unconditional_parameters())
    for condition in range(3):
        for parameter in hypernet.conditional_parameters(condition):
            assert (parameter.grad is not None) == (condition == 1)


@pytest.mark.parametrize(
    ("make", "fan"),
    [
        (Scalable, "in"),
        (Scalable, "out"),
        (Scalable, "harmonic"),
        # Two units per input: a narrower layer keeps lengths only on average.
        (functools.partial(SharedHMLP, hidden=(80,)), "in"),
    ],
)
def test_an_inner_hypernetwork_without_linear_heads_starts_as_wanted(make: Any, fan: Any) -> None:
    torch.manual_seed(0)
    target = TargetSpec.of(MLP((64,), 10, hidden=(100, 30)))
    hypernet = Chunked(target, ConditionSpec(count=100, size=8), make, chunk_size=500)
    hypernet.initialize(Init(fan=fan, bias="torch"))
    flat = hypernet(list(range(100))).flat.square().mean(dim=0)
    sizes, scale = sizes_of_chunks(scalar_moments(target, hypernet.starts)[1], 500)
    wanted = sizes.repeat_interleave(500)[: target.numel] * scale.square()
    for k, chunk in enumerate(flat.split(500)):
        assert chunk.mean().item() == pytest.approx(wanted.split(500)[k].mean().item(), rel=0.1), k


def test_an_inner_hypernetwork_that_cannot_be_scaled_is_left_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    torch.manual_seed(0)
    target = TargetSpec.from_shapes([[100, 1000]])
    hypernet = Chunked(target, ConditionSpec(count=2, size=8), Plain, chunk_size=10_000)
    assert "10 of 10 chunks start with larger weights than wanted" in caplog.text
    assert hypernet([0, 1]).flat.isfinite().all()


def test_chunks_start_at_zero_if_the_inner_hypernetwork_can() -> None:
    hypernet = ChunkedHMLP(TARGET, ConditionSpec(count=2), chunk_size=20)
    hypernet.start_at_zero()
    weights = hypernet([0, 1]).flat
    assert weights.abs().max() == 0
    weights.sum().backward()
    assert all(
        head.weight.grad is not None and head.weight.grad.abs().max() > 0
        for head in hypernet.inner.linear_heads()
    )
    with pytest.raises(SpecError, match="Plain cannot start at zero"):
        Chunked(TARGET, ConditionSpec(count=2), Plain, chunk_size=20).start_at_zero()
    with pytest.raises(SpecError, match="spectral norm cannot start at zero"):
        ChunkedHMLP(
            TARGET, ConditionSpec(count=2), chunk_size=20, spectral_norm=True
        ).start_at_zero()


def test_a_configuration_chooses_the_inner_hypernetwork() -> None:
    choice = HypernetChoice(name="chunked", chunk_size=20, inner={"name": "hmlp", "hidden": [5]})
    built = choice.build(TARGET, ConditionSpec(count=2))
    assert isinstance(built.inner, HMLP)
    assert built.inner.target.numel == 20
    assert HypernetChoice(**choice.model_dump(mode="json")) == choice
    with pytest.raises(
        ConfigError, match=r"inner\.hiden: there is no such option; did you mean 'inner.hidden'"
    ):
        HypernetChoice(name="chunked", inner={"name": "hmlp", "hiden": [5]})


def test_an_inner_hypernetwork_with_inputs_of_its_own_is_refused() -> None:
    with pytest.raises(SpecError, match="ChunkedHMLP cannot write chunks: it takes further inputs"):
        Chunked(TARGET, ConditionSpec(), functools.partial(ChunkedHMLP, conditional_chunks=True))


def test_what_a_large_chunk_wastes_is_said(caplog: pytest.LogCaptureFixture) -> None:
    ChunkedHMLP(TARGET, ConditionSpec(), chunk_size=93)
    assert not caplog.text
    ChunkedHMLP(TARGET, ConditionSpec(), chunk_size=94)
    assert "chunk_size 94 exceeds the target's 93 weights: 1 are wasted" in caplog.text
