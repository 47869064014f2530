"""Ids of conditions: one normalisation for everybody, and weights that know theirs."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from hypnet_core import (
    ConditionSpec,
    HyperNetwork,
    MainNetwork,
    TargetSpec,
    Weights,
    materialize,
    weights_of,
)
from hypnet_core.errors import ConditionError, WeightsError
from hypnet_core.networks import condition_ids


class Linear(HyperNetwork):
    def __init__(self, target: TargetSpec, conditions: ConditionSpec) -> None:
        super().__init__(target, conditions)
        self.head = nn.Linear(conditions.size + conditions.input_size, target.numel)

    def generate(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.head(inputs)
        return out


def normalised() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))


def trained_pair(conditions: int = 3) -> tuple[MainNetwork, Linear]:
    """A main network whose running statistics differ between conditions."""
    torch.manual_seed(0)
    net = MainNetwork(normalised())
    hypernet = Linear(net.target, ConditionSpec(count=conditions, size=5))
    for condition in [*range(conditions)] * 10:
        x = torch.randn(32, 3) * (1 + condition) + 5 * condition
        net(x, weights=hypernet(condition).detach())
    return net, hypernet


@pytest.mark.parametrize(
    ("condition", "ids", "shape"),
    [
        (3, (3,), ()),
        (np.int64(3), (3,), ()),
        (np.uint8(3), (3,), ()),
        (torch.tensor(3), (3,), ()),
        (torch.tensor(3, dtype=torch.uint8), (3,), ()),
        (np.array(3), (3,), ()),
        ([0, 2], (0, 2), (2,)),
        ((5,), (5,), (1,)),
        (range(3), (0, 1, 2), (3,)),
        ([np.int32(1), torch.tensor(0)], (1, 0), (2,)),
        (np.array([4, 1]), (4, 1), (2,)),
        (torch.tensor([[1, 2], [3, 4]]), (1, 2, 3, 4), (2, 2)),
        (10**12, (10**12,), ()),
    ],
)
def test_whatever_holds_integers_is_an_id(
    condition: Any, ids: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    found = condition_ids(condition)
    assert (found.ids, found.shape, found.batched) == (ids, shape, bool(shape))
    assert all(type(i) is int for i in found.ids)


WRONG: list[tuple[Any, str]] = [
    (True, "a condition is a whole number, got True"),
    ([True], "a condition is a whole number, got True"),
    (np.True_, "a condition is a whole number, got "),
    (torch.tensor(True), "conditions are whole numbers, got values of torch.bool"),
    ([torch.tensor(True)], "a condition is a whole number, got tensor"),
    ("1", "a condition is a whole number, got '1'"),
    (["1"], "a condition is a whole number, got '1'"),
    (b"1", "a condition is a whole number, got b'1'"),
    (0.0, "a condition is a whole number, got 0.0"),
    ([0.0], "a condition is a whole number, got 0.0"),
    (np.float64(0), "a condition is a whole number, got "),
    (np.array([0.0]), "conditions are whole numbers, got values of float64"),
    (torch.tensor([1.0]), "conditions are whole numbers, got values of torch.float32"),
    ([[0, 1]], "a condition is a whole number, got [0, 1]"),
    ({0: 1}, "a condition is a whole number, got {0: 1}"),
    (-1, "there is no condition -1: ids are whole numbers from 0"),
    ([0, -2], "there is no condition -2: ids are whole numbers from 0"),
    (torch.tensor([-3]), "there is no condition -3"),
    (2**70, "ids are at most 2**63 - 1"),
    ([], "the batch of conditions is empty"),
    (torch.empty(0, dtype=torch.int64), "the batch of conditions is empty"),
]


@pytest.mark.parametrize(("condition", "message"), WRONG)
def test_everything_else_is_refused_by_name(condition: Any, message: str) -> None:
    """By the function, by a hypernetwork and by a main network, in the same words."""
    net, hypernet = trained_pair()
    calls: list[Callable[[], Any]] = [
        lambda: condition_ids(condition),
        lambda: hypernet(condition),
        lambda: net(torch.ones(2, 3), weights=weights_of(normalised()), condition=condition),
    ]
    for call in calls:
        with pytest.raises(ConditionError) as error:
            call()
        assert message in str(error.value)


def test_ids_beyond_the_number_of_conditions_are_named() -> None:
    with pytest.raises(ConditionError, match=r"there is no condition 3: there are 3 \(0 to 2\)"):
        condition_ids([0, 3], 3)
    hypernet = Linear(TargetSpec.from_shapes([[2]]), ConditionSpec(count=2))
    with pytest.raises(ConditionError, match=r"one dimension, got shape \[1, 2\]"):
        hypernet(torch.tensor([[0, 1]]))
    with pytest.raises(ConditionError, match="one condition is expected, got a batch of 2"):
        hypernet.embedding([0, 1])  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=6))
def test_all_forms_of_the_same_ids_are_the_same(ids: list[int]) -> None:
    forms: list[Any] = [ids, tuple(ids), np.array(ids), torch.tensor(ids)]
    assert {condition_ids(form) for form in forms} == {condition_ids(ids)}


def test_generated_weights_know_their_conditions() -> None:
    target = TargetSpec.from_shapes([[2, 3]])
    hypernet = Linear(target, ConditionSpec(count=3, size=4, input_size=2))
    noise = torch.randn(5, 2)
    assert hypernet(1, uncond_input=noise[0]).conditions == (1,)
    assert hypernet([2, 0], uncond_input=noise[0]).conditions == (2, 0)
    assert hypernet(np.array([2, 0]), uncond_input=noise[:2]).conditions == (2, 0)
    assert hypernet(1, uncond_input=noise).conditions == (1,) * 5
    assert hypernet(cond_input=torch.randn(4), uncond_input=noise).conditions is None


def test_a_main_network_finds_the_statistics_of_the_weights_by_itself() -> None:
    net, hypernet = trained_pair()
    net.eval()
    x = torch.randn(6, 3)
    for condition in range(3):
        plain = Weights(hypernet(condition).flat, net.target)
        expected = net(x, weights=plain, condition=condition)
        torch.testing.assert_close(net(x, weights=hypernet(condition)), expected)
        # The statistics matter: without them, or with another's, the outputs differ.
        own = net(x, weights=plain, stats=net.statistics())
        assert (own - expected).abs().max() > 0.1
        other = net(x, weights=hypernet(condition), condition=(condition + 1) % 3)
        assert (other - expected).abs().max() > 0.1
    batch = net(x, weights=hypernet([2, 0]))
    torch.testing.assert_close(batch, torch.stack([net(x, weights=hypernet(i)) for i in (2, 0)]))


def test_training_updates_the_statistics_of_the_weights_condition_alone() -> None:
    net, hypernet = trained_pair()
    before = [net.statistics(i).flat for i in range(3)]
    net(torch.randn(16, 3), weights=hypernet(1))
    after = [net.statistics(i).flat for i in range(3)]
    assert [bool(torch.equal(a, b)) for a, b in zip(before, after, strict=True)] == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("training", [True, False])
def test_weights_of_unknown_origin_read_no_statistics_silently(training: bool) -> None:
    """As soon as statistics of conditions are kept, the module's own are a mistake."""
    net, hypernet = trained_pair()
    net.train(training)
    x = torch.randn(4, 3)
    mixed = hypernet(0) * 0.5 + hypernet(1) * 0.5
    for weights in (mixed, Weights(hypernet(0).flat, net.target)):
        with pytest.raises(ConditionError, match="statistics of 3 conditions are kept: pass"):
            net(x, weights=weights)
        assert net(x, weights=weights, condition=0).shape == (4, 2)
        assert net(x, weights=weights, stats=net.statistics()).shape == (4, 2)
    with pytest.raises(ConditionError, match="do not know their condition"):
        torch.vmap(lambda one: net(x, weights=one))(hypernet([0, 1]))
    fresh = MainNetwork(normalised()).train(training)
    assert fresh(x, weights=Weights(hypernet(0).flat, fresh.target)).shape == (4, 2)


