"""Batches of factored weights: one call of the module equals a loop."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from hypnet_core.networks import (
    FACTOR_A,
    FACTOR_B,
    FactoredWeights,
    MainNetwork,
    Weights,
    weights_of,
)
from hypnet_core.specs import ParamKind, ParamSpec, TargetSpec

SETS = 5


@pytest.fixture(autouse=True)
def _double() -> Any:
    """Exact enough to tell rounding from mistakes."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def parts_of(target: TargetSpec, rank: int) -> TargetSpec:
    """Factors for all tensors of two or more dimensions; the others whole."""
    params = []
    for param in target.params:
        if len(param.shape) == 1:
            params.append(param)
            continue
        rows = param.shape[0]
        columns = param.numel // rows
        for ending, shape in ((FACTOR_A, (rank, columns)), (FACTOR_B, (rows, rank))):
            name = f"{param.name}.{ending}"
            params.append(
                ParamSpec(name=name, shape=shape, kind=ParamKind.OTHER, layer=param.layer)
            )
    return TargetSpec(params=tuple(params))


def adapted(
    module: nn.Module, generate: Any = None, *, sets: int = SETS, rank: int = 2, based: bool = True
) -> tuple[MainNetwork, Callable[[], FactoredWeights], list[Tensor]]:
    """A main network, its weights as factors, and the leaves of their graph."""
    base = weights_of(module)
    net = MainNetwork(module, generate)
    spec = parts_of(net.target, rank)
    flat = (0.5 * torch.randn(sets, spec.numel)).requires_grad_()
    shared = base.select(net.target).flat.clone().requires_grad_() if based else None

    def weights() -> FactoredWeights:
        return FactoredWeights(Weights(flat, spec), net.target, base=shared, scale=0.7)

    own = [parameter for parameter in net.parameters() if parameter.requires_grad]
    return net, weights, [flat, *([] if shared is None else [shared]), *own]


def gradients(output: Any, leaves: Sequence[Tensor]) -> list[Tensor | None]:
    found = [leaf for leaf in torch.utils._pytree.tree_leaves(output) if isinstance(leaf, Tensor)]
    for leaf in leaves:
        leaf.grad = None
    # Not `grad`, which reentrant checkpoints refuse.
    torch.stack([one.cos().sum() for one in found]).sum().backward()
    return [leaf.grad for leaf in leaves]


def check(
    net: MainNetwork,
    weights: Callable[[], FactoredWeights],
    leaves: list[Tensor],
    *args: Any,
    paired: bool = True,
    used: str = "factored",
    reason: str = "",
    **kwargs: Any,
) -> None:
    """Outputs and all gradients equal those of one set after the other."""
    found = net(*args, weights=weights(), paired=paired, **kwargs)
    assert net.batching_used == used, net.batching_reason
    assert reason in net.batching_reason
    each = weights().flat.unbind()
    outputs = [
        net(
            *((x[i] if paired else x) for x in args),
            weights=Weights(each[i], net.target),
            **{name: x[i] if paired else x for name, x in kwargs.items()},
        )
        for i in range(len(each))
    ]
    expected = torch.utils._pytree.tree_map(lambda *all_: torch.stack(all_), *outputs)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    pairs = zip(gradients(found, leaves), gradients(expected, leaves), strict=True)
    for one, other in pairs:
        # A parameter that nothing uses may have a gradient of zero, or none.
        zero = torch.zeros(())
        torch.testing.assert_close(
            zero if one is None else one, zero if other is None else other, rtol=1e-8, atol=1e-8
        )


class Attention(nn.Module):
    """Torch's attention with weights, over another sequence, with masks."""

    def __init__(self, *, bias: bool = True) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, bias=bias, batch_first=True)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        padding = torch.zeros(y.shape[:2], dtype=torch.bool)
        padding[:, -1] = True
        mask = torch.triu(torch.ones(x.shape[1], y.shape[1], dtype=torch.bool), 1)
        mixed, weights = self.attend(x, y, y, key_padding_mask=padding, attn_mask=mask)
        return mixed, weights


class ByHand(nn.Module):
    """Weights that are read by functions, tied, transposed, and added."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(9, 6))
        self.matrix = nn.Parameter(torch.randn(6, 6))
        self.place = nn.Parameter(torch.randn(1, 4, 6))
        self.first = nn.Parameter(torch.randn(1, 1, 6))
        self.scale = nn.Parameter(torch.randn(6))
        self.shift = nn.Parameter(torch.randn(6))

    def forward(self, ids: Tensor) -> Any:
        x = F.embedding(ids, self.table) + self.place
        x = torch.cat([self.first.expand(len(x), -1, -1), x], dim=1)
        x = (x @ self.matrix).tanh() * (1.0 + self.scale) + self.shift
        flat = torch.addmm(self.shift, x.flatten(0, 1), self.matrix).view_as(x)
        return F.linear(flat, self.table) + x @ self.table.T


class Positions(nn.Module):
    """An embedding of positions that all samples share."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(7, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Any:
        places = torch.arange(x.shape[1]).unsqueeze(0)
        return self.head(x + self.places(places))


