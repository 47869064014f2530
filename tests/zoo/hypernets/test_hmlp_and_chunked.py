from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hypnet_core import ConditionSpec, HyperNetwork, MainNetwork, TargetSpec
from hypnet_core.errors import ConditionError, SpecError
from hypnet_zoo.hypernets import HMLP, ChunkedHMLP
from hypnet_zoo.mainnets import MLP

TARGET = TargetSpec.from_shapes([[10, 5], [10], [3, 10], [3]])  # 93 weights
OPTIONS: list[dict[str, Any]] = [
    {"hidden": (8, 9)},
    {"hidden": ()},
    {"hidden": (7,), "activation": "tanh"},
    {"hidden": (8, 9), "bias": False},
    {"hidden": (8, 9), "dropout": 0.3},
    {"hidden": (8, 9), "spectral_norm": True},
    {"hidden": (8, 9), "batch_norm": True},
]


def lenet_target() -> TargetSpec:
    layers = nn.Sequential(
        nn.Conv2d(1, 10, 5), nn.Conv2d(10, 20, 5), nn.Linear(320, 50), nn.Linear(50, 10)
    )
    return TargetSpec.of(layers)


def count(hypernet: HyperNetwork) -> int:
    return sum(p.numel() for p in hypernet.parameters())


def test_published_parameter_counts() -> None:
    """The settings of the continual-learning papers: (hypernetwork, main network)."""
    assert lenet_target().numel == 21_840
    assert (
        count(HMLP(lenet_target(), ConditionSpec(count=2, size=8), hidden=(100, 100))) == 2_216_856
    )
    split_mnist = TargetSpec.of(MLP((784,), 10, hidden=(400, 400)))
    hypernet = ChunkedHMLP(
        split_mnist,
        ConditionSpec(count=5, size=96),
        chunk_embedding_size=96,
        chunk_size=42_000,
        hidden=(10, 10),
    )
    assert (count(hypernet), split_mnist.numel) == (465_672, 478_410)
    permuted = TargetSpec.of(MLP((1024,), 100, hidden=(1000, 1000)))
    hypernet = ChunkedHMLP(
        permuted,
        ConditionSpec(count=10, size=24),
        chunk_embedding_size=8,
        chunk_size=78_000,
        hidden=(25, 25),
    )
    assert (count(hypernet), permuted.numel) == (2_029_939, 2_126_100)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("conditional_chunks", [None, False, True])
def test_a_batch_of_conditions_equals_one_by_one(
    options: dict[str, Any], conditional_chunks: bool | None
) -> None:
    torch.manual_seed(0)
    conditions = ConditionSpec(count=4, size=3, input_size=2)
    hypernet: HyperNetwork
    if conditional_chunks is None:
        hypernet = HMLP(TARGET, conditions, **options)
    else:
        hypernet = ChunkedHMLP(
            TARGET, conditions, chunk_size=20, conditional_chunks=conditional_chunks, **options
        )
    hypernet.eval().double()
    u = torch.randn(2, dtype=torch.float64)
    expected = torch.stack([hypernet(i, uncond_input=u).flat for i in (2, 0, 3)])
    torch.testing.assert_close(hypernet([2, 0, 3], uncond_input=u).flat, expected)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("conditional_chunks", [False, True])
def test_weights_are_the_chunks_laid_end_to_end(
    options: dict[str, Any], conditional_chunks: bool
) -> None:
    torch.manual_seed(0)
    hypernet = ChunkedHMLP(
        TARGET,
        ConditionSpec(count=2, size=3),
        chunk_size=20,
        conditional_chunks=conditional_chunks,
        **options,
    )
    hypernet.eval().double()
    assert hypernet.num_chunks == 5
    # The slow oracle: the inner network reads [e; c_k], one chunk after the other.
    if conditional_chunks:
        embedding, chunk_embeddings = hypernet.conditional_parameters(1)
    else:
        embedding, own = hypernet.embedding(1), hypernet.chunk_embeddings
        assert own is not None
        chunk_embeddings = own
    chunks = [
        hypernet.inner.generate(torch.cat([embedding, c]).unsqueeze(0)).squeeze(0)
        for c in chunk_embeddings
    ]
    origin = hypernet.origin
    expected = origin.offset + origin.scale * torch.cat(chunks)[: TARGET.numel]
    torch.testing.assert_close(hypernet(1).flat, expected)


def test_the_full_hypernetwork_is_a_plain_mlp() -> None:
    torch.manual_seed(0)
    hypernet = HMLP(TARGET, ConditionSpec(count=1, size=4, input_size=3), hidden=(6, 7))
    (head,) = hypernet.linear_heads()
    plain = nn.Sequential(
        nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, TARGET.numel)
    )
    values = [*hypernet.trunk.parameters(), *head.parameters()]
    plain.load_state_dict(dict(zip(plain.state_dict(), values, strict=True)))
    u = torch.randn(3)
    torch.testing.assert_close(
        hypernet(0, uncond_input=u).flat, plain(torch.cat([hypernet.embedding(0), u]))
    )


def test_a_large_head_is_several_and_writes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    whole = HMLP(TARGET, ConditionSpec(count=2, size=4), hidden=(6,))
    monkeypatch.setattr("hypnet_zoo.hypernets.hmlp._LARGEST", 6 * 61)
    parts = HMLP(TARGET, ConditionSpec(count=2, size=4), hidden=(6,))
    assert [head.out_features for head in parts.linear_heads()] == [60, 33]
    (head,) = whole.linear_heads()
    parts.trunk.load_state_dict(whole.trunk.state_dict())
    with torch.no_grad():
        for part, weight, bias in zip(
            parts.linear_heads(),
            head.weight.split([60, 33]),
            head.bias.split([60, 33]),
            strict=True,
        ):
            part.weight.copy_(weight)
            part.bias.copy_(bias)
    vector = torch.randn(4)
    torch.testing.assert_close(
        parts(cond_input=vector[None]).flat, whole(cond_input=vector[None]).flat
    )