def test_weights_of_a_batch_of_hypernetworks_ask_for_their_conditions() -> None:
    torch.manual_seed(0)
    net, hypernet = trained_pair()
    net.eval()
    meta = MainNetwork(copy.deepcopy(hypernet), generate="unconditional")
    theta = Weights(torch.randn(2, meta.target.numel) / 3, meta.target)
    x = torch.randn(4, 3)
    with pytest.raises(ConditionError, match="do not know their condition"):
        net(x, weights=meta(1, weights=theta))
    each = [net(x, weights=meta(1, weights=one)) for one in theta.unbind()]
    both = net(x, weights=meta(1, weights=theta), condition=1)
    torch.testing.assert_close(both, torch.stack(each))


def test_explicit_statistics_win_over_those_of_the_weights() -> None:
    net, hypernet = trained_pair()
    net.eval()
    x = torch.randn(4, 3)
    stats = net.statistics(2)
    torch.testing.assert_close(
        net(x, weights=hypernet(0), stats=stats), net(x, weights=hypernet(0), condition=2)
    )


def test_a_materialised_network_has_the_statistics_of_its_weights() -> None:
    net, hypernet = trained_pair()
    net.eval()
    x = torch.randn(4, 3)
    module = materialize(net, hypernet(2))
    torch.testing.assert_close(module(x), net(x, weights=hypernet(2)))


