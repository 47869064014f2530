"""The first batch of a task is checked, and what is wrong is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from hypnet_core.errors import DataError
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import LoadedSplit, Samples, Split, Task, check_batch, check_task

X = torch.linspace(0, 1, 12).reshape(4, 3)


def spec_of(kind: str = "classification", **fields: Any) -> TaskSpec:
    shapes = {"in_shape": (3,), "out_shape": (2,)}
    return TaskSpec.model_validate({"name": "t", "kind": kind, **shapes, **fields})


def raw(x: Any, y: Any, **options: Any) -> Split:
    samples = Samples.of(x, y, **options)
    return Split(samples, torch.arange(len(samples)))


@pytest.mark.parametrize(
    ("spec", "split"),
    [
        (spec_of(), raw(X, [0, 1, 0, 1])),
        (spec_of(), raw(X, torch.tensor([0, 1, 0, 1], dtype=torch.uint8))),
        (spec_of(), raw(X, torch.eye(2).repeat(2, 1))),
        (spec_of("regression"), raw(X, torch.zeros(4, 2))),
        (spec_of(sequence=True), raw(X[:, None], [0, 1, 0, 1], lengths=[1, 1, 1, 1])),
        (spec_of(sequence=True), raw(X[:, None], [[0], [1], [0], [1]], lengths=[1] * 4)),
    ],
    ids=str,
)
def test_what_fits_the_specification_passes(spec: TaskSpec, split: Split) -> None:
    check_task(Task(spec, split, split))
    check_batch(split.all(), spec)


@pytest.mark.parametrize(
    ("spec", "x", "y", "message"),
    [
        (spec_of(), X.double(), [0, 1, 0, 1], "inputs are float64, should be float32"),
        (spec_of(), X.long(), [0, 1, 0, 1], "inputs are int64, should be float32"),
        (spec_of(), X[:, :2], [0, 1, 0, 1], r"inputs have shape \[4, 2\], should be \[4, 3\]"),
        (spec_of(), X / 0, [0, 1, 0, 1], "inputs are not finite, there is (nan|inf)"),
        (spec_of(), X, [0, 1, 2, 1], r"there is a label 2, but the task has 2 classes \(0 to 1\)"),
        (spec_of(), X, [0, -1, 0, 1], "there is a label -1"),
        (spec_of(), X, [[0], [1], [0], [1]], r"labels have shape \[4, 1\], should be \[4\]"),
        (spec_of(), X, torch.ones(4, 2), "rows of targets must sum to 1, the first has 2"),
        (spec_of(), X, torch.ones(4), r"targets have shape \[4\], should be \[4, 2\]"),
        (spec_of("regression"), X, [0, 1, 0, 1], "targets are int64, should be float32"),
        (spec_of("regression"), X, torch.zeros(4, 2).double(), "targets are float64"),
        (spec_of("regression"), X, torch.full((4, 2), torch.nan), "targets are not finite"),
        (
            spec_of(sequence=True),
            X[:, None],
            [0, 1, 0, 1],
            "the samples are sequences, but have no lengths",
        ),
    ],
)
def test_what_does_not_is_refused_by_name(spec: TaskSpec, x: Any, y: Any, message: str) -> None:
    good_y = [0, 1, 0, 1] if spec.kind == "classification" else torch.zeros(4, 2)
    lengths = {"lengths": [1] * 4} if spec.sequence else {}
    good = raw(X[:, None] if spec.sequence else X, good_y, **lengths)
    with pytest.raises(DataError, match=f"the training samples of 't': {message}"):
        Task(spec, raw(x, y), good)
    with pytest.raises(DataError, match=f"the validation samples of 't': {message}"):
        Task(spec, good, good, raw(x, y))
    with pytest.raises(DataError, match=f"^here: {message}"):
        check_batch(raw(x, y).all(), spec, name="here")


def test_lengths_lie_within_the_frames() -> None:
    with pytest.raises(DataError, match="lengths must lie between 1 and 1, got "):
        check_batch(
            raw(X[:, None], [0, 1, 0, 1], lengths=[1, 2, 1, 1]).all(), spec_of(sequence=True)
        )
    with pytest.raises(DataError, match="there are lengths, but the task has no sequences"):
        check_batch(raw(X, [0, 1, 0, 1], lengths=[1] * 4).all(), spec_of())


def test_the_whole_check_finds_a_wrong_label_anywhere_and_an_empty_split() -> None:
    labels = torch.zeros(100, dtype=torch.uint8)
    labels[77] = 9
    late = raw(torch.zeros(100, 3), labels)
    task = Task(spec_of(), late, late)  # looks at the first samples alone
    with pytest.raises(DataError, match="there is a label 9"):
        check_task(task)
    with pytest.raises(DataError, match="the test samples of 't': there are no samples"):
        check_task(Task(spec_of(), late.subset(slice(0, 50)), late.subset([])))


class CountsReads:
    is_random = False

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self, stored: torch.Tensor, _generator: Any) -> torch.Tensor:
        self.reads += 1
        return X[stored]

    def for_evaluation(self) -> CountsReads:
        return self


def test_files_are_read_by_the_whole_check_alone() -> None:
    reader = CountsReads()
    split = LoadedSplit.of([0, 1, 2, 3], [0, 1, 0, 1], reader=reader)
    task = Task(spec_of(), split, split)
    reads = [reader.reads]
    check_task(task)
    assert [*reads, reader.reads] == [0, 2]
    with pytest.raises(DataError, match="inputs have shape"):
        check_task(replace(task, spec=spec_of(in_shape=(4,))))


def test_a_check_leaves_random_numbers_alone() -> None:
    def noisy(x: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        return x + torch.rand(x.shape, generator=generator)

    split = Split.of(X, [0, 1, 0, 1], transforms=[noisy])
    before = torch.get_rng_state()
    check_task(Task(spec_of(), split, split))
    assert torch.equal(torch.get_rng_state(), before)
