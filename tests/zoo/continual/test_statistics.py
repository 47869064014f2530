"""Running statistics of batch norm: whose they are, and when they change."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.zoo.continual.problems import accuracy, clouds, problem, train_on
from torch import Tensor, nn

from hypnet_core import Task
from hypnet_core.plugins import HypernetChoice
from hypnet_core.protocols import BatchLike
from hypnet_core.tasks import Problem
from hypnet_zoo.continual.methods import Hypernet, LwF, Protection, Replay
from hypnet_zoo.continual.preparation import check_module
from hypnet_zoo.regularizers import fisher

HMLP = HypernetChoice(name="hmlp", hidden=(8,))


def normed(tasks: Any, **train: Any) -> Problem:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(4, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 2 * len(tasks))
    )
    return problem(tasks, module=module, **train)


def whole(task: Task) -> BatchLike:
    return next(iter(task.train.batches(1000)))


def statistics(method: Any, task: int) -> dict[str, Tensor]:
    bank = method.network.bank
    own = bank.own(method.network.module)
    return {name: one.clone() for name, one in bank.rows(task, own).items()}


def test_distillation_leaves_the_statistics_of_earlier_tasks() -> None:
    tasks = clouds(3)
    method = LwF(normed(tasks, lr=0.01), statistics="per_task", strength=1.0)
    train_on(method, 0, tasks)
    before = statistics(method, 0)
    train_on(method, 1, tasks)
    train_on(method, 2, tasks)
    for name, one in statistics(method, 0).items():
        assert torch.equal(one, before[name]), name
    assert min(accuracy(method, task, tasks) for task in range(3)) > 90


def test_the_student_is_the_teacher_at_the_start_of_a_task() -> None:
    """Both use the statistics of the earlier task, so that nothing is to be learned."""
    tasks = clouds(2)
    method = LwF(normed(tasks, lr=0.01), statistics="per_task", strength=1.0)
    train_on(method, 0, tasks)
    method.begin(1)
    method.network.train()
    x = whole(tasks[1]).x
    teacher = method._teacher.network
    assert teacher is not None
    torch.testing.assert_close(method.network.recall(x, 0), teacher(x, 0))


@pytest.mark.parametrize("own", ["per_task", "shared"])
@pytest.mark.parametrize("size", [1, None])
def test_one_replayed_sample_is_normalised_by_what_is_known(own: Any, size: Any) -> None:
    """Of four exemplars, a batch may hold one of a task: it has no statistics."""
    tasks = clouds(3)
    method = Replay(normed(tasks, lr=0.01), budget=6, replay_batch=size, statistics=own)
    for task in range(3):
        train_on(method, task, tasks, steps=20)
    assert accuracy(method, 2, tasks) > 90


def test_the_modes_of_the_parts_of_a_network_stay() -> None:
    """A norm that a user froze is in evaluation mode, and stays so."""
    made = normed(clouds(1))
    made.module.train()
    frozen = made.module.get_submodule("1").eval()
    check_module(made)
    assert made.module.training
    assert not frozen.training


@pytest.mark.parametrize("own", ["per_task", "shared", "distilled"])
def test_the_importance_of_weights_is_that_of_the_network_as_it_predicts(own: Any) -> None:
    tasks = clouds(2)
    made = normed(tasks, lr=0.01)
    protect = Protection(importance="exact")
    method = Hypernet(made, hnet=HMLP, statistics=own, protect=protect)
    for task in range(2):
        train_on(method, task, tasks, steps=20)
    # Of the second task, whose statistics are not those of the first.
    plain = method.network.plain(method.hypernet(1).detach().flat, 1).eval()
    batch = whole(tasks[1])
    torch.testing.assert_close(plain(batch.x)[:, 2:], method.predict(batch.x, 1))
    wanted = fisher(plain, tasks[1].train, output_units=[2, 3], parameters=method.net.target.names)
    flat = torch.cat([one.flatten() for one in wanted.values()])
    torch.testing.assert_close(method._importances[1][: len(flat)], flat)
