"""Numbers from papers, and laws of all hypernetworks that cut or share."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hypnet_core import ConditionSpec, HyperNetwork, MainNetwork, TargetSpec
from hypnet_core.networks import weights_of
from hypnet_zoo.hypernets import (
    HMLP,
    ChunkedHDeconv,
    ChunkedHMLP,
    HDeconv,
    SeveralTargets,
    SharedHMLP,
    StructuredHMLP,
    by_shape,
)
from hypnet_zoo.init import Initializable
from hypnet_zoo.mainnets import MLP, ResNet, ZenkeNet
from hypnet_zoo.regularizers import OutputRegularizer

# Main network, hidden layers, embeddings of conditions and chunks, chunk size,
# conditions; then parameters of both networks.
PUBLISHED: dict[str, tuple[Any, ...]] = {
    "SplitMNIST": (
        lambda: MLP((784,), 10, hidden=(400, 400)),
        (10, 10),
        96,
        96,
        42_000,
        5,
        465_672,
        478_410,
    ),
    "PermutedMNIST-10": (
        lambda: MLP((1024,), 100, hidden=(1000, 1000)),
        (25, 25),
        24,
        8,
        78_000,
        10,
        2_029_939,
        2_126_100,
    ),
    "ResNet-32": (
        lambda: ResNet((3, 32, 32), 60, n=5, conv_bias=True),
        (),
        32,
        32,
        7_000,
        6,
        457_336,
        468_540,
    ),
    "ZenkeNet": (
        lambda: ZenkeNet((3, 32, 32), 60),
        (100, 150, 200),
        48,
        80,
        5_500,
        6,
        1_182_678,
        1_276_508,
    ),
}


@pytest.mark.parametrize("published", PUBLISHED.values(), ids=PUBLISHED)
def test_compression_ratios_of_the_papers(published: tuple[Any, ...]) -> None:
    make, hidden, size, chunk_embedding_size, chunk_size, count, parameters, generated = published
    target = TargetSpec.of(make())
    hypernet = ChunkedHMLP(
        target,
        ConditionSpec(count=count, size=size),
        hidden=hidden,
        chunk_size=chunk_size,
        chunk_embedding_size=chunk_embedding_size,
    )
    assert (sum(p.numel() for p in hypernet.parameters()), target.numel) == (parameters, generated)


TARGET = TargetSpec.of(MLP((8,), 3, hidden=(6, 6)))
KINDS: dict[str, Any] = {
    "hmlp": lambda target, conditions: HMLP(target, conditions, hidden=(5,)),
    "chunked_hmlp": lambda target, conditions: ChunkedHMLP(
        target, conditions, hidden=(5,), chunk_size=20
    ),
    "structured_hmlp": lambda target, conditions: StructuredHMLP(
        target, conditions, by_shape(target, hidden=(5,))
    ),
    "hdeconv": lambda target, conditions: HDeconv(
        target, conditions, num_layers=3, filters=(8, 8), attention_after=(1,)
    ),
    "chunked_hdeconv": lambda target, conditions: ChunkedHDeconv(
        target, conditions, num_layers=3, filters=(8, 8), attention_after=(), image_shape=(5, 5)
    ),
    "shared_hmlp": lambda target, conditions: SharedHMLP(target, conditions, hidden=(5,)),
    "several": lambda target, conditions: SeveralTargets({"only": target}, conditions, hidden=(5,)),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_hypernetwork_of_a_hypernetwork(make: Any) -> None:
    torch.manual_seed(0)
    inner: HyperNetwork = make(TARGET, ConditionSpec(count=2, size=4))
    expected = inner([0, 1]).flat.detach()
    theta = weights_of(inner)
    wrapped = MainNetwork(inner, generate="unconditional")
    outer = ChunkedHMLP(wrapped.target, ConditionSpec(count=3, size=4), hidden=(6,), chunk_size=100)
    torch.testing.assert_close(wrapped([0, 1], weights=theta.select(wrapped.target)).flat, expected)
    wrapped(1, weights=outer(2)).flat.square().sum().backward()
    assert [outer.embedding(i).grad is not None for i in range(3)] == [False, False, True]
    assert all(p.grad is not None for p in outer.unconditional_parameters())
    assert wrapped([0, 1], weights=outer([0, 1, 2])).flat.shape == (3, 2, TARGET.numel)


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_gradients_are_those_of_finite_differences(make: Any) -> None:
    torch.manual_seed(0)
    hypernet: HyperNetwork = make(TARGET, ConditionSpec(count=2, size=3)).double()
    direction = torch.randn(2, TARGET.numel, dtype=torch.float64)
    (hypernet([0, 1]).flat * direction).sum().backward()
    steps = [torch.randn_like(p) for p in hypernet.parameters()]
    slope = sum(
        float((step * p.grad).sum())
        for step, p in zip(steps, hypernet.parameters(), strict=True)
        if p.grad is not None
    )

    def moved(by: float) -> float:
        with torch.no_grad():
            for step, p in zip(steps, hypernet.parameters(), strict=True):
                p.add_(by * step)
            value = float((hypernet([0, 1]).flat * direction).sum())
            for step, p in zip(steps, hypernet.parameters(), strict=True):
                p.sub_(by * step)
        return value

    assert (moved(1e-7) - moved(-1e-7)) / 2e-7 == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_devices_and_dtypes_are_passed_through(make: Any) -> None:
    hypernet: HyperNetwork = make(TARGET, ConditionSpec(count=2, size=3)).double()
    hypernet.start_at_zero()
    assert hypernet([0, 1]).flat.dtype == torch.float64
    assert isinstance(hypernet, Initializable)
    hypernet.initialize()
    assert hypernet([0, 1]).flat.abs().max() > 0
    hypernet.add_condition()
    assert hypernet(2).flat.dtype == torch.float64


@pytest.mark.parametrize("kind", ["hmlp", "chunked_hmlp", "structured_hmlp"])
def test_the_memory_of_a_penalty_grows_with_the_outputs_and_not_with_the_head(kind: str) -> None:
    """Bytes that autograd keeps for the penalty over many tasks, without parameters."""
    target = TargetSpec.of(MLP((64,), 10, hidden=(64,)))
    hidden = (100, 100)
    make: dict[str, Any] = {
        "hmlp": lambda conditions: HMLP(target, conditions, hidden=hidden),
        "chunked_hmlp": lambda conditions: ChunkedHMLP(
            target, conditions, hidden=hidden, chunk_size=500
        ),
        "structured_hmlp": lambda conditions: StructuredHMLP(
            target, conditions, by_shape(target, hidden=hidden)
        ),
    }

    def kept(tasks: int) -> int:
        hypernet = make[kind](ConditionSpec(count=tasks, size=8))
        regularizer = OutputRegularizer(hypernet, range(tasks), block_size=tasks, form="direct")
        parameters = {p.untyped_storage().data_ptr() for p in hypernet.parameters()}
        storages: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.untyped_storage().data_ptr() not in parameters:
                storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            penalty = regularizer()
        penalty.backward()
        return sum(storages.values())

    outputs = target.numel * 4
    growth = (kept(100) - kept(10)) / 90
    assert outputs <= growth <= 2.5 * outputs
    assert growth < 0.1 * 4 * sum(
        p.numel() for p in make["hmlp"](ConditionSpec(count=1, size=8)).parameters()
    )
