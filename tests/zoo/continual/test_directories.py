"""A directory goes on only with the tasks, the method and the options that it holds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.zoo.continual.problems import clouds
from torch import Tensor, nn
from torch.utils.data import Dataset

from hypnet_core import Split, Task
from hypnet_core.errors import CheckpointError
from hypnet_core.tasks import Augmentation
from hypnet_zoo.continual import learn
from hypnet_zoo.continual.methods import Replay

SHORT = {"iterations": 4, "batch_size": 16, "validate_every": 0}
BEFORE: dict[str, Any] = {
    "method": {"name": "replay", "budget": 20},
    "module": {"name": "mlp", "hidden": (8,)},
    "scenario": "class",
    "train": SHORT,
    "device": "cpu",
}


def linear(in_shape: Sequence[int], out_features: int) -> nn.Module:
    """A network without hidden layers."""
    return nn.Linear(in_shape[0], out_features)


def changed(tasks: list[Task]) -> list[Task]:
    """The same tasks, but for one number in one test sample of the last task."""
    last = tasks[-1]
    x = last.views["test"].samples.x.clone()
    x[7, 2] += 1e-3
    test = replace(last.views["test"], samples=replace(last.views["test"].samples, x=x))
    return [*tasks[:-1], replace(last, test=test)]


def fewer(tasks: list[Task]) -> list[Task]:
    """The last task has fewer training samples."""
    return [*tasks[:-1], replace(tasks[-1], train=tasks[-1].views["train"].subset(range(50)))]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"method": {"name": "replay", "budget": 30}}, "method.options.budget was 20, is now 30"),
        ({"method": "finetune"}, 'method.name was "replay", is now "finetune"'),
        ({"module": {"name": "mlp", "hidden": (9,)}}, "module.options.hidden was [8], is now [9]"),
        ({"module": linear}, 'module.name was "mlp", is now "linear"'),
        ({"scenario": "task"}, 'scenario was "class", is now "task"'),
        ({"heads": "multi"}, 'heads was "growing", is now "multi"'),
        ({"seed": 1}, "seed was 0, is now 1"),
        ({"train": {**SHORT, "lr": 0.5}}, "train.lr was 0.001, is now 0.5"),
    ],
)
def test_other_options_are_refused_and_named(tmp_path: Path, change: Any, expected: str) -> None:
    learn(clouds(2), directory=tmp_path, **BEFORE)
    with pytest.raises(CheckpointError) as caught:
        learn(clouds(2), directory=tmp_path, **{**BEFORE, **change})
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (changed, "tasks.samples was"),
        (fewer, "tasks.sizes.1.train was 60, is now 50"),
        (lambda tasks: tasks[:1], 'tasks.names was ["t0", "t1"], is now ["t0"]'),
        (lambda tasks: tasks[::-1], 'tasks.names was ["t0", "t1"], is now ["t1", "t0"]'),
    ],
)
def test_other_tasks_are_refused_and_named(
    tmp_path: Path, change: Callable[[list[Task]], list[Task]], expected: str
) -> None:
    learn(clouds(2), directory=tmp_path, **BEFORE)
    with pytest.raises(CheckpointError) as caught:
        learn(change(clouds(2)), directory=tmp_path, **BEFORE)
    assert expected in str(caught.value)
    again = learn(clouds(2), directory=tmp_path, **BEFORE)
    assert again.seconds_per_step is None


def test_how_tasks_are_inferred_belongs_to_the_results(tmp_path: Path) -> None:
    options = {**BEFORE, "method": {"name": "separate"}}
    learn(clouds(2), directory=tmp_path, **options)
    with pytest.raises(CheckpointError, match='infer was "entropy", is now "max_likelihood"'):
        learn(clouds(2), directory=tmp_path, infer="max_likelihood", **options)


def test_modules_and_functions_are_known_by_names_layers_and_options(tmp_path: Path) -> None:
    def module(size: int) -> nn.Module:
        return nn.Sequential(nn.Linear(4, size), nn.ReLU(), nn.Linear(size, 4))

    options: dict[str, Any] = {"scenario": "class", "train": SHORT, "device": "cpu"}
    method = functools.partial(Replay, budget=20)
    first = learn(clouds(2), method, module=module(5), directory=tmp_path, **options)
    again = learn(
        clouds(2),
        functools.partial(Replay, budget=20),
        module=module(5),
        directory=tmp_path,
        **options,
    )
    assert again.summary == first.summary
    with pytest.raises(CheckpointError, match=r"module\.layers was"):
        learn(clouds(2), method, module=module(6), directory=tmp_path, **options)
    more = functools.partial(Replay, budget=30)
    with pytest.raises(CheckpointError, match=r'method\.options\.budget was "20", is now "30"'):
        learn(clouds(2), more, module=module(5), directory=tmp_path, **options)


class Jitter(Augmentation):
    """Adds noise from the generator that it is given."""

    def __call__(self, x: Tensor, generator: torch.Generator | None = None, /) -> Tensor:
        return x + 0.1 * torch.randn(x.shape, generator=generator)


class Pairs(Dataset[tuple[Tensor, int]]):
    """A dataset of a user."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((4,), float(index)), index % 2


def test_the_same_data_are_recognised_in_all_their_forms(tmp_path: Path) -> None:
    """Augmented samples, arrays and datasets are the same when they are made again."""

    def given() -> list[Any]:
        (task,) = clouds(1)
        x, y = task.views["train"].samples.x, task.views["train"].samples.y
        augmented = Task(task.spec, Split.of(x, y, transforms=[Jitter()]), task.test)
        arrays = (np.ones((20, 4)) * np.arange(20)[:, None], np.arange(20) % 2)
        return [augmented, (Pairs(), Pairs()), {"train": arrays, "test": arrays}]

    options: dict[str, Any] = {"train": SHORT, "device": "cpu", "directory": tmp_path}
    first = learn(given(), "finetune", **options)
    assert learn(given(), "finetune", **options).summary == first.summary


def make(budget: int) -> Any:
    """A function of which only a constant in its closure differs."""
    return lambda problem: Replay(problem, budget=budget)


def test_functions_are_known_by_their_code_and_closure(tmp_path: Path) -> None:
    options: dict[str, Any] = {"train": SHORT, "device": "cpu", "directory": tmp_path}
    first = learn(clouds(2), make(20), **options)
    assert learn(clouds(2), make(20), **options).summary == first.summary
    with pytest.raises(CheckpointError, match=r"method\.code was"):
        learn(clouds(2), make(30), **options)


def test_other_weights_at_the_start_are_a_remark(tmp_path: Path) -> None:
    """Those of the checkpoint go on, which a network without a seed needs."""
    options: dict[str, Any] = {"train": SHORT, "device": "cpu", "directory": tmp_path}
    torch.manual_seed(0)
    first = learn(clouds(2), "finetune", module=nn.Linear(4, 4), **options)
    assert not any("other weights" in note for note in first.notes)
    again = learn(clouds(2), "finetune", module=nn.Linear(4, 4), **options)
    assert again.summary == first.summary
    assert "other weights than the network that was given" in again.notes[-1]