def weights(ids: Any = (0, 1, 2)) -> Weights:
    count = len(ids)
    spec = TargetSpec.from_shapes([[2], [3]])
    return Weights(torch.arange(5.0 * count).view(count, 5), spec, conditions=ids)


@pytest.mark.parametrize(
    ("change", "ids"),
    [
        (lambda w: w.detach(), (0, 1, 2)),
        (lambda w: w.clone(), (0, 1, 2)),
        (lambda w: w.to(torch.float64), (0, 1, 2)),
        (lambda w: w.select(w.spec.select(names="0")), (0, 1, 2)),
        (lambda w: w.index(1), (1,)),
        (lambda w: w.index(-1), (2,)),
        (lambda w: w.unbind()[2], (2,)),
        (lambda w: Weights.stack(w.unbind()), (0, 1, 2)),
        (lambda w: Weights.stack([w, w]).index(1), (0, 1, 2)),
        (lambda w: Weights.stack([w.index(0), Weights(torch.zeros(5), w.spec)]), None),
        (copy.deepcopy, (0, 1, 2)),
        (copy.copy, (0, 1, 2)),
        (lambda w: pickle.loads(pickle.dumps(w)), (0, 1, 2)),
        (lambda w: -w, (0, 1, 2)),
        (lambda w: 2 * w + 1 - w / 3, (0, 1, 2)),
        (lambda w: 1 - w, (0, 1, 2)),
        (lambda w: w + torch.ones(5), (0, 1, 2)),
        (lambda w: w + Weights(torch.ones(5), w.spec), (0, 1, 2)),
        (lambda w: Weights(torch.ones(5), w.spec) + w, (0, 1, 2)),
        (lambda w: w.index(1) + torch.ones(4, 5), (1, 1, 1, 1)),
        (lambda w: w.index(1) + Weights(torch.ones(2, 5), w.spec), (1, 1)),
        (lambda w: w.index(1) + w.index(1), (1,)),
        (lambda w: w.index(1) + w.index(2), None),
        (lambda w: w - w.index(0), None),
        (lambda w: pytree.tree_map(lambda flat: flat * 2, w), None),
        (torch.vmap(operator.neg), None),
    ],
)
def test_ids_are_kept_or_dropped_by_the_documented_rule(
    change: Callable[[Weights], Weights], ids: tuple[int, ...] | None
) -> None:
    assert change(weights()).conditions == ids


def test_equal_values_of_different_conditions_are_equal_weights() -> None:
    assert weights((0, 1)) == weights((5, 6))