def test_only_the_chunk_embeddings_grow_with_the_target() -> None:
    def parameters(numel: int) -> int:
        return count(
            ChunkedHMLP(
                TargetSpec.from_shapes([[numel]]),
                ConditionSpec(count=1, size=4),
                chunk_size=50,
                hidden=(8,),
            )
        )

    assert parameters(5000) - parameters(500) == 90 * 8


def test_chunk_embeddings_may_come_from_the_caller() -> None:
    torch.manual_seed(0)
    hypernet = ChunkedHMLP(
        TARGET,
        ConditionSpec(count=0, size=0),
        chunk_size=20,
        chunk_embedding_size=6,
        conditional_chunks=True,
    )
    assert hypernet.conditional_parameters() == []
    one, many = torch.randn(5, 6), torch.randn(3, 5, 6)
    assert hypernet(cond_input={"chunk_embeddings": one}).batch_shape == ()
    batch = hypernet(cond_input={"chunk_embeddings": many})
    torch.testing.assert_close(
        batch.index(1).flat, hypernet(cond_input={"chunk_embeddings": many[1]}).flat
    )
    with pytest.raises(ConditionError, match=r"chunk_embeddings must have shape \[5, 6\]"):
        hypernet(cond_input={"chunk_embeddings": torch.randn(4, 6)})


def test_chunks_alone_are_input_enough() -> None:
    hypernet = ChunkedHMLP(TARGET, ConditionSpec(count=3, size=0), chunk_size=20)
    torch.testing.assert_close(hypernet(2).flat, hypernet().flat)
    assert hypernet([0, 1, 2]).batch_shape == (3,)


def test_conditional_chunk_embeddings_belong_to_their_condition() -> None:
    hypernet = ChunkedHMLP(
        TARGET, ConditionSpec(count=3, size=2), chunk_size=20, conditional_chunks=True
    )
    assert len(hypernet.conditional_parameters(1)) == 2
    hypernet(1).flat.sum().backward()
    assert [p.grad is not None for p in hypernet.conditional_parameters()] == [
        False,
        True,
        False,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("make", [HMLP, ChunkedHMLP])
def test_generated_weights_start_with_the_variance_of_kaiming(make: Any) -> None:
    torch.manual_seed(0)
    options = {"chunk_size": 64} if make is ChunkedHMLP else {}
    target = TargetSpec.from_shapes([[64, 128]])
    hypernet = make(target, ConditionSpec(count=200, size=16), hidden=(200, 200), **options)
    square = hypernet(list(range(200))).flat.square().mean().item()
    assert square == pytest.approx(2 / 128, rel=0.15)


def test_norm_scales_start_at_one_and_shifts_and_biases_at_zero() -> None:
    target = TargetSpec.of(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)))
    weights = HMLP(target, ConditionSpec(count=1))(0)
    torch.testing.assert_close(weights["1.weight"], torch.ones(6))
    assert weights["1.bias"].abs().max() == 0
    assert weights["0.bias"].abs().max() == 0


def test_spectral_norm_normalises_each_tensors_head() -> None:
    torch.manual_seed(0)
    hypernet = HMLP(TARGET, ConditionSpec(count=2), hidden=(9,), spectral_norm=True)
    assert [head.out_features for head in hypernet.linear_heads()] == [50, 10, 30, 3]
    for _ in range(100):
        hypernet([0, 1])
    for head in hypernet.linear_heads():
        assert torch.linalg.matrix_norm(head.weight, 2).item() == pytest.approx(1, abs=1e-3)


def test_batch_norm_needs_two_conditions_in_training_and_one_in_evaluation() -> None:
    hypernet = HMLP(TARGET, ConditionSpec(count=2), batch_norm=True)
    with pytest.raises(ConditionError, match="at least two conditions"):
        hypernet(0)
    hypernet([0, 1])
    assert hypernet.eval()(0).batch_shape == ()
    ChunkedHMLP(TARGET, ConditionSpec(count=2), chunk_size=20, batch_norm=True)(0)


def test_a_hypernetwork_of_a_hypernetwork_with_chunks() -> None:
    torch.manual_seed(0)
    inner = ChunkedHMLP(TARGET, ConditionSpec(count=2, size=4), chunk_size=20, hidden=(5,))
    wrapped = MainNetwork(inner, generate="unconditional")
    outer = HMLP(wrapped.target, ConditionSpec(count=3, size=4), hidden=(6,))
    wrapped(1, weights=outer(2)).flat.sum().backward()
    assert outer.embedding(2).grad is not None
    assert wrapped([0, 1], weights=outer([0, 1, 2])).flat.shape == (3, 2, TARGET.numel)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HMLP(TARGET, ConditionSpec(size=0)), "has no input"),
        (lambda: HMLP(TARGET, ConditionSpec(), hidden=(0,)), "at least one unit"),
        (lambda: ChunkedHMLP(TARGET, ConditionSpec(), chunk_size=0), "must be positive"),
        (lambda: ChunkedHMLP(TARGET, ConditionSpec(), chunk_embedding_size=0), "must be positive"),
    ],
)
def test_impossible_sizes_are_named(make: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make()


def test_a_chunk_far_above_the_target_is_allowed_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hypernet = ChunkedHMLP(TARGET, ConditionSpec(), chunk_size=500)
    assert hypernet(0).flat.shape == (93,)
    assert "407 are wasted" in caplog.text
