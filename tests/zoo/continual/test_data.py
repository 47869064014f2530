"""Tasks from arrays: whose labels they are, and which samples are held out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.zoo.continual.problems import clouds

from hypnet_core import Task
from hypnet_core.errors import DataError
from hypnet_core.protocols import TaskLike
from hypnet_core.tasks import Scenario
from hypnet_zoo.continual import as_tasks, learn
from hypnet_zoo.continual.data import with_validation

SHORT: dict[str, Any] = {"iterations": 60, "batch_size": 16, "validate_every": 0, "lr": 0.02}


def arrays(*labels: list[int]) -> list[Any]:
    """Tasks of clouds, whose classes have these labels."""
    given = []
    for task, own in zip(clouds(len(labels), classes=len(labels[0])), labels, strict=True):
        x, y = task.views["train"].samples.x, np.array(own)[task.views["train"].targets]
        given.append({"train": (x, y), "test": (x, y)})
    return given


def described(tasks: list[TaskLike]) -> list[tuple[int, tuple[int, ...] | None]]:
    return [(task.spec.classes, task.spec.labels) for task in tasks]


def test_labels_from_zero_are_those_of_each_task() -> None:
    assert described(as_tasks(arrays([0, 1], [0, 1]))) == [(2, None), (2, None)]


def test_labels_that_no_two_tasks_share_are_numbers_among_all_classes() -> None:
    found = as_tasks(arrays([0, 1], [2, 3], [7, 5]))
    assert described(found) == [(2, (0, 1)), (2, (2, 3)), (2, (5, 7))]
    targets = [task.test.batches(4) for task in found]
    assert [next(batches).y.tolist() for batches in targets] == [[0, 1, 0, 1]] * 2 + [[1, 0, 1, 0]]


@pytest.mark.parametrize("method", ["replay", "joint"])
def test_such_labels_give_the_same_results_as_those_from_zero(method: str) -> None:
    scenarios: tuple[Scenario, ...] = ("task", "domain", "class")
    for scenario in scenarios:
        options: Any = {"scenario": scenario, "train": SHORT, "device": "cpu"}
        one = learn(arrays([0, 1], [0, 1], [0, 1]), method, **options)
        other = learn(arrays([0, 1], [2, 3], [4, 5]), method, **options)
        assert one.summary == other.summary


def test_a_class_of_two_tasks_is_refused_where_classes_must_differ() -> None:
    shared = arrays([0, 1], [1, 2])
    assert described(as_tasks(shared)) == [(2, (0, 1)), (3, (0, 1, 2))]
    with pytest.raises(DataError, match=r"scenario=class: class 0 appears in task_1 and in task_2"):
        learn(shared, "replay", scenario="class", train=SHORT, device="cpu")
    assert learn(shared, "finetune", train=SHORT, device="cpu").accuracies.shape == (2, 2)


def test_a_class_without_samples_keeps_its_place_among_shared_labels() -> None:
    """In `domain` the same label is the same output in each task."""
    given = arrays([0, 1, 2], [0, 2, 2])
    assert described(as_tasks(given)) == [(3, (0, 1, 2)), (3, (0, 1, 2))]
    learn(given, "finetune", scenario="domain", train=SHORT, device="cpu")


def test_negative_labels_are_no_classes() -> None:
    with pytest.raises(DataError, match="there is a label -1"):
        learn(arrays([-1, 1], [2, 3]), "finetune", device="cpu")


def test_one_number_per_sample_may_come_without_a_dimension() -> None:
    x = np.linspace(-1, 1, 30)
    (task,) = as_tasks([((x, x**2), (x, x**2))])
    assert (task.spec.in_shape, task.spec.out_shape) == ((1,), (1,))
    assert next(iter(task.train.batches(4))).y.shape == (4, 1)


def test_held_out_samples_of_neighbouring_seeds_and_tasks_have_nothing_to_do() -> None:
    """A sum of seed and task would choose the same samples for (0, 1) and (1, 0)."""
    tasks = [Task(task.spec, task.train, task.train) for task in clouds(2, size=400)]
    chosen = [
        tuple(found.val.ids.tolist())
        for seed in (0, 1)
        for found in with_validation(tasks, 0.1, seed)
        if found.val is not None
    ]
    # Ids count on from task to task: places among the samples of each.
    places = {tuple(number % 400 for number in ids) for ids in chosen}
    assert [len(ids) for ids in chosen] == [40] * 4
    assert len(places) == 4
