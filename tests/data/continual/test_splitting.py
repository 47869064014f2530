from __future__ import annotations

from itertools import chain, pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypnet_core.errors import ConfigError, DataError, SpecError
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import Split, Task
from hypnet_data import OneHot, RandomCrop, hold_out_stratified, split_tasks
from hypnet_data.continual import label_groups


def whole_of(
    count: int = 120, classes: int = 6, *, val: bool = False, one_hot: bool = False
) -> Task:
    """Samples that hold their own number, with labels in turn."""
    everything = Split.of(torch.arange(count * 1.0)[:, None], torch.arange(count) % classes)
    if one_hot:
        everything = everything.with_target_transforms(OneHot(classes))
    spec = TaskSpec(name="numbers", kind="classification", in_shape=(1,), out_shape=(classes,))
    cuts = (0, count // 2, count * 3 // 4, count)
    train, middle, test = (everything.subset(slice(low, high)) for low, high in pairwise(cuts))
    return Task(spec, train, test, middle if val else None)


orders = st.integers(2, 6).flatmap(lambda classes: st.permutations(range(classes)))


@given(order=orders, data=st.data())
def test_tasks_are_the_samples_of_their_labels_relabelled(
    order: list[int], data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, len(order)))
    tasks = data.draw(st.integers(1, len(order) // size))
    whole = whole_of(classes=len(order), val=True)
    sequence = split_tasks(whole, classes_per_task=size, tasks=tasks, order=tuple(order))
    assert len(sequence) == tasks
    for number, task in enumerate(sequence):
        labels = order[number * size : (number + 1) * size]
        assert task.spec.labels == tuple(labels)
        assert task.spec.out_shape == (size,)
        for name, split in task.splits.items():
            before = whole.splits[name]
            expected = [int(i) for i in before.ids if int(i) % len(order) in labels]
            batch = next(split.batches(len(split)))
            assert batch.ids.tolist() == batch.x[:, 0].tolist() == expected
            assert batch.y.tolist() == [labels.index(i % len(order)) for i in expected]


def test_tasks_share_the_storage_of_the_whole() -> None:
    whole = whole_of(val=True)
    pointers = {
        split.samples.x.data_ptr()
        for task in (whole, *split_tasks(whole))
        for split in task.splits.values()
        if isinstance(split, Split)
    }
    assert len(pointers) == 1
    assert split_tasks(whole).nbytes == whole.nbytes


def test_disjoint_tasks_divide_the_samples_among_them() -> None:
    whole = whole_of()
    ids = [int(i) for task in split_tasks(whole) for i in task.train.ids]
    assert sorted(ids) == whole.train.ids.tolist()


def test_labels_of_each_task_may_be_given_and_shared() -> None:
    sequence = split_tasks(whole_of(), labels=((5, 0), (0,), (1, 2, 3)))
    assert [task.spec.labels for task in sequence] == [(5, 0), (0,), (1, 2, 3)]
    assert [task.spec.classes for task in sequence] == [2, 1, 3]
    assert set(sequence[0].train.ids.tolist()) > set(sequence[1].train.ids.tolist())


def test_names_count_the_tasks() -> None:
    assert [task.spec.name for task in split_tasks(whole_of())] == [
        "split_numbers_0",
        "split_numbers_1",
        "split_numbers_2",
    ]
    assert split_tasks(whole_of(), name="mine")[2].spec.name == "mine_2"
    assert split_tasks(whole_of()).name == "split_numbers"


def test_the_full_output_dimension_keeps_all_classes_and_labels() -> None:
    whole = whole_of()
    for task in split_tasks(whole, full_out_dim=True):
        assert task.spec.out_shape == (6,)
        assert task.spec.labels is None
        batch = next(task.train.batches(100))
        assert torch.equal(batch.y, batch.ids % 6)


@pytest.mark.parametrize(("full_out_dim", "outputs"), [(False, 5), (True, 9)])
def test_padding_adds_classes_without_samples(full_out_dim: bool, outputs: int) -> None:
    for task in split_tasks(whole_of(), full_out_dim=full_out_dim, target_padding=3, one_hot=True):
        rows = next(task.train.batches(1000)).y
        assert task.spec.out_shape == (outputs,) == tuple(rows.shape[1:])
        assert rows[:, -3:].sum() == 0
        assert torch.equal(rows.sum(dim=1), torch.ones(len(rows)))


def test_one_hot_rows_are_those_of_the_new_labels() -> None:
    plain, rows = split_tasks(whole_of()), split_tasks(whole_of(), one_hot=True)
    for one, other in zip(plain, rows, strict=True):
        a, b = next(one.train.batches(1000)), next(other.train.batches(1000))
        assert torch.equal(torch.eye(2)[a.y], b.y)


def test_a_whole_with_one_hot_targets_can_be_cut_as_well() -> None:
    for one, other in zip(
        split_tasks(whole_of()), split_tasks(whole_of(one_hot=True)), strict=True
    ):
        assert torch.equal(next(one.test.batches(1000)).y, next(other.test.batches(1000)).y)


def test_validation_samples_are_the_first_of_each_task_unless_told_otherwise() -> None:
    for task in split_tasks(whole_of(), validation_size=5):
        together = split_tasks(whole_of())[int(task.spec.name[-1])].train.ids.tolist()
        assert task.val is not None
        assert task.val.ids.tolist() == together[:5]
        assert task.train.ids.tolist() == together[5:]
    for task in split_tasks(whole_of(), validation_size=6, hold_out=hold_out_stratified):
        assert task.val is not None
        assert next(task.val.batches(6)).y.bincount().tolist() == [3, 3]


def test_no_validation_is_asked_for_with_zero() -> None:
    assert all(task.val is None for task in split_tasks(whole_of(), validation_size=0))


def test_validation_samples_are_not_augmented() -> None:
    images = Split.of(torch.rand(12, 1, 4, 4), torch.arange(12) % 2, transforms=[RandomCrop(1)])
    spec = TaskSpec(name="images", kind="classification", in_shape=(1, 4, 4), out_shape=(2,))
    [task] = split_tasks(Task(spec, images, images.unaugmented()), validation_size=4)
    assert isinstance(task.val, Split)
    assert isinstance(task.train, Split)
    assert task.val.transforms == ()
    assert len(task.train.transforms) == 1


def test_a_part_can_be_cut_again_and_remembers_the_first_labels() -> None:
    part = split_tasks(whole_of(), labels=((5, 3, 1, 0),))[0]
    assert [task.spec.labels for task in split_tasks(part)] == [(5, 3), (1, 0)]
    again = split_tasks(part)[1]
    batch = next(again.train.batches(1000))
    assert batch.y.tolist() == [[1, 0].index(int(i) % 6) for i in batch.ids]


@given(classes=st.integers(1, 12), size=st.integers(1, 12))
def test_groups_deal_out_every_label_once_or_say_that_they_do_not_come_out_even(
    classes: int, size: int
) -> None:
    if size > classes:
        with pytest.raises(ConfigError, match="classes_per_task"):
            label_groups(classes, classes_per_task=size)
    elif classes % size:
        with pytest.raises(
            ConfigError, match=f"set tasks={classes // size} to leave out {classes % size}"
        ):
            label_groups(classes, classes_per_task=size)
        assert (
            len(label_groups(classes, classes_per_task=size, tasks=classes // size))
            == classes // size
        )
    else:
        assert list(chain(*label_groups(classes, classes_per_task=size))) == list(range(classes))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": 4}, "tasks must be between 1 and 3"),
        ({"tasks": 0}, "tasks must be between 1 and 3"),
        ({"classes_per_task": 0}, "classes_per_task must be between 1 and 6"),
        ({"classes_per_task": 7}, "classes_per_task must be between 1 and 6"),
        ({"order": [0, 1, 6]}, r"no label 6 \(in order\): labels go from 0 to 5"),
        ({"order": [0, -1]}, "no label -1"),
        ({"order": [0, 1, 0, 2]}, "label 0 appears twice in order"),
        ({"labels": [[0, 1], [7]]}, r"no label 7 \(in the labels of task 1\)"),
        ({"labels": [[0, 1], [2, 2]]}, "label 2 appears twice in the labels of task 1"),
        ({"labels": [[0, 1], []]}, "task 1 has no labels"),
        ({"labels": []}, "at least one task"),
        ({"labels": [[0], [1]], "tasks": 3}, "tasks must be between 1 and 2"),
        ({"target_padding": -1}, "target_padding must not be negative"),
        (
            {"validation_size": 20},
            "20 samples cannot be held out for validation: there are only 20",
        ),
        ({"validation_size": -2}, "must not be negative"),
    ],
)
def test_options_that_are_not_possible_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        split_tasks(whole_of(), **options)


def test_a_second_validation_split_is_refused() -> None:
    with pytest.raises(ConfigError, match="has a validation split already"):
        split_tasks(whole_of(val=True), validation_size=5)


def test_a_task_without_samples_is_an_error_that_names_its_labels() -> None:
    whole = whole_of()
    spec = whole.spec.model_copy(update={"out_shape": (8,)})
    with pytest.raises(
        DataError,
        match="'split_numbers_3' has no training samples: there is none with label 6 or 7",
    ):
        split_tasks(Task(spec, whole.train, whole.test))


def test_a_regression_cannot_be_cut() -> None:
    spec = TaskSpec(name="line", kind="regression", in_shape=(1,), out_shape=(1,))
    line = Split.of([[0.0], [1.0]], [[0.0], [1.0]])
    with pytest.raises(SpecError, match="'line' is a regression: it has no classes"):
        split_tasks(Task(spec, line, line))


def test_a_split_of_a_class_of_its_own_cannot_be_cut() -> None:
    class Elsewhere:
        def __init__(self, split: Any) -> None:
            self._split = split

        def __len__(self) -> int:
            return len(self._split)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._split, name)

    whole = whole_of()
    elsewhere: Any = Elsewhere(whole.train)
    with pytest.raises(
        ConfigError,
        match=r"'numbers' cannot be cut .*: its samples are in a Elsewhere, not in a Split",
    ):
        split_tasks(Task(whole.spec, elsewhere, whole.test))


def small(train: list[int], test: list[int], val: list[int] | None) -> Task:
    """A task with these labels."""
    spec = TaskSpec(name="small", kind="classification", in_shape=(1,), out_shape=(4,))
    labels = [*train, *test, *(val or [])]
    everything = Split.of(torch.zeros(len(labels), 1), torch.tensor(labels))
    ends = (0, len(train), len(train) + len(test), len(labels))
    first, second, third = (everything.subset(slice(low, high)) for low, high in pairwise(ends))
    return Task(spec, first, second, None if val is None else third)


def test_a_task_that_cannot_be_tested_is_an_error() -> None:
    with pytest.raises(
        DataError, match="'split_small_1' has no test samples: there is none with label 2 or 3"
    ):
        split_tasks(small([0, 1, 2, 3], [0, 1, 0], None))


def test_a_task_whose_share_of_the_validation_samples_is_empty_has_no_validation_split() -> None:
    sequence = split_tasks(small([0, 1, 2, 3], [0, 1, 2, 3], [0, 1]))
    assert sequence[0].val is not None
    assert len(sequence[0].val) == 2
    assert sequence[1].val is None
