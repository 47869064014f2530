from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from hypnet_core import ConditionSpec, HyperNetwork, TargetSpec
from hypnet_core.errors import SpecError
from hypnet_zoo.hypernets import HMLP, ChunkedHMLP
from hypnet_zoo.regularizers import OutputRegularizer

TARGET = TargetSpec.from_shapes(
    [[6, 4], [6], [5, 6], [5]], names=["0.weight", "0.bias", "1.weight", "1.bias"]
)
TASKS = 7


def moved(hypernet: HyperNetwork, seed: int = 1) -> HyperNetwork:
    """The same hypernetwork after some training."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in hypernet.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return hypernet


@pytest.fixture(params=["full", "chunked"])
def hypernet(request: pytest.FixtureRequest) -> HyperNetwork:
    torch.manual_seed(0)
    conditions = ConditionSpec(count=TASKS + 1, size=3)
    made: HyperNetwork = (
        HMLP(TARGET, conditions, hidden=(8,))
        if request.param == "full"
        else ChunkedHMLP(TARGET, conditions, chunk_size=9)
    )
    return made.double()


def by_hand(
    hypernet: HyperNetwork,
    start: HyperNetwork,
    tasks: Any,
    *,
    importance: Any = 1.0,
    scale: Any = 1.0,
) -> torch.Tensor:
    """The slow oracle: one task after the other, one weight after the other."""
    total = torch.zeros((), dtype=torch.float64)
    for row, task in enumerate(tasks):
        f = importance[row] if isinstance(importance, torch.Tensor) else importance
        s = scale[row] if isinstance(scale, list) else scale
        total = total + s * (f * (hypernet(task).flat - start(task).flat.detach()) ** 2).sum()
    return total / len(tasks)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("block_size", [None, 1, 3, 100])
def test_it_is_the_mean_squared_distance_to_what_was_generated(
    hypernet: HyperNetwork, recompute: bool, block_size: int | None
) -> None:
    start = copy.deepcopy(hypernet)
    regularizer = OutputRegularizer(
        hypernet, range(TASKS), recompute=recompute, block_size=block_size
    )
    assert regularizer().item() == 0
    moved(hypernet)
    expected = by_hand(hypernet, start, range(TASKS))
    actual = regularizer()
    torch.testing.assert_close(actual, expected)
    gradients = [
        torch.autograd.grad(value, hypernet.unconditional_parameters(), retain_graph=True)
        for value in (actual, expected)
    ]
    torch.testing.assert_close(*gradients)


def test_importance_and_scale_weigh_each_term(hypernet: HyperNetwork) -> None:
    start = copy.deepcopy(hypernet)
    importance, scale = (
        torch.rand(TASKS, TARGET.numel, dtype=torch.float64),
        [float(i) for i in range(TASKS)],
    )
    for options in (
        {"importance": importance},
        {"scale": scale},
        {"importance": importance, "scale": scale},
    ):
        regularizer = OutputRegularizer(start, range(TASKS), **options)
        regularizer.hypernet = moved(copy.deepcopy(start))
        torch.testing.assert_close(
            regularizer(), by_hand(regularizer.hypernet, start, range(TASKS), **options)
        )


def test_only_the_output_units_of_a_task_are_held(hypernet: HyperNetwork) -> None:
    start = copy.deepcopy(hypernet)
    units = [[0], [1, 2], [], [3], [4], [0, 4], [2]]
    regularizer = OutputRegularizer(hypernet, range(TASKS), output_units=units)
    masks = torch.tensor([TARGET.output_mask(one) for one in units]).double()
    moved(hypernet)
    torch.testing.assert_close(
        regularizer(), by_hand(hypernet, start, range(TASKS), importance=masks)
    )


def test_a_random_batch_of_tasks_averages_to_the_whole(hypernet: HyperNetwork) -> None:
    regularizer = OutputRegularizer(hypernet, range(TASKS), max_conditions=2)
    whole = OutputRegularizer(hypernet, range(TASKS))
    moved(hypernet)
    generator = torch.Generator().manual_seed(0)
    seen = [block for _ in range(200) for block in regularizer.blocks(generator=generator)]
    assert {len(block) for block in seen} == {2}
    assert {task for block in seen for task in block} == set(range(TASKS))
    draws = torch.stack([regularizer(generator=generator).detach() for _ in range(400)])
    torch.testing.assert_close(draws.mean(), whole().detach(), rtol=0.1, atol=0)
    torch.testing.assert_close(
        OutputRegularizer(hypernet, range(3), max_conditions=50)(),
        OutputRegularizer(hypernet, range(3))(),
    )


def test_look_ahead_equals_moving_the_parameters(hypernet: HyperNetwork) -> None:
    start = copy.deepcopy(hypernet)
    regularizer = OutputRegularizer(hypernet, range(TASKS))
    delta = {
        name: 0.1 * torch.randn_like(p)
        for name, p in hypernet.named_parameters()
        if "embedding.0" not in name
    }
    ahead = copy.deepcopy(hypernet)
    with torch.no_grad():
        for name, p in ahead.named_parameters():
            p.add_(delta.get(name, torch.zeros_like(p)))
    actual, expected = regularizer(delta=delta), by_hand(ahead, start, range(TASKS))
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(
        torch.autograd.grad(actual, hypernet.unconditional_parameters()),
        torch.autograd.grad(expected, ahead.unconditional_parameters()),
    )


def test_targets_are_generated_in_evaluation_mode_and_the_mode_is_put_back() -> None:
    torch.manual_seed(0)
    hypernet = HMLP(TARGET, ConditionSpec(count=3), dropout=0.5)
    for recompute in (False, True):
        regularizer = OutputRegularizer(hypernet, range(2), recompute=recompute)
        targets = regularizer.targets([0, 1])
        assert hypernet.training
        torch.testing.assert_close(targets, copy.deepcopy(hypernet).eval()([0, 1]).flat)
        assert not targets.requires_grad


def test_recomputed_targets_stay_what_they_were_when_everything_moves(
    hypernet: HyperNetwork,
) -> None:
    stored, recomputed = (
        OutputRegularizer(hypernet, range(TASKS), recompute=flag) for flag in (False, True)
    )
    moved(hypernet)
    torch.testing.assert_close(recomputed.targets([3, 1]), stored.targets([3, 1]))


def test_without_earlier_tasks_there_is_no_penalty(hypernet: HyperNetwork) -> None:
    regularizer = OutputRegularizer(hypernet, [])
    assert regularizer.blocks() == []
    assert regularizer().item() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"importance": torch.zeros(2, 3)}, r"importance must have shape \[7, 65\]"),
        ({"scale": [1.0]}, "scale must have 7 values"),
        ({"output_units": [[0]]}, "output_units must be given for 7 conditions"),
        ({"output_units": [[9]] * 7}, "no output unit 9"),
        ({"max_conditions": 0}, "max_conditions must be positive"),
    ],
)
def test_what_does_not_fit_is_named(hypernet: HyperNetwork, options: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        OutputRegularizer(hypernet, range(TASKS), **options)


def test_unknown_conditions_and_parameters_are_named(hypernet: HyperNetwork) -> None:
    regularizer = OutputRegularizer(hypernet, range(2))
    with pytest.raises(SpecError, match="condition 5 is not regularised; these are"):
        regularizer.targets([5])
    with pytest.raises(
        SpecError, match="delta names parameters that the hypernetwork does not have: nothing"
    ):
        regularizer(delta={"nothing": torch.zeros(1)})


@pytest.mark.parametrize("options", [{"batch_norm": True}, {"spectral_norm": True}], ids=str)
def test_recomputed_targets_also_keep_the_statistics_of_the_start(options: Any) -> None:
    torch.manual_seed(0)
    hypernet = HMLP(TARGET, ConditionSpec(count=4), hidden=(20,), **options)
    for _ in range(5):
        hypernet([0, 1, 2])
    stored, recomputed = (
        OutputRegularizer(hypernet, [0, 1], recompute=flag) for flag in (False, True)
    )
    optimizer = torch.optim.Adam(hypernet.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        hypernet([2, 3]).flat.square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(recomputed.targets([0, 1]), stored.targets([0, 1]))


def test_blocks_hold_at_least_one_condition() -> None:
    with pytest.raises(SpecError, match="block_size must be positive"):
        OutputRegularizer(HMLP(TARGET, ConditionSpec(count=2)), [0], block_size=-1)
