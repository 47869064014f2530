"""Heads, losses and scores of tasks that are learned in sequence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hypnet_core import Split, Task, TaskSpec
from hypnet_core.errors import SpecError
from hypnet_core.tasks import Batch, HeadKind, Heads, Problem, Scenario, sample_scores, task_loss


def spec(classes: int = 3, **fields: Any) -> TaskSpec:
    return TaskSpec(name="t", kind="classification", in_shape=(4,), out_shape=(classes,), **fields)


def problem(
    kind: HeadKind, scenario: Scenario = "task", sizes: tuple[int, ...] = (2, 3)
) -> Problem:
    tasks = []
    for classes in sizes:
        split = Split.of(torch.randn(6, 4), torch.arange(6) % classes)
        tasks.append(Task(spec(classes), split, split))
    heads = Heads(kind=kind, sizes=sizes)
    return Problem(nn.Linear(4, heads.out_features), tasks, heads, scenario)


def labelled(y: torch.Tensor, x: torch.Tensor | None = None, lengths: Any = None) -> Batch:
    inputs = torch.randn(len(y), 4) if x is None else x
    return Batch(inputs, y, torch.arange(len(y)), lengths)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_heads_that_do_not_share_tile_the_outputs(sizes: list[int]) -> None:
    multi = Heads(kind="multi", sizes=tuple(sizes))
    growing = Heads(kind="growing", sizes=tuple(sizes))
    tiles = [unit for task in range(len(sizes)) for unit in multi.units(task)]
    assert tiles == list(range(multi.out_features)) == list(range(sum(sizes)))
    for task in range(len(sizes)):
        assert multi.competing(task) == multi.units(task) == growing.units(task)
        assert growing.competing(task) == range(sum(sizes[: task + 1]))
    single = Heads(kind="single", sizes=tuple(sizes))
    assert single.out_features == max(sizes)
    assert [len(single.units(task)) for task in range(len(sizes))] == sizes
    assert single.classes(len(sizes) - 1).stop == sum(sizes)


def test_there_is_no_task_beyond_the_last() -> None:
    with pytest.raises(SpecError, match="there is no task 2: there are 2"):
        Heads(kind="multi", sizes=(2, 3)).units(2)


def test_heads_must_fit_the_tasks() -> None:
    made = problem("multi")
    with pytest.raises(SpecError, match=r"heads of \(2, 2\) do not fit tasks of \(2, 3\)"):
        Problem(made.module, made.tasks, Heads(kind="multi", sizes=(2, 2)))


def test_only_the_outputs_of_a_task_compete_with_a_head_of_its_own() -> None:
    made, outputs, y = problem("multi"), torch.randn(6, 5), torch.arange(6) % 3
    expected = F.cross_entropy(outputs[:, 2:], y)
    torch.testing.assert_close(made.loss(outputs, labelled(y), 1), expected)


def test_all_classes_so_far_compete_in_a_growing_head() -> None:
    made, outputs, y = problem("growing", "class"), torch.randn(6, 5), torch.arange(6) % 2
    torch.testing.assert_close(
        made.loss(outputs, labelled(y), 0), F.cross_entropy(outputs[:, :2], y)
    )
    torch.testing.assert_close(made.loss(outputs, labelled(y), 1), F.cross_entropy(outputs, y + 2))
    # A sample of the first task, replayed while the second is learned.
    torch.testing.assert_close(
        made.loss(outputs, labelled(y), 0, now=1), F.cross_entropy(outputs, y)
    )


def test_rows_of_probabilities_stand_where_the_labels_would() -> None:
    made, outputs, y = problem("growing", "class"), torch.randn(6, 5), torch.arange(6) % 3
    rows = labelled(F.one_hot(y, 3).float())
    torch.testing.assert_close(made.loss(outputs, rows, 1), made.loss(outputs, labelled(y), 1))


def test_answers_are_those_of_the_task_or_of_all_so_far() -> None:
    outputs = torch.arange(5.0)[None]
    assert problem("multi").answer(outputs, 1).tolist() == [[2, 3, 4]]
    growing = problem("growing", "class")
    assert growing.answer(outputs, None, seen=1).tolist() == [[0, 1]]
    assert growing.answer(outputs, None).tolist() == [[0, 1, 2, 3, 4]]
    single = problem("single", "domain", (3, 3))
    assert single.answer(outputs[:, :3], None, seen=1).tolist() == [[0, 1, 2]]
    with pytest.raises(SpecError, match="cannot tell their classes apart"):
        problem("single", "class").answer(outputs, None)


def test_losses_take_indices_one_hot_rows_and_regression_targets() -> None:
    logits, y = torch.randn(6, 3), torch.arange(6) % 3
    expected = F.cross_entropy(logits, y)
    torch.testing.assert_close(task_loss(logits, labelled(y), spec()), expected)
    rows = labelled(F.one_hot(y).float())
    torch.testing.assert_close(task_loss(logits, rows, spec()), expected)
    regression = TaskSpec(name="r", kind="regression", in_shape=(1,), out_shape=(3,))
    torch.testing.assert_close(
        task_loss(logits, labelled(logits + 2), regression), torch.tensor(4.0)
    )


def test_scores_are_right_answers_or_squared_errors() -> None:
    logits = torch.eye(3)[[0, 1, 2, 0]]
    y = torch.tensor([0, 1, 0, 0])
    assert sample_scores(logits, labelled(y), spec()).tolist() == [1, 1, 0, 1]
    rows = labelled(F.one_hot(y, 3).float())
    assert sample_scores(logits, rows, spec()).tolist() == [1, 1, 0, 1]
    assert sample_scores(logits.roll(1, 1), labelled(y), spec(2), first=1).tolist() == [1, 1, 0, 1]
    regression = TaskSpec(name="r", kind="regression", in_shape=(1,), out_shape=(3,))
    targets = labelled(logits + torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(
        sample_scores(logits, targets, regression), torch.full((4,), 14 / 3, dtype=torch.float64)
    )


class TestSequences:
    """Padded steps count neither in losses nor in scores."""

    lengths = torch.tensor([3, 1])
    x = torch.randn(2, 3, 4)

    def test_targets_of_each_step(self) -> None:
        outputs = torch.randn(2, 3, 3)
        y = torch.tensor([[0, 1, 2], [2, 9, 9]])  # 9 would be out of range
        batch = labelled(y, self.x, self.lengths)
        kept = torch.cat([outputs[0], outputs[1, :1]])
        labels = torch.tensor([0, 1, 2, 2])
        found = spec(sequence=True)
        torch.testing.assert_close(task_loss(outputs, batch, found), F.cross_entropy(kept, labels))
        expected = (kept.argmax(1) == labels).double()
        assert torch.equal(sample_scores(outputs, batch, found), expected)

    def test_one_target_is_answered_at_the_last_step(self) -> None:
        outputs, y = torch.randn(2, 3, 3), torch.tensor([1, 2])
        batch = labelled(y, self.x, self.lengths)
        last = torch.stack([outputs[0, 2], outputs[1, 0]])
        torch.testing.assert_close(
            task_loss(outputs, batch, spec(sequence=True)), F.cross_entropy(last, y)
        )

    def test_numbers_at_each_step(self) -> None:
        found = TaskSpec(name="r", kind="regression", in_shape=(4,), out_shape=(3,), sequence=True)
        outputs = torch.zeros(2, 3, 3)
        y = torch.ones(2, 3, 3)
        y[1, 1:] = torch.nan
        batch = labelled(y, self.x, self.lengths)
        assert task_loss(outputs, batch, found) == 1.0

    def test_a_network_with_one_output_per_sequence_is_named(self) -> None:
        y = torch.zeros(2, 3, dtype=torch.int64)
        with pytest.raises(SpecError, match="the network gives one output per sequence"):
            task_loss(torch.randn(2, 3), labelled(y, self.x, self.lengths), spec(sequence=True))
