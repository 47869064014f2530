"""Small problems for tests of methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from hypnet_core import Split, Task, TaskSpec
from hypnet_core.protocols import Method
from hypnet_core.tasks import HeadKind, Heads, Problem, Scenario
from hypnet_zoo.continual import Optimizations, Train


def clouds(count: int, *, classes: int = 2, size: int = 60, features: int = 4) -> list[Task]:
    """Tasks of well separated clouds of points, with labels of their own.

    Each class of each task has a centre of its own.
    """
    made = []
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        y = torch.arange(size) % classes
        centres = 3.0 * torch.randn(classes, features, generator=generator)
        x = centres[y] + 0.3 * torch.randn(size, features, generator=generator)
        split = Split.of(x, y, first_id=number * size)
        spec = TaskSpec(
            name=f"t{number}",
            kind="classification",
            in_shape=(features,),
            out_shape=(classes,),
            labels=tuple(range(number * classes, (number + 1) * classes)),
        )
        made.append(Task(spec, split, split, split))
    return made


def sequence_task(number: int, x: torch.Tensor, y: torch.Tensor, lengths: torch.Tensor) -> Task:
    """Two classes of sequences `[N, T, 3]`, with one label each or one per step."""
    spec = TaskSpec(
        name=f"s{number}", kind="classification", in_shape=(3,), out_shape=(2,), sequence=True
    )
    split = Split.of(x, y, lengths=lengths)
    return Task(spec, split, split, split)


def problem(
    tasks: Sequence[Task],
    kind: HeadKind = "multi",
    scenario: Scenario = "task",
    *,
    module: nn.Module | None = None,
    **train: Any,
) -> Problem:
    """A problem with a small MLP, unless another module is given."""
    heads = Heads(kind=kind, sizes=tuple(task.spec.out_shape[0] for task in tasks))
    if module is None:
        torch.manual_seed(0)
        features = tasks[0].spec.in_shape[0]
        module = nn.Sequential(
            nn.Linear(features, 20), nn.ReLU(), nn.Linear(20, heads.out_features)
        )
    return Problem(module, tasks, heads, scenario, Optimizations(Train(**train)))


def train_on(method: Method, task: int, tasks: Sequence[Task], *, steps: int = 60) -> None:
    """Begin a task, take steps on batches of 20, and end it."""
    torch.manual_seed(task)
    method.begin(task)
    generator = torch.Generator().manual_seed(task)
    done = 0
    while done < steps:
        for batch in tasks[task].train.batches(20, shuffle=True, generator=generator):
            if done < steps:
                method.step(batch)
            done += 1
    method.end(task)


def accuracy(method: Method, task: int, tasks: Sequence[Task], *, given: bool = True) -> float:
    """Percentage of right answers on the test samples of a task."""
    batch = next(iter(tasks[task].test.batches(10_000)))
    outputs = method.predict(batch.x, task if given else None)
    return 100.0 * float((outputs.argmax(dim=1) == batch.y).float().mean())
