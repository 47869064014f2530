"""The output regulariser by Gram matrices of heads, against the generated weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hypnet_core import ConditionSpec, HyperNetwork, TargetSpec
from hypnet_core.errors import SpecError
from hypnet_core.networks import HasLinearHeads, LinearHead, weights_of
from hypnet_zoo.hypernets import (
    HMLP,
    ChunkedHMLP,
    Container,
    Delta,
    SeveralTargets,
    SharedHMLP,
    StructuredHMLP,
    by_shape,
    low_rank,
)
from hypnet_zoo.regularizers import OutputRegularizer

TASKS = 5
CONDITIONS = ConditionSpec(count=TASKS + 1, size=4)
NAMES = ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"]
TARGET = TargetSpec.from_shapes([[7, 4], [7], [7, 7], [7], [3, 7], [3]], names=NAMES)


def container() -> HyperNetwork:
    """A member of each kind, shared and own tensors."""
    return Container(
        TARGET,
        [
            ChunkedHMLP(TARGET.select(names="0.*"), CONDITIONS, chunk_size=8, hidden=(6,)),
            HMLP(TARGET.select(names="1.weight"), CONDITIONS, hidden=(6,), batch_norm=True),
        ],
        shared=TARGET.select(names="1.bias"),
        own=TARGET.select(names="2.*"),
    )


def delta() -> HyperNetwork:
    net = nn.Sequential(nn.Linear(4, 7), nn.Linear(7, 3))
    base = weights_of(net)
    return Delta(ChunkedHMLP(base.spec, CONDITIONS, chunk_size=11), base, zero=False)


MAKE: dict[str, Callable[[], HyperNetwork]] = {
    "full": lambda: HMLP(TARGET, CONDITIONS, hidden=(8, 6)),
    "full, without biases": lambda: HMLP(TARGET, CONDITIONS, hidden=(8,), bias=False),
    "linear": lambda: HMLP(TARGET, CONDITIONS, hidden=()),
    "chunked": lambda: ChunkedHMLP(TARGET, CONDITIONS, chunk_size=13, hidden=(6,)),
    "chunked, linear": lambda: ChunkedHMLP(TARGET, CONDITIONS, chunk_size=20, hidden=()),
    "chunks of each condition": lambda: ChunkedHMLP(
        TARGET, CONDITIONS, chunk_size=13, conditional_chunks=True
    ),
    "one chunk": lambda: ChunkedHMLP(TARGET, CONDITIONS, chunk_size=TARGET.numel + 5),
    "structured": lambda: StructuredHMLP(TARGET, CONDITIONS, by_shape(TARGET, hidden=(6,))),
    "shared": lambda: SharedHMLP(TARGET, CONDITIONS, hidden=(6,)),
    "shared, without biases": lambda: SharedHMLP(TARGET, CONDITIONS, hidden=(6,), bias=False),
    "several targets": lambda: SeveralTargets(
        {"a": TARGET, "b": TargetSpec.from_shapes([[3, 2]])}, CONDITIONS, hidden=(6,)
    ),
    "container": container,
    "delta": delta,
}


def made(kind: str, dtype: torch.dtype = torch.float64) -> HyperNetwork:
    torch.manual_seed(0)
    return MAKE[kind]().to(dtype)


def forms(hypernet: HyperNetwork, **options: Any) -> tuple[OutputRegularizer, OutputRegularizer]:
    """The regulariser in both forms."""
    conditions = range(TASKS)
    return (
        OutputRegularizer(hypernet, conditions, form="direct", **options),
        OutputRegularizer(hypernet, conditions, form="gram", **options),
    )


def train(hypernet: HyperNetwork, steps: int, *, lr: float = 1e-2, size: int = 12) -> None:
    """Learn other weights, so that everything changes: embeddings too."""
    optimizer = torch.optim.Adam(hypernet.parameters(), lr=lr)
    wanted = torch.randn(TASKS + 1, hypernet.target.numel).to(next(hypernet.parameters()))
    for _ in range(steps):
        optimizer.zero_grad()
        (hypernet(range(TASKS + 1)).flat - wanted).square().mean().backward()
        optimizer.step()


def gradients(value: torch.Tensor, hypernet: HyperNetwork) -> list[torch.Tensor]:
    return list(
        torch.autograd.grad(
            value, list(hypernet.parameters()), allow_unused=True, materialize_grads=True
        )
    )


def assert_alike(
    direct: OutputRegularizer, gram: OutputRegularizer, *, rtol: float = 1e-8, **call: Any
) -> None:
    """Value and all gradients, relative to the largest gradient."""
    hypernet = direct.hypernet
    expected, actual = direct(**call), gram(**call)
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=0.0)
    wanted, found = gradients(expected, hypernet), gradients(actual, hypernet)
    largest = max(float(one.abs().max()) for one in wanted)
    torch.testing.assert_close(found, wanted, rtol=rtol, atol=rtol * largest)


@pytest.mark.parametrize("kind", MAKE)
def test_both_forms_agree_at_the_start_and_after_training(kind: str) -> None:
    hypernet = made(kind)
    if kind == "container":
        hypernet.eval()  # for the batch norm of a member
    direct, gram = forms(hypernet)
    assert direct.form == "direct"
    assert gram.form == ("mixed" if kind == "container" else "gram")
    assert gram().item() == 0
    assert all(not one.any() for one in gradients(gram(), hypernet))
    train(hypernet, 3)
    assert gram().item() > 0
    assert_alike(direct, gram)


@pytest.mark.parametrize("kind", ["full", "chunked", "structured", "shared"])
@pytest.mark.parametrize(
    "options",
    [
        {"scale": [1.0, 0.0, 2.5, 0.1, 3.0]},
        {"recompute": True},
        {"output_units": [[0, 2]] * TASKS},
        {"importance": "equal"},
        {"recompute": True, "scale": [1.0, 2.0, 0.5, 0.1, 3.0], "output_units": [[1]] * TASKS},
    ],
    ids=str,
)
def test_both_forms_agree_with_every_option(kind: str, options: dict[str, Any]) -> None:
    hypernet = made(kind)
    if "importance" in options:
        one = torch.rand(TARGET.numel, dtype=torch.float64)
        options = {"importance": one.expand(TASKS, -1)}
    direct, gram = forms(hypernet, **options)
    assert gram().item() == 0
    train(hypernet, 3)
    assert_alike(direct, gram)
    delta = {
        name: 0.1 * torch.randn_like(p)
        for name, p in hypernet.named_parameters()
        if "embedding.0" not in name
    }
    assert_alike(direct, gram, delta=delta)


def test_both_forms_take_the_same_random_conditions() -> None:
    hypernet = made("chunked")
    direct, gram = forms(hypernet, max_conditions=2, scale=[1.0, 2.0, 3.0, 4.0, 5.0])
    train(hypernet, 3)
    for seed in range(5):
        both = [
            one(generator=torch.Generator().manual_seed(seed)).detach() for one in (direct, gram)
        ]
        torch.testing.assert_close(*both)


def test_a_loop_of_its_own_gets_the_targets_in_both_forms() -> None:
    hypernet = made("structured")
    direct, gram = forms(hypernet)
    train(hypernet, 3)
    torch.testing.assert_close(gram.targets([3, 1]), direct.targets([3, 1]))
    blocks = gram.blocks()
    by_hand = sum(gram.penalty(hypernet(block).flat, block, total=TASKS) for block in blocks)
    torch.testing.assert_close(by_hand, gram())


@st.composite
def architectures(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "hidden": tuple(draw(st.lists(st.integers(1, 9), max_size=3))),
        "chunk_size": draw(st.integers(1, TARGET.numel + 3)),
        "chunk_embedding_size": draw(st.integers(1, 5)),
        "bias": draw(st.booleans()),
        "activation": draw(st.sampled_from(["relu", "elu", "sigmoid", None])),
        "conditional_chunks": draw(st.booleans()),
    }


@settings(max_examples=25, deadline=None)
@given(architectures(), st.sampled_from([0, 1, 20]), st.booleans(), st.integers(0, 2**31))
def test_both_forms_agree_for_any_chunked_hypernetwork(
    options: dict[str, Any], steps: int, single: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    hypernet = ChunkedHMLP(TARGET, CONDITIONS, **options)
    hypernet.to(torch.float32 if single else torch.float64)
    direct, gram = forms(hypernet)
    train(hypernet, steps)
    if steps == 0:
        assert gram().item() == direct().item() == 0
        return
    assert_alike(direct, gram, rtol=2e-3 if single else 1e-7)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("full", torch.float32),
        ("full", torch.float64),
        ("chunked", torch.float32),
        ("chunked", torch.float64),
        ("structured", torch.float32),
        ("shared", torch.float64),
    ],
    ids=str,
)
def test_both_forms_agree_after_a_thousand_steps(kind: str, dtype: torch.dtype) -> None:
    hypernet = made(kind, dtype)
    direct, gram = forms(hypernet)
    train(hypernet, 1000, lr=1e-3)
    assert_alike(direct, gram, rtol=1e-4 if dtype == torch.float32 else 1e-10)


def test_a_tiny_change_does_not_cancel_in_single_precision() -> None:
    hypernet = made("chunked", torch.float32)
    direct, gram = forms(hypernet)
    train(hypernet, 1, lr=1e-6)
    twin = copy.deepcopy(hypernet).double()
    direct.hypernet = twin
    exact = direct(delta={})  # generated in double precision, compared with single targets
    assert gram().item() > 0
    torch.testing.assert_close(gram().double(), exact, rtol=0.05, atol=0.0)


def test_second_derivatives_agree() -> None:
    hypernet = made("chunked")
    direct, gram = forms(hypernet)
    train(hypernet, 3)
    parameters = hypernet.unconditional_parameters()
    found = []
    for one in (direct, gram):
        first = torch.autograd.grad(one(), parameters, create_graph=True)
        length = torch.stack([part.square().sum() for part in first]).sum()
        found.append(torch.autograd.grad(length, parameters))
    torch.testing.assert_close(found[1], found[0])


def test_the_form_with_fewer_operations_is_chosen() -> None:
    target = TargetSpec.from_shapes([[100, 100], [100]])

    def form(count: int, **options: Any) -> str:
        hypernet = HMLP(target, ConditionSpec(count=count + 1), hidden=(20,))
        return OutputRegularizer(hypernet, range(count), **options).form

    assert form(2) == "direct"
    assert form(800) == "gram"
    assert form(800, max_conditions=2) == "direct"


def test_importances_that_differ_need_the_direct_form() -> None:
    hypernet = made("chunked")
    options: dict[str, Any] = {"output_units": [[0], [0], [0], [0], [1]]}
    assert OutputRegularizer(hypernet, range(TASKS), **options).form == "direct"
    with pytest.raises(SpecError, match="the same importances for all conditions"):
        forms(hypernet, **options)


@pytest.mark.parametrize("options", [{"batch_norm": True}, {"spectral_norm": True}], ids=str)
def test_what_cannot_be_read_keeps_the_direct_form(options: Any) -> None:
    hypernet = HMLP(TARGET, CONDITIONS, **options)
    assert OutputRegularizer(hypernet, range(TASKS)).form == "direct"
    with pytest.raises(SpecError, match="a HMLP cannot be read so"):
        forms(hypernet)
    with pytest.raises(SpecError, match="a LowRank cannot be read so"):
        forms(low_rank(TARGET, CONDITIONS))


class Squashed(HMLP):
    """Changes what is generated, but tells of the same heads."""

    def generate(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().generate(inputs).tanh()


def test_heads_that_do_not_write_the_weights_are_noticed() -> None:
    hypernet = Squashed(TARGET, CONDITIONS)
    assert OutputRegularizer(hypernet, range(TASKS)).form == "direct"
    with pytest.raises(SpecError, match="the heads that it tells of do not write its weights"):
        forms(hypernet)


class Plain(HyperNetwork):
    """A hypernetwork from elsewhere."""

    def __init__(self) -> None:
        super().__init__(TARGET, CONDITIONS)
        self.head = nn.Linear(CONDITIONS.size, TARGET.numel)

    def generate(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.head(inputs.sin())
        return 0.5 * outputs

    def heads_at(self, condition: Any) -> list[LinearHead]:
        inputs, _ = self.inputs(condition)
        return [LinearHead(inputs.sin()[:, None], self.head.weight, self.head.bias)]

    def importance_of_outputs(self, importance: torch.Tensor) -> list[torch.Tensor]:
        return [0.25 * importance[None]]


def test_a_hypernetwork_from_elsewhere_takes_part() -> None:
    hypernet = Plain().double()
    assert isinstance(hypernet, HasLinearHeads)
    direct, gram = forms(hypernet)
    train(hypernet, 3)
    assert_alike(direct, gram)


def test_a_given_start_is_used_and_not_copied() -> None:
    hypernet = made("chunked")
    start = {name: one.clone() for name, one in hypernet.state_dict().items()}
    own, given_one = (
        OutputRegularizer(hypernet, range(TASKS), form="gram", start=one) for one in (None, start)
    )
    parameters = sum(p.numel() for p in hypernet.parameters())
    assert own.memory_bytes - given_one.memory_bytes >= 8 * parameters
    train(hypernet, 3)
    torch.testing.assert_close(given_one(), own())


def test_of_each_condition_the_features_are_remembered() -> None:
    hypernet = made("chunked")
    start = hypernet.state_dict()
    direct = OutputRegularizer(hypernet, range(TASKS), form="direct")
    assert direct.memory_bytes == 8 * TASKS * TARGET.numel
    gram = OutputRegularizer(hypernet, range(TASKS), form="gram", start=start)
    chunks = -(-TARGET.numel // 13)
    assert gram.memory_bytes == 8 * TASKS * chunks * 6  # features of the one hidden layer
