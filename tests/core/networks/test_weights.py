from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hypnet_core import TargetSpec, Weights
from hypnet_core.errors import WeightsError
from hypnet_core.networks.weights import weights_of

SPEC = TargetSpec.from_shapes(
    [[2, 3], [2], [], [4, 0]], names=["weight", "bias", "scalar", "empty"]
)

batches = st.lists(st.integers(1, 3), max_size=3).map(tuple)


@given(st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=5), batches)
def test_taking_apart_and_laying_end_to_end_is_the_identity(shapes: Any, batch: Any) -> None:
    spec = TargetSpec.from_shapes(shapes)
    flat = torch.randn(*batch, spec.numel)
    weights = Weights(flat, spec)
    assert weights.batch_shape == batch
    assert [tuple(weights[name].shape) for name in spec.names] == [
        (*batch, *shape) for shape in shapes
    ]
    assert torch.equal(Weights.of(spec, weights).flat, flat)


def test_every_tensor_is_a_view_of_the_one_storage() -> None:
    for batch in [(), (5,), (2, 3)]:
        weights = Weights(torch.randn(*batch, SPEC.numel), SPEC)
        pointers = {
            tensor.untyped_storage().data_ptr() for tensor in weights.values() if tensor.numel()
        }
        assert pointers == {weights.flat.untyped_storage().data_ptr()}


def test_a_slice_of_a_longer_batch_is_still_a_view() -> None:
    longer = torch.randn(5, SPEC.numel + 7)
    weights = Weights(longer[:, : SPEC.numel], SPEC)
    assert weights["weight"].untyped_storage().data_ptr() == longer.untyped_storage().data_ptr()


def test_it_behaves_as_a_mapping() -> None:
    weights = Weights(torch.arange(9.0), SPEC)
    assert list(weights) == list(SPEC.names)
    assert len(weights) == 4
    assert "bias" in weights
    assert "bais" not in weights
    assert dict(weights)["scalar"].item() == 8
    with pytest.raises(WeightsError, match="did you mean 'bias'"):
        weights["bais"]


def test_arithmetic_is_that_of_the_flat_tensor() -> None:
    a, b = Weights(torch.randn(3, 9), SPEC), Weights(torch.randn(9), SPEC)
    assert torch.equal((a + b).flat, a.flat + b.flat)
    assert torch.equal((a - b * 2).flat, a.flat - b.flat * 2)
    assert torch.equal((-a / 3).flat, -a.flat / 3)
    assert torch.equal((0.5 * a).flat, a.flat * 0.5)
    with pytest.raises(WeightsError, match="different targets"):
        a + Weights(torch.zeros(9), TargetSpec.from_shapes([[9]]))


def test_gradients_reach_the_flat_tensor_in_one_piece() -> None:
    flat = torch.randn(9, requires_grad=True)
    weights = Weights(flat, SPEC)
    (weights["weight"].sum() * 2 + weights["scalar"]).backward()
    assert flat.grad is not None
    assert torch.equal(flat.grad, torch.tensor([2.0] * 6 + [0, 0] + [1]))


def test_vmap_grad_and_compile_see_through_it() -> Any:
    spec = TargetSpec.of(nn.Linear(3, 2))
    weights, x = Weights(torch.randn(5, 8), spec), torch.randn(4, 3)

    def linear(w: Any, x: Any) -> Any:
        return nn.functional.linear(x, w["weight"], w["bias"])

    expected = torch.stack([linear(w, x) for w in weights.unbind()])
    torch.testing.assert_close(torch.vmap(linear, in_dims=(0, None))(weights, x), expected)
    gradient = torch.func.grad(lambda w: linear(w, x).sum())(weights.index(0))
    assert isinstance(gradient, Weights)
    torch.testing.assert_close(gradient["bias"], torch.full((2,), 4.0))
    compiled = torch.compile(linear, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(weights.index(1), x), expected[1])


def test_it_can_be_copied_pickled_cast_and_compared() -> None:
    weights = Weights(torch.randn(2, 9), SPEC)
    for other in (copy.deepcopy(weights), pickle.loads(pickle.dumps(weights)), weights.clone()):
        assert other == weights
        assert other.flat.data_ptr() != weights.flat.data_ptr()
    assert weights.to(torch.float64)["bias"].dtype == torch.float64
    assert weights != weights + 1
    assert not Weights(torch.zeros(9, requires_grad=True), SPEC).detach().flat.requires_grad


def test_weights_of_a_module_are_copies_of_its_own() -> None:
    layer = nn.Linear(3, 2)
    weights = weights_of(layer)
    torch.testing.assert_close(
        dict(weights), {name: p.detach() for name, p in layer.named_parameters()}
    )
    with torch.no_grad():
        layer.weight.zero_()
    assert weights["weight"].abs().sum() > 0


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"a": torch.zeros(2)}, "1 of 2 weights are missing: b"),
        ({"a": torch.zeros(2), "b": torch.zeros(3), "c": torch.zeros(1)}, "not expected: c"),
        ({"a": torch.zeros(2), "bb": torch.zeros(3)}, "did you mean 'b'"),
        ({"a": torch.zeros(2), "b": torch.zeros(4)}, "b has shape [4], expected [*batch, 3]"),
        ({"a": torch.zeros(5, 2), "b": torch.zeros(3)}, "b has batch shape [], but a has [5]"),
    ],
)
def test_wrong_tensors_are_named_with_what_was_expected(tensors: Any, message: Any) -> None:
    with pytest.raises(WeightsError) as error:
        Weights.of(TargetSpec.from_shapes([[2], [3]], names=["a", "b"]), tensors)
    assert message in str(error.value)


def test_a_flat_tensor_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(
        WeightsError,
        match=r"9 weights in the last dimension are expected, got a tensor of shape \[2, 8\]",
    ):
        Weights(torch.zeros(2, 8), SPEC)
    with pytest.raises(WeightsError, match="no batch dimension"):
        Weights(torch.zeros(9), SPEC).unbind()


def test_sets_of_weights_become_a_batch_and_again_sets() -> None:
    sets = [Weights(torch.randn(SPEC.numel), SPEC) for _ in range(3)]
    batch = Weights.stack(sets)
    assert batch.batch_shape == (3,)
    assert list(batch.unbind()) == sets
    twice = Weights.stack([batch, batch])
    assert twice.batch_shape == (2, 3)
    with pytest.raises(WeightsError, match="no weights to stack"):
        Weights.stack([])
    with pytest.raises(WeightsError, match="different targets"):
        Weights.stack([sets[0], Weights(torch.zeros(4), TargetSpec.from_shapes([[4]]))])


@pytest.mark.parametrize("key", [0, slice(1), None])
def test_a_key_that_is_not_a_name_is_refused_with_the_way_to_index(key: Any) -> None:
    batch = Weights(torch.zeros(2, SPEC.numel), SPEC)
    with pytest.raises(WeightsError, match=r"looked up by name, got .*: index\(i\) gives one set"):
        batch[key]
