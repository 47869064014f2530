"""Conformance checks for datasets.

The suite reads no hints: a dataset that needs files is checked with options that say
where they are. Only the first tasks of a long sequence are checked, and only some
batches of large splits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from hypnet_core.errors import HypnetError
from hypnet_core.protocols import TaskLike
from hypnet_core.tasks.loaded import LoadedSplit
from hypnet_core.tasks.split import Split
from hypnet_core.tasks.stream import Batchable
from hypnet_core.tasks.task import splits_of
from hypnet_core.tasks.transform import Reader
from hypnet_core.testing._splits import (
    SIZE,
    global_states,
    named_batches,
    named_splits,
    same_batch,
    seeded,
    seeded_batches,
    some_batches,
    stream_of,
    tasks_of,
)
from hypnet_core.testing.kit import Check, NotApplicableError, Subject, expect

if TYPE_CHECKING:
    from torch.utils.data import Dataset


def it_gives_a_task_or_a_sequence_of_tasks(subject: Subject) -> None:
    """It gives a task, or a sequence of at least one task."""
    built = subject.build()
    if isinstance(built, TaskLike):
        return
    expect(
        isinstance(built, Sequence),
        f"expected a task or a sequence of tasks, got a {type(built).__name__}",
    )
    expect(len(built) > 0, "the sequence of tasks is empty")
    for number, task in enumerate(built):
        expect(
            isinstance(task, TaskLike),
            f"element {number} of the sequence is a {type(task).__name__}, not a task",
        )


def tasks_have_distinct_names(subject: Subject) -> None:
    """The tasks of a sequence have distinct names."""
    names = [task.spec.name for task in tasks_of(subject)]
    expect(
        len(set(names)) == len(names), f"two tasks have the same name: {', '.join(sorted(names))}"
    )


def no_split_is_empty(subject: Subject) -> None:
    """Every split has samples; without validation samples, `val` is `None`."""
    for name, _, split in named_splits(subject):
        expect(len(split) > 0, f"{name} is empty")


def samples_have_the_shapes_of_the_spec(subject: Subject) -> None:
    """Inputs and targets have the shapes of the task's spec."""
    for name, task, batch in named_batches(subject):
        size, spec = len(batch), task.spec
        frames = tuple(batch.x.shape[1:2]) if spec.sequence else ()
        expect(
            tuple(batch.x.shape) == (size, *frames, *spec.in_shape),
            f"inputs of {name} have shape {_shape(batch.x)}, but the spec says"
            f" {[size, *frames, *spec.in_shape]}",
        )
        if spec.kind == "classification" and not batch.y.is_floating_point():
            expect(
                batch.y.shape in {(size,), (size, *frames)},
                f"class indices of {name} have shape {_shape(batch.y)}",
            )
        else:
            allowed = {(size, *spec.out_shape), (size, *frames, *spec.out_shape)}
            expect(
                tuple(batch.y.shape) in allowed,
                f"targets of {name} have shape {_shape(batch.y)}, but the spec says {allowed}",
            )


def inputs_are_finite_numbers(subject: Subject) -> None:
    """Inputs are finite and have torch's default floating-point type."""
    for name, _, batch in named_batches(subject):
        expect(batch.x.dtype == torch.get_default_dtype(), f"inputs of {name} are {batch.x.dtype}")
        expect(bool(batch.x.isfinite().all()), f"inputs of {name} are not finite")


def targets_fit_the_kind_of_task(subject: Subject) -> None:
    """Targets are class indices, one-hot rows or finite numbers, as the task needs."""
    for name, task, batch in named_batches(subject):
        if batch.y.is_floating_point():
            _expect_numbers(name, task, batch.y)
        else:
            _expect_classes(name, task, batch.y)


def _expect_numbers(name: str, task: TaskLike, y: Tensor) -> None:
    expect(y.dtype == torch.get_default_dtype(), f"targets of {name} are {y.dtype}")
    expect(bool(y.isfinite().all()), f"targets of {name} are not finite")
    if task.spec.kind == "classification":
        sums = y.sum(-1)
        expect(
            bool(torch.isclose(sums, torch.ones_like(sums)).all()),
            f"one-hot rows of {name} do not sum to 1",
        )


