"""Weights held as a base and factors are used like any others."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from hypnet_core.errors import ConditionError, WeightsError
from hypnet_core.networks import (
    FACTOR_A,
    FACTOR_B,
    FactoredWeights,
    MainNetwork,
    Weights,
    materialize,
)
from hypnet_core.specs import TargetSpec

SPEC = TargetSpec.from_shapes([[4, 3, 2], [4]], names=["0.weight", "0.bias"])
PARTS = TargetSpec.from_shapes(
    [[2, 6], [4, 2], [4]], names=[f"0.weight.{FACTOR_A}", f"0.weight.{FACTOR_B}", "0.bias"]
)


def factored(*batch: int, base: bool = True) -> FactoredWeights:
    torch.manual_seed(0)
    flat = torch.randn(*batch, PARTS.numel, dtype=torch.float64)
    shared = torch.randn(SPEC.numel, dtype=torch.float64) if base else None
    ids = range(torch.Size(batch).numel()) if batch else None
    return FactoredWeights(Weights(flat, PARTS, conditions=ids), SPEC, base=shared, scale=0.5)


def whole(weights: FactoredWeights) -> Tensor:
    """The definition, tensor by tensor."""
    a, b = weights.factors[f"0.weight.{FACTOR_A}"], weights.factors[f"0.weight.{FACTOR_B}"]
    product = 0.5 * torch.einsum("...or,...ri->...oi", b, a)
    flat = torch.cat([product.flatten(-2), weights.factors["0.bias"]], dim=-1)
    return flat if weights.base is None else flat + weights.base


@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
@pytest.mark.parametrize("base", [True, False])
def test_it_is_the_base_plus_scaled_products(batch: tuple[int, ...], base: bool) -> None:
    weights = factored(*batch, base=base)
    assert (weights.batch_shape, weights.spec, list(weights)) == (batch, SPEC, list(SPEC.names))
    torch.testing.assert_close(weights.flat, whole(weights))
    assert weights["0.weight"].shape == (*batch, 4, 3, 2)
    torch.testing.assert_close(weights["0.bias"], whole(weights)[..., 24:])
    assert weights == Weights(weights.flat, SPEC)


def test_sets_are_chosen_without_multiplying() -> None:
    weights = factored(5)
    chosen: dict[str, tuple[Weights, Any]] = {
        "one": (weights.index(-1), 4),
        "several": (weights.index([3, 0, 3]), [3, 0, 3]),
        "by a tensor": (weights.index(torch.tensor([1, -1])), [1, 4]),
        "all": (Weights.stack(weights.unbind()), [0, 1, 2, 3, 4]),
    }
    for found, ids in chosen.values():
        assert found.conditions == ((ids,) if isinstance(ids, int) else tuple(ids))
        torch.testing.assert_close(found.flat, whole(weights)[ids])
    assert all(isinstance(one, FactoredWeights) for one in weights.unbind())
    other = weights.belonging_to(7)
    assert (type(other), other.conditions) == (FactoredWeights, (7,) * 5)


def test_plain_weights_are_chosen_by_several_indices_too() -> None:
    weights = Weights(
        torch.arange(6.0).view(3, 2), TargetSpec.from_shapes([[2]]), conditions=[7, 8, 9]
    )
    found = weights.index([2, 0, 2])
    assert found.flat.tolist() == [[4, 5], [0, 1], [4, 5]]
    assert found.conditions == (9, 7, 9)
    for wrong in ([0.5], "a", [[0]], [True]):
        with pytest.raises(WeightsError, match="indexed by a whole number"):
            weights.index(wrong)  # type: ignore[arg-type]
    with pytest.raises(IndexError):
        weights.index([3])


def test_one_set_added_or_subtracted_joins_the_base() -> None:
    weights, one = factored(5), Weights(torch.randn(SPEC.numel, dtype=torch.float64), SPEC)
    for found, expected in (
        (weights + one, whole(weights) + one.flat),
        (weights - one.flat, whole(weights) - one.flat),
        (factored(5, base=False) + one.flat, whole(factored(5, base=False)) + one.flat),
    ):
        assert isinstance(found, FactoredWeights)
        assert found.conditions == (0, 1, 2, 3, 4)
        torch.testing.assert_close(found.flat, expected)
    assert weights.base is not None
    torch.testing.assert_close(weights.difference().flat + weights.base, weights.flat)


def test_other_arithmetic_multiplies_out() -> None:
    weights = factored(5)
    flat = whole(weights)
    cases: list[tuple[Weights, Tensor]] = [
        (weights * 2.0, flat * 2),
        (weights + weights, flat * 2),
        (weights + flat, flat * 2),
        (-weights, -flat),
        (1.0 - weights, 1 - flat),
        (weights / flat, torch.ones_like(flat)),
        (weights + Weights(flat[0], SPEC, conditions=3), flat + flat[0]),
    ]
    for found, expected in cases:
        assert type(found) is Weights
        torch.testing.assert_close(found.flat, expected)


def test_it_moves_copies_and_detaches_as_factors() -> None:
    weights = factored(5)
    weights.factors.flat.requires_grad_()
    for found in (
        weights.to(torch.float32),
        weights.detach(),
        weights.clone(),
        copy.copy(weights),
        copy.deepcopy(weights.detach()),
        pickle.loads(pickle.dumps(weights.detach())),
    ):
        assert isinstance(found, FactoredWeights)
        assert found.conditions == weights.conditions
        torch.testing.assert_close(found.flat.double(), whole(weights), rtol=1e-5, atol=1e-5)
    assert weights.to(torch.float32).flat.dtype is torch.float32
    assert not weights.detach().flat.requires_grad


def test_what_was_read_without_gradients_still_has_some() -> None:
    weights = factored(5)
    weights.factors.flat.requires_grad_()
    with torch.no_grad():
        assert not weights["0.weight"].requires_grad
    weights["0.weight"].sum().backward()
    assert weights.factors.flat.grad is not None
    # The same kind of mistake in plain weights.
    flat = torch.ones(3, requires_grad=True)
    plain = Weights(flat, TargetSpec.from_shapes([[2], [1]]))
    with torch.no_grad():
        assert plain["0"].tolist() == [1, 1]
    plain["0"].sum().backward()
    assert flat.grad is not None
    assert flat.grad.tolist() == [1, 1, 0]


def test_autocast_does_not_round_what_is_multiplied_out() -> None:
    weights = factored(5).to(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = weights.flat
    torch.testing.assert_close(found, whole(factored(5)).float())


def test_transforms_see_it_multiplied_out() -> None:
    weights = factored(5)
    assert type(pytree.tree_map(lambda leaf: leaf, weights)) is Weights
    net = MainNetwork(nn.Sequential(nn.Conv1d(3, 4, 2))).double()
    x = torch.randn(5, 1, 3, 7, dtype=torch.float64)
    mapped = torch.vmap(lambda w, x: net(x, weights=w))(weights, x)
    torch.testing.assert_close(mapped, net(x, weights=weights, paired=True))
    assert net.batching_used == "factored"
    module = materialize(net, weights.index(2))
    torch.testing.assert_close(module(x[2]), mapped[2])


def test_factors_that_do_not_fit_are_refused() -> None:
    flat = torch.zeros(5, PARTS.numel)
    with pytest.raises(WeightsError, match=r"hold no 0.weight of shape \[3, 3\]"):
        FactoredWeights(Weights(flat, PARTS), TargetSpec.from_shapes([[3, 3]], names=["0.weight"]))
    with pytest.raises(WeightsError, match="3 factors are given, but 2 are used"):
        FactoredWeights(Weights(flat, PARTS), SPEC.select(names="*weight"))
    with pytest.raises(WeightsError, match="the base holds 28 weights"):
        FactoredWeights(Weights(flat, PARTS), SPEC, base=torch.zeros(2, 28))
    with pytest.raises(WeightsError, match="no batch dimension"):
        factored().unbind()
    with pytest.raises(WeightsError, match="no batch dimension"):
        factored().index(0)
    with pytest.raises(ConditionError):
        factored(2).belonging_to(-1)