class Recomputing(nn.Module):
    """A layer that is computed again in the backward pass."""

    def __init__(self, *, reentrant: bool = False) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 6), nn.Linear(6, 3)
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Any:
        hidden = checkpoint(self.body, x, use_reentrant=self.reentrant)
        return self.head(hidden.tanh())


def encoder(*, batch_first: bool = True, dropout: float = 0.0) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=dropout, batch_first=batch_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def tied() -> nn.Module:
    net = nn.Sequential(nn.Embedding(9, 6), nn.Tanh(), nn.Linear(6, 9))
    net[2].weight = net[0].weight
    return net


def tokens(*shape: int) -> Tensor:
    return torch.randint(9, shape)


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, ...]]]] = {
    "linear": (lambda: nn.Linear(4, 3), lambda: (torch.randn(SETS, 2, 4),)),
    "linear, more dimensions": (lambda: nn.Linear(4, 3), lambda: (torch.randn(SETS, 2, 3, 1, 4),)),
    "linear without bias": (
        lambda: nn.Linear(4, 3, bias=False),
        lambda: (torch.randn(SETS, 2, 4),),
    ),
    "one sample each": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)),
        lambda: (torch.randn(SETS, 4),),
    ),
    "norms": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.RMSNorm(6), nn.Linear(6, 3)),
        lambda: (torch.randn(SETS, 2, 4),),
    ),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(9, 6, padding_idx=-1), nn.Linear(6, 2)),
        lambda: (tokens(SETS, 2, 7),),
    ),
    "tied weights": (tied, lambda: (tokens(SETS, 2, 4),)),
    "images": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3, padding="same", padding_mode="circular"),
            nn.GroupNorm(2, 6),
            nn.Conv2d(6, 4, 2, stride=2, groups=2),
            nn.Flatten(),
            nn.Linear(36, 2),
        ),
        lambda: (torch.randn(SETS, 2, 3, 6, 6),),
    ),
    "sequences": (lambda: nn.Conv1d(3, 4, 3), lambda: (torch.randn(SETS, 2, 3, 6),)),
    "volumes": (
        lambda: nn.Conv3d(2, 4, 2, dilation=2, bias=False),
        lambda: (torch.randn(SETS, 2, 2, 4, 4, 4),),
    ),
    "transformer": (encoder, lambda: (torch.randn(SETS, 2, 3, 8),)),
    "transformer, one sample each": (encoder, lambda: (torch.randn(SETS, 3, 8),)),
    "attention": (Attention, lambda: (torch.randn(SETS, 2, 3, 8), torch.randn(SETS, 2, 4, 8))),
    "attention without bias": (
        lambda: Attention(bias=False),
        lambda: (torch.randn(SETS, 2, 3, 8), torch.randn(SETS, 2, 4, 8)),
    ),
    "by hand": (ByHand, lambda: (tokens(SETS, 2, 4),)),
    "shared positions": (Positions, lambda: (torch.randn(SETS, 2, 4, 5),)),
    "checkpointing": (Recomputing, lambda: (torch.randn(SETS, 2, 4),)),
    "reentrant checkpointing": (
        lambda: Recomputing(reentrant=True),
        lambda: (torch.randn(SETS, 2, 4, requires_grad=True),),
    ),
}


