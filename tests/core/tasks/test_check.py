"""Samples that are not what their task says are named before training."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hypnet_core import Split, Task, TaskSpec
from hypnet_core.errors import DataError
from hypnet_core.tasks import check_task

X = torch.zeros(40, 3)
Y = torch.arange(40) % 2


def task(x: Any, y: Any, *, kind: Any = "classification", **split: Any) -> Task:
    spec = TaskSpec(name="t", kind=kind, in_shape=(3,), out_shape=(2,))
    good = Split.of(X, Y if kind == "classification" else torch.zeros(40, 2))
    return Task(spec, good, Split.of(x, y, **split))


def test_right_samples_pass_and_leave_the_global_generator_alone() -> None:
    jitter = [lambda x, g: x + torch.rand(x.shape, generator=g)]
    before = torch.random.get_rng_state()
    check_task(task(X, Y, transforms=jitter))
    check_task(task(X, torch.eye(2)[Y]))
    check_task(task(X, torch.zeros(40, 2), kind="regression"))
    assert torch.equal(before, torch.random.get_rng_state())


def late(value: int) -> torch.Tensor:
    """Labels of which the last one, beyond the first batch, is wrong."""
    labels = Y.clone()
    labels[-1] = value
    return labels


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (task(X.to(torch.uint8), Y), "inputs are uint8, expected floating point"),
        (task(torch.zeros(40, 4), Y), r"shape \[32, 4\], expected \[32, 3\]"),
        (task(X / 0, Y), "inputs are NaN or infinite"),
        (task(X, late(2)), "the label 2 is not one of 2 classes, expected 0 to 1"),
        (task(X, late(-1)), "the label -1 is not one of 2 classes"),
        (task(X, torch.zeros(40, 5)), r"targets .* \[32, 5\], expected \[32, 2\]"),
        (task(X, Y[:, None]), r"labels .* \[32, 1\], expected \[32\]"),
        (task(X, Y, kind="regression"), "targets are int64, expected floating point"),
        (task(X, torch.zeros(40, 2) / 0, kind="regression"), "targets are NaN or infinite"),
        (task(X[:0], Y[:0]), "there are none"),
    ],
)
def test_wrong_samples_are_named(wrong: Task, message: str) -> None:
    with pytest.raises(DataError, match=f"^the test samples of task 't': .*{message}"):
        check_task(wrong)