def test_the_number_of_ids_is_that_of_the_sets() -> None:
    spec = TargetSpec.from_shapes([[2]])
    with pytest.raises(WeightsError, match="expected 3 ids, one for each set of weights, got 2"):
        Weights(torch.zeros(3, 2), spec, conditions=[0, 1])
    with pytest.raises(ConditionError, match="a condition is a whole number, got True"):
        Weights(torch.zeros(2), spec, conditions=True)
    several = Weights(torch.zeros(2, 3, 2), spec, conditions=torch.arange(6).view(2, 3))
    assert several.index(1).conditions == (3, 4, 5)
    assert Weights(torch.zeros(3, 2), spec, conditions=4).conditions == (4, 4, 4)
    with pytest.raises(WeightsError, match="expected 3 ids, one for each set of weights, got 1"):
        Weights(torch.zeros(3, 2), spec, conditions=[4])
    net = MainNetwork(nn.Linear(2, 1, bias=False))
    two = Weights(torch.zeros(2, 2), net.target)
    for condition in ([0], torch.tensor([[0, 1]]), np.array([[0, 1]])):
        with pytest.raises(ConditionError, match="2 sets of weights take 2 conditions, got"):
            net(torch.ones(1, 2), weights=two, condition=condition)
    with pytest.raises(ConditionError, match="1 set of weights takes 1 condition, got 2: 0, 1"):
        net(torch.ones(1, 2), weights=two.index(0), condition=[0, 1])


def test_statistics_cost_one_row_for_each_condition_that_was_trained() -> None:
    net = MainNetwork(normalised())
    plain = weights_of(normalised())
    x = torch.randn(8, 3)
    for condition in (10**6, 3, 10**6):
        net(x, weights=plain, condition=condition)
    assert len(net.bank) == 2
    assert all(len(rows) == 2 for rows in net.bank.buffers())
    assert sum(buffer.nbytes for buffer in net.bank.buffers()) < 1000
    tracked = net.bank.rows(10**6, {})["1.num_batches_tracked"]
    assert int(tracked) == 2
    loaded = MainNetwork(normalised())
    loaded(x, weights=plain, condition=7)  # a row that the checkpoint does not have
    loaded.load_state_dict(net.state_dict())
    assert loaded.statistics(10**6) == net.statistics(10**6)
    assert loaded.statistics(3) == net.statistics(3)
    assert loaded.statistics(7) == loaded.statistics()
    again = pickle.loads(pickle.dumps(copy.deepcopy(net)))
    assert again.statistics(3) == net.statistics(3)


def test_a_compiled_call_reads_the_statistics_of_each_condition() -> None:
    net, hypernet = trained_pair()
    net.eval()
    x = torch.randn(4, 3)

    @torch.compile(backend="eager")
    def call(x: Tensor, weights: Weights) -> Any:
        return net(x, weights=weights)

    for condition in (0, 1, 2, 1):
        torch.testing.assert_close(
            call(x, hypernet(condition)), net(x, weights=hypernet(condition))
        )


def test_a_hypernetwork_as_main_network_takes_its_condition_by_name_alone() -> None:
    torch.manual_seed(0)
    inner = Linear(TargetSpec.from_shapes([[2]]), ConditionSpec(count=3, size=2))
    outer = MainNetwork(copy.deepcopy(inner), generate="unconditional")
    above = Linear(outer.target, ConditionSpec(count=5, size=2))
    made = outer(condition=2, weights=above(4))
    assert made.conditions == (2,)  # not 4, which is a condition of the other network


def test_statistics_without_the_ids_of_their_conditions_are_refused() -> None:
    net, _ = trained_pair()
    saved = {key: value for key, value in net.state_dict().items() if key != "bank.ids"}
    fresh = MainNetwork(normalised())
    for strict in (True, False):
        with pytest.raises(RuntimeError, match="do not fit the ids of their conditions"):
            fresh.load_state_dict(saved, strict=strict)


def test_numpy_numbers_multiply_weights_from_either_side() -> None:
    _, hypernet = trained_pair()
    weights = hypernet(1)
    for product in (np.float64(0.5) * weights, weights * np.float64(0.5)):
        assert isinstance(product, Weights)
        assert torch.equal(product.flat, weights.flat * 0.5)
        assert product.conditions == (1,)