@pytest.mark.parametrize("generate", [None, lambda param: len(param.shape) > 1], ids=["all", "2d"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", CASES)
def test_one_call_equals_one_set_after_the_other(name: str, training: bool, generate: Any) -> None:
    make, inputs = CASES[name]
    net, weights, leaves = adapted(make(), generate)
    net.train(training)
    for _ in range(2):  # the first call is checked, later ones are not
        check(net, weights, leaves, *inputs())


def test_one_adapter_sees_each_input_without_pairs() -> None:
    for based in (True, False):
        net, weights, leaves = adapted(
            nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(12, 2)), based=based
        )
        check(net, weights, leaves, torch.randn(3, 2, 6), paired=False)


@settings(max_examples=30, deadline=None)
@given(
    groups=st.sampled_from([1, 2]),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    sets=st.integers(2, 4),
    samples=st.integers(1, 6),
    rank=st.integers(1, 3),
    bias=st.booleans(),
    based=st.booleans(),
)
def test_any_convolution_equals_one_set_after_the_other(
    groups: int, kernel: int, stride: int, padding: int, dilation: int, sets: int,
    samples: int, rank: int, bias: bool, based: bool,
) -> None:  # fmt: skip
    further = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    module = nn.Conv2d(4, 6, kernel, bias=bias, **further)  # type: ignore[arg-type]
    net, weights, leaves = adapted(module, sets=sets, rank=rank, based=based)
    check(net, weights, leaves, torch.randn(sets, samples, 4, 6, 7))


class Centred(nn.Module):
    """Samples of a batch that see each other."""

    def __init__(self, *, early: bool = False) -> None:
        super().__init__()
        self.layer, self.early = nn.Linear(4, 4), early

    def forward(self, x: Tensor) -> Any:
        if self.early:
            return self.layer(x - x.mean(0))
        x = self.layer(x)
        return x - x.mean(0)


class Normed(nn.Module):
    """A weight that is divided by its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))

    def forward(self, x: Tensor) -> Any:
        return F.linear(x, self.weight / self.weight.norm())


class Mean(nn.Module):
    """A loss over the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.layer(x).square().mean()


@pytest.mark.parametrize(
    ("make", "shape", "reason"),
    [
        (Centred, (2, 4), "computed together, sets of weights differ"),
        (lambda: Centred(early=True), (2, 4), "computed together, sets of weights differ"),
        (Normed, (2, 4), "the module reads weight.norm"),
        (Mean, (2, 4), "an output of shape [] does not tell the sets apart"),
        (lambda: parametrizations.weight_norm(nn.Linear(4, 3)), (2, 4), "factors were multiplied"),
        (lambda: nn.ConvTranspose1d(4, 3, 2), (2, 4, 5), "conv_transpose1d reads weight"),
        (lambda: nn.GRU(4, 3, batch_first=True), (2, 5, 4), "factors were multiplied out"),
        (lambda: nn.Embedding(9, 3, scale_grad_by_freq=True), (2, 4), "scale_grad_by_freq"),
        (lambda: encoder(batch_first=False), (3, 2, 8), "factors were multiplied out"),
        (
            lambda: nn.BatchNorm1d(4, track_running_stats=False),
            (2, 4),
            "statistics of all sets",
        ),
    ],
)
def test_a_module_that_needs_whole_weights_gets_them(
    make: Callable[[], nn.Module], shape: tuple[int, ...], reason: str
) -> None:
    module = make()
    inputs = tokens(SETS, *shape) if isinstance(module, nn.Embedding) else torch.randn(SETS, *shape)
    net, weights, leaves = adapted(module)
    for _ in range(2):
        net(inputs, weights=weights(), paired=True)
        assert net.batching_used in {"loop", "vmap"}
        assert reason in net.batching_reason
    # An exact comparison needs the loop, where vmap might be chosen.
    check(net, weights, leaves, inputs, used=str(net.batching_used), reason=reason)


def test_factors_that_start_at_zero_hide_nothing() -> None:
    net, weights, _ = adapted(Centred())
    zero = weights().with_factors(weights().factors * 0.0)
    assert isinstance(zero, FactoredWeights)
    net(torch.randn(SETS, 3, 4), weights=zero, paired=True)
    assert "sets of weights differ" in net.batching_reason


def test_inputs_that_are_all_the_same_prove_nothing() -> None:
    net, weights, leaves = adapted(Centred(early=True))
    same = torch.randn(3, 4).expand(SETS, 3, 4)
    net(same, weights=weights(), paired=True)
    check(
        net, weights, leaves, torch.randn(SETS, 3, 4), used="vmap", reason="sets of weights differ"
    )


class Branching(nn.Module):
    """The values of the inputs choose the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 3), nn.Linear(4, 3)])

    def forward(self, x: Tensor) -> Any:
        return self.layers[int(x.sum() > 0)](x)


def test_a_branch_that_was_not_checked_falls_back() -> None:
    net, weights, leaves = adapted(Branching())
    # All sets on one side, so that they agree with one after the other.
    check(net, weights, leaves, torch.rand(SETS, 2, 4))
    check(net, weights, leaves, -torch.rand(SETS, 2, 4), used="loop", reason="reads other weights")


class Counting(nn.Module):
    """Counts its calls, and drops out."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 300)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        return self.drop(self.layer(x))


def test_the_check_leaves_no_trace() -> None:
    net, weights, _ = adapted(Counting())
    x = torch.randn(SETS, 1, 4)
    outputs = []
    for _ in range(2):
        torch.manual_seed(3)
        outputs.append(net(x, weights=weights(), paired=True))
    assert net.batching_used == "factored"
    assert float(net.module.get_buffer("calls")) == 2
    assert torch.equal(*outputs)
    # Each set has a mask of its own.
    dropped = outputs[0].eq(0).flatten(1)
    assert 0.4 < float(dropped.double().mean()) < 0.6
    assert not torch.equal(dropped[0], dropped[1])


def test_statistics_per_condition_keep_their_ways() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    net, weights, leaves = adapted(module)
    x = torch.randn(SETS, 6, 4)
    net(x, weights=weights().belonging_to(range(SETS)), paired=True)
    assert net.batching_used == "loop"
    assert "sets have running statistics" in net.batching_reason
    assert net.bank.ids.tolist() == list(range(SETS))
    net.eval()
    found = net(x, weights=weights().belonging_to(range(SETS)), paired=True)
    expected = [
        net(x[i], weights=one, condition=i)
        for i, one in enumerate(Weights(weights().flat, net.target).unbind())
    ]
    torch.testing.assert_close(found, torch.stack(expected))
    # One set of statistics for all: the norm is part of each sample's computation.
    other, weights, leaves = adapted(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))
    other.eval()
    check(other, weights, leaves, x)
    found = other(x, weights=weights().belonging_to(range(SETS)), paired=True)
    assert other.batching_used == "factored"
    torch.testing.assert_close(found, other(x, weights=weights(), paired=True))