def _expect_classes(name: str, task: TaskLike, y: Tensor) -> None:
    expect(task.spec.kind == "classification", f"regression targets of {name} are {y.dtype}")
    expect(y.dtype == torch.int64, f"class indices of {name} are {y.dtype}, not int64")
    expect(
        bool(((y >= 0) & (y < task.spec.out_shape[0])).all()),
        f"a class index of {name} is not below {task.spec.out_shape[0]}: {y.tolist()}",
    )


def sequences_come_with_lengths(subject: Subject) -> None:
    """Batches have `lengths` exactly where samples are sequences, within bounds."""
    for name, task, batch in named_batches(subject):
        if not task.spec.sequence:
            expect(batch.lengths is None, f"{name} has lengths, but its samples are not sequences")
        elif batch.lengths is None:
            raise AssertionError(f"{name} has sequences, but no lengths")
        else:
            expect(
                bool(((batch.lengths >= 1) & (batch.lengths <= batch.x.shape[1])).all()),
                f"lengths of {name} are not between 1 and {batch.x.shape[1]}:"
                f" {batch.lengths.tolist()}",
            )


def one_pass_gives_every_sample_once(subject: Subject) -> None:
    """One pass gives every sample once, in order; `drop_last` drops a smaller batch."""
    for name, _, split in named_splits(subject):
        size = min(len(split), max(SIZE, len(split) // 10 + 1))
        batches = list(split.batches(size))
        sizes = [len(batch) for batch in batches]
        whole, rest = divmod(len(split), size)
        expect(
            sizes == [size] * whole + [rest] * (rest > 0),
            f"{len(split)} samples of {name} came in batches of {sizes}",
        )
        expect(
            torch.equal(torch.cat([batch.ids for batch in batches]), split.ids),
            f"a pass over {name} is not in the order of its ids",
        )
        kept = [len(batch) for batch in split.batches(size, drop_last=True)]
        expect(kept == [size] * whole, f"with drop_last, {name} came in batches of {kept}")


def a_shuffled_pass_follows_the_generator(subject: Subject) -> None:
    """A shuffled pass gives every sample once, in an order that the seed determines."""
    for name, _, split in named_splits(subject):
        orders = [
            torch.cat(
                [
                    batch.ids
                    for batch in split.batches(len(split), shuffle=True, generator=seeded(seed))
                ]
            )
            for seed in (1, 1, 2)
        ]
        expect(
            torch.equal(orders[0].sort().values, split.ids.sort().values),
            f"a shuffled pass over {name} lost samples",
        )
        expect(
            torch.equal(orders[0], orders[1]), f"two passes over {name} with the same seed differ"
        )
        expect(
            len(split) < SIZE or not torch.equal(orders[0], orders[2]),
            f"two passes over {name} with different seeds are the same",
        )


def a_sample_is_its_row_of_a_batch(subject: Subject) -> None:
    """A test sample equals its row of a batch, by index and through a `DataLoader`."""
    for name, _, split in named_splits(subject, "test"):
        batch = next(split.batches(SIZE))
        loader: DataLoader[Any] = DataLoader(cast("Dataset[Any]", split), batch_size=SIZE)
        loaded_x, loaded_y = next(iter(loader))
        expect(
            torch.equal(loaded_x, batch.x) and torch.equal(loaded_y, batch.y),
            f"a DataLoader gives other samples of {name}",
        )
        for index in range(len(batch)):
            x, y = split[index]
            same = torch.equal(x, batch.x[index]) and torch.equal(y, batch.y[index])
            expect(same, f"sample {index} of {name} is not row {index} of the first batch")


def evaluation_is_not_random(subject: Subject) -> None:
    """Without augmentation, training samples keep ids and shapes; none are random."""
    for name, _, split in named_splits(subject, "test", "val"):
        for one, other in zip(some_batches(split), some_batches(split), strict=True):
            expect(same_batch(one, other), f"two passes over {name} differ")


def unaugmented_training_samples_are_not_random(subject: Subject) -> None:
    """Without augmentation, training samples keep ids and shapes; none is random."""
    for name, _, split in named_splits(subject, "train"):
        if not isinstance(split, Split):
            raise NotApplicableError(f"{name} is a {type(split).__name__}, not a Split")
        if isinstance(split, LoadedSplit):
            expect(
                isinstance(split.reader, Reader),
                f"the reader of {name} lacks is_random or for_evaluation()",
            )
        plain = split.unaugmented()
        for one, two, augmented in zip(
            some_batches(plain), some_batches(plain), some_batches(split), strict=True
        ):
            expect(same_batch(one, two), f"two passes over {name} without augmentation differ")
            expect(
                torch.equal(one.ids, augmented.ids) and one.x.shape == augmented.x.shape,
                f"{name} has other ids or shapes without augmentation",
            )


def splits_of_a_task_share_no_sample(subject: Subject) -> None:
    """No id appears twice in a task, neither in one split nor in two."""
    for task in tasks_of(subject):
        ids = torch.cat([split.ids for split in splits_of(task).values()])
        expect(ids.dtype == torch.int64, f"ids of task {task.spec.name} are {ids.dtype}, not int64")
        expect(
            len(ids.unique()) == len(ids),
            f"task {task.spec.name} has a sample in two splits, or twice in one",
        )


def building_again_gives_the_same(subject: Subject) -> None:
    """Built twice with the same options, it has the same samples with the same ids."""
    for (name, _, split), (_, _, again) in zip(
        named_splits(subject), named_splits(subject), strict=True
    ):
        expect(torch.equal(split.ids, again.ids), f"{name} has other ids when it is built again")
        for one, other in zip(seeded_batches(split), seeded_batches(again), strict=True):
            expect(same_batch(one, other), f"{name} has other samples when it is built again")


def a_stream_continues_where_it_was_saved(subject: Subject) -> None:
    """A stream that loads the state of another one continues with the same batches."""
    for name, _, split in named_splits(subject, "train"):
        size = max(1, min(SIZE, len(split) // 2))
        stream, other = (stream_of(name, split, seed, size) for seed in (1, 2))
        for _ in range(3):
            next(stream)
        other.load_state_dict(stream.state_dict())
        for one, two in islice(zip(stream, other, strict=False), 4):
            expect(same_batch(one, two), f"a restored stream of {name} gives other batches")


def global_randomness_is_left_alone(subject: Subject) -> None:
    """With a generator, the global states of torch, numpy and Python stay untouched."""
    before = global_states()
    for name, _, split in named_splits(subject):
        list(seeded_batches(split))
        if isinstance(split, Batchable):
            next(stream_of(name, split, 1, SIZE))
    expect(global_states() == before, "a global random state has changed")


def a_batch_size_of_zero_is_refused(subject: Subject) -> None:
    """A batch size below 1 is an error with a clear message."""
    for name, _, split in named_splits(subject):
        _expect_refusal(split.batches, name)
        if isinstance(split, Batchable):
            _expect_refusal(partial(stream_of, name, split, 1), name)


CHECKS: tuple[Check, ...] = (
    it_gives_a_task_or_a_sequence_of_tasks,
    tasks_have_distinct_names,
    no_split_is_empty,
    samples_have_the_shapes_of_the_spec,
    inputs_are_finite_numbers,
    targets_fit_the_kind_of_task,
    sequences_come_with_lengths,
    one_pass_gives_every_sample_once,
    a_shuffled_pass_follows_the_generator,
    a_sample_is_its_row_of_a_batch,
    evaluation_is_not_random,
    unaugmented_training_samples_are_not_random,
    splits_of_a_task_share_no_sample,
    building_again_gives_the_same,
    a_stream_continues_where_it_was_saved,
    global_randomness_is_left_alone,
    a_batch_size_of_zero_is_refused,
)


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)


def _expect_refusal(ask: Callable[[int], object], name: str) -> None:
    try:
        ask(0)
    except HypnetError:
        return
    raise AssertionError(f"{name} accepts a batch size of 0")