def test_a_layer_in_another_mode_is_checked_anew() -> None:
    norm = nn.BatchNorm1d(4, affine=False, momentum=None)
    net, weights, leaves = adapted(nn.Sequential(nn.Linear(4, 4), norm))
    x = torch.randn(SETS, 6, 4)
    net.eval()
    check(net, weights, leaves, x)
    norm.train()
    net(x, weights=weights(), paired=True)
    assert net.batching_used != "factored"


def test_several_batch_dimensions() -> None:
    net, weights, _ = adapted(nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6)), sets=6)
    found = weights()
    grid = found.with_factors(Weights(found.factors.flat.view(2, 3, -1), found.factors.spec))
    x = torch.randn(2, 3, 5, 4)
    y = net(x, weights=grid, paired=True)
    assert net.batching_used == "factored"
    expected = net(x.flatten(0, 1), weights=found, paired=True).unflatten(0, (2, 3))
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(
        net(x[0, 0], weights=grid)[1, 2], net(x[0, 0], weights=found.index(5))
    )


def test_adapters_are_chosen_by_index() -> None:
    net, weights, _ = adapted(nn.Linear(4, 3))
    ids = torch.tensor([0, 2, 2, 4, 1, 0, 2])
    x = torch.randn(7, 1, 4)
    y = net(x, weights=weights().index(ids), paired=True)
    assert net.batching_used == "factored"
    whole = Weights(weights().flat, net.target)
    torch.testing.assert_close(y, net(x, weights=whole.index(ids), paired=True))


def test_a_module_that_fails_is_left_as_it_was() -> None:
    net, weights, leaves = adapted(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        net(torch.randn(SETS, 2, 5), weights=weights(), paired=True)
    check(net, weights, leaves, torch.randn(SETS, 2, 4))
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        check(other, weights, leaves[:2], torch.randn(SETS, 2, 4))


@pytest.mark.parametrize("make", [lambda: nn.Conv1d(4, 3, 2), lambda: nn.Linear(4, 3), encoder])
def test_autocast_and_half_precision(make: Callable[[], nn.Module]) -> None:
    torch.set_default_dtype(torch.float32)
    net, weights, leaves = adapted(make())
    width = 8 if isinstance(net.module, nn.TransformerEncoder) else 4
    x = torch.randn(SETS, 2, 4, width)
    exact = net(x, weights=weights(), paired=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(x, weights=weights(), paired=True)
        assert net.batching_used == "factored", net.batching_reason
        looped = torch.stack([net(x[i], weights=one) for i, one in enumerate(weights().unbind())])
    assert found.dtype == looped.dtype
    scale = float(exact.square().mean().sqrt().detach())
    assert float((found - exact).square().mean().sqrt().detach()) < 0.05 * scale
    found.float().sum().backward()
    assert leaves[0].grad is not None
    net.to(torch.bfloat16)
    half = net(x.bfloat16(), weights=weights(), paired=True)
    assert (net.batching_used, half.dtype) == ("factored", torch.bfloat16)


def test_compiled_calls_keep_the_factors_after_one_that_is_not_compiled() -> None:
    net, weights, leaves = adapted(nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3)))
    spec = weights().factors.spec

    def call(x: Tensor, flat: Tensor, base: Tensor) -> Any:
        found = FactoredWeights(Weights(flat, spec), net.target, base=base, scale=0.7)
        return net(x, weights=found, paired=True)

    x = torch.randn(SETS, 2, 4)
    expected = call(x, *leaves)
    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
    found = compiled(x, *leaves)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found, leaves), gradients(expected, leaves))
