"""What every dataset must fulfil.

It reads no hints: a dataset that needs files is tested with the options that say where
they are.

Only the first tasks of a long sequence are looked into, and of large splits only some
batches.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from hypnet_core.errors import HypnetError
from hypnet_core.protocols import SplitLike, TaskLike
from hypnet_core.tasks.batch import Batch
from hypnet_core.testing.kit import Check, NotApplicableError, Subject, expect

_TASKS = 3
_BATCHES = 3
_SIZE = 7

_Named: TypeAlias = tuple[str, TaskLike, SplitLike]


def it_gives_a_task_or_a_sequence_of_tasks(subject: Subject) -> None:
    """It gives a task, or a sequence of at least one task."""
    built = subject.build()
    if isinstance(built, TaskLike):
        return
    expect(
        isinstance(built, Sequence),
        f"neither a task nor a sequence of tasks came, but a {type(built).__name__}",
    )
    expect(len(built) > 0, "the sequence of tasks is empty")
    for number, task in enumerate(built):
        expect(
            isinstance(task, TaskLike),
            f"element {number} of the sequence is no task, but a {type(task).__name__}",
        )


def tasks_have_names_of_their_own(subject: Subject) -> None:
    """Every task of a sequence has a name of its own."""
    names = [task.spec.name for task in _tasks(subject)]
    expect(
        len(set(names)) == len(names), f"two tasks have the same name: {', '.join(sorted(names))}"
    )


def no_split_is_empty(subject: Subject) -> None:
    """Every split has samples; a task without validation samples has no validation split."""
    for name, _, split in _splits(subject):
        expect(len(split) > 0, f"{name} is empty")


def samples_have_the_shapes_of_the_spec(subject: Subject) -> None:
    """Inputs and targets have the shapes that the task's spec states."""
    for name, task, split in _splits(subject):
        for batch in _some_batches(split):
            frames = tuple(batch.x.shape[1:2]) if task.spec.sequence else ()
            _expect_shape(f"inputs of {name}", batch.x, (len(batch), *frames, *task.spec.in_shape))
            if task.spec.kind == "classification" and not batch.y.is_floating_point():
                expect(
                    batch.y.shape in {(len(batch),), (len(batch), *frames)},
                    f"class indices of {name} have shape {_shape(batch.y)}",
                )
            else:
                allowed = {
                    (len(batch), *task.spec.out_shape),
                    (len(batch), *frames, *task.spec.out_shape),
                }
                expect(
                    tuple(batch.y.shape) in allowed,
                    f"targets of {name} have shape {_shape(batch.y)}, the spec says {allowed}",
                )


def inputs_are_finite_numbers(subject: Subject) -> None:
    """Inputs are finite and in torch's default floating-point type."""
    for name, _, split in _splits(subject):
        for batch in _some_batches(split):
            expect(
                batch.x.dtype == torch.get_default_dtype(), f"inputs of {name} are {batch.x.dtype}"
            )
            expect(bool(batch.x.isfinite().all()), f"inputs of {name} are not finite")


def targets_are_what_the_kind_of_task_asks_for(subject: Subject) -> None:
    """Targets are class indices (int64) of the spec's classes, one-hot rows, or finite numbers for regression."""
    for name, task, split in _splits(subject):
        for batch in _some_batches(split):
            if batch.y.is_floating_point():
                expect(
                    batch.y.dtype == torch.get_default_dtype(),
                    f"targets of {name} are {batch.y.dtype}",
                )
                expect(bool(batch.y.isfinite().all()), f"targets of {name} are not finite")
            else:
                expect(
                    task.spec.kind == "classification",
                    f"targets of {name}, a regression, are {batch.y.dtype}",
                )
                expect(
                    batch.y.dtype == torch.int64,
                    f"class indices of {name} are {batch.y.dtype}, not int64",
                )
                inside = bool(((batch.y >= 0) & (batch.y < task.spec.out_shape[0])).all())
                expect(
                    inside,
                    f"a class index of {name} is not below {task.spec.out_shape[0]}:"
                    f" {batch.y.tolist()}",
                )
            if batch.y.is_floating_point() and task.spec.kind == "classification":
                expect(
                    bool(torch.isclose(batch.y.sum(-1), batch.y.new_ones(())).all()),
                    f"one-hot rows of {name} do not sum to 1",
                )


def sequences_come_with_lengths(subject: Subject) -> None:
    """Batches of sequences say how many frames each has; other batches have no lengths."""
    for name, task, split in _splits(subject):
        for batch in _some_batches(split):
            if not task.spec.sequence:
                expect(
                    batch.lengths is None, f"{name} has lengths, but its samples are no sequences"
                )
            elif batch.lengths is None:
                raise AssertionError(f"{name} has sequences, but no lengths")
            else:
                inside = bool(((batch.lengths >= 1) & (batch.lengths <= batch.x.shape[1])).all())
                expect(
                    inside,
                    f"lengths of {name} are not between 1 and {batch.x.shape[1]}:"
                    f" {batch.lengths.tolist()}",
                )


def one_pass_gives_every_sample_once(subject: Subject) -> None:
    """One pass in batches gives every sample once, in the order of the ids; the last batch has what is left, or is dropped."""
    for name, _, split in _splits(subject):
        size = min(len(split), max(_SIZE, len(split) // 10 + 1))
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


def a_shuffled_pass_is_another_order(subject: Subject) -> None:
    """A shuffled pass gives every sample once, in an order that follows from the generator's seed."""
    for name, _, split in _splits(subject):
        orders = [
            torch.cat(
                [
                    batch.ids
                    for batch in split.batches(len(split), shuffle=True, generator=_seeded(seed))
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
            len(split) < _SIZE or not torch.equal(orders[0], orders[2]),
            f"two passes over {name} with different seeds are the same",
        )


def a_sample_is_its_row_of_a_batch(subject: Subject) -> None:
    """A sample of a test split, asked for by its index, equals its row of a batch, also through a DataLoader."""
    for name, _, split in _splits(subject, "test"):
        batch = next(split.batches(_SIZE))
        loader: DataLoader[Any] = DataLoader(split, batch_size=_SIZE)  # type: ignore[arg-type]  # a protocol, not torch's class
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
    """Two passes over test and validation samples give the same: nothing is augmented there."""
    for name, _, split in _splits(subject, "test", "val"):
        for one, other in zip(_some_batches(split), _some_batches(split), strict=True):
            expect(
                torch.equal(one.x, other.x) and torch.equal(one.y, other.y),
                f"two passes over {name} differ",
            )


def splits_of_a_task_share_no_sample(subject: Subject) -> None:
    """No id stands twice in a split, and no two splits of a task share one."""
    for task in _tasks(subject):
        ids = torch.cat([split.ids for _, split in _of(task)])
        expect(ids.dtype == torch.int64, f"ids of task {task.spec.name} are {ids.dtype}, not int64")
        expect(
            len(ids.unique()) == len(ids),
            f"task {task.spec.name} has a sample in two splits, or twice in one",
        )


def building_again_gives_the_same(subject: Subject) -> None:
    """Built again with the same options, it gives the same samples with the same ids."""
    for (name, _, split), (_, _, again) in zip(_splits(subject), _splits(subject), strict=True):
        expect(torch.equal(split.ids, again.ids), f"{name} has other ids when it is built again")
        for one, other in zip(_seeded_batches(split), _seeded_batches(again), strict=True):
            expect(
                torch.equal(one.x, other.x) and torch.equal(one.y, other.y),
                f"{name} has other samples when it is built again",
            )


def a_stream_goes_on_where_it_was_saved(subject: Subject) -> None:
    """A stream of batches, saved in the middle of a pass and loaded elsewhere, goes on with the same batches."""
    for name, _, split in _splits(subject, "train"):
        size = max(1, min(_SIZE, len(split) // 2))
        stream = split.stream(size, generator=_seeded(1))
        for _ in range(3):
            next(stream)
        state = stream.state_dict()
        other = split.stream(size, generator=_seeded(2))
        other.load_state_dict(state)
        for one, two in islice(zip(stream, other, strict=False), 4):
            same = (
                torch.equal(one.x, two.x)
                and torch.equal(one.y, two.y)
                and torch.equal(one.ids, two.ids)
            )
            expect(same, f"a stream of {name} went on with other batches after it was loaded")


def global_randomness_is_left_alone(subject: Subject) -> None:
    """Building it, and drawing batches with a generator, neither seeds nor uses the random states of torch, numpy and Python."""
    before = _global_states()
    for _, _, split in _splits(subject):
        list(_seeded_batches(split))
        next(split.stream(_SIZE, generator=_seeded(1)))
    expect(_global_states() == before, "a global random state has changed")


def a_batch_size_of_zero_is_refused(subject: Subject) -> None:
    """A batch size below 1 is an error that says so."""
    for name, _, split in _splits(subject):
        for ask in (split.batches, split.stream):
            _expect_refusal(ask, name)


CHECKS: tuple[Check, ...] = (
    it_gives_a_task_or_a_sequence_of_tasks,
    tasks_have_names_of_their_own,
    no_split_is_empty,
    samples_have_the_shapes_of_the_spec,
    inputs_are_finite_numbers,
    targets_are_what_the_kind_of_task_asks_for,
    sequences_come_with_lengths,
    one_pass_gives_every_sample_once,
    a_shuffled_pass_is_another_order,
    a_sample_is_its_row_of_a_batch,
    evaluation_is_not_random,
    splits_of_a_task_share_no_sample,
    building_again_gives_the_same,
    a_stream_goes_on_where_it_was_saved,
    global_randomness_is_left_alone,
    a_batch_size_of_zero_is_refused,
)


def _tasks(subject: Subject) -> list[TaskLike]:
    built = subject.build()
    return [built] if isinstance(built, TaskLike) else list(built)


def _of(task: TaskLike) -> Iterator[tuple[str, SplitLike]]:
    for which, split in (("train", task.train), ("val", task.val), ("test", task.test)):
        if split is not None:
            yield which, split


def _splits(subject: Subject, *only: str) -> list[_Named]:
    """The splits of the first tasks, with a name for messages."""
    found = [
        (f"the {which} split of task {task.spec.name}", task, split)
        for task in _tasks(subject)[:_TASKS]
        for which, split in _of(task)
        if not only or which in only
    ]
    if not found:
        raise NotApplicableError(f"there is no {' or '.join(only)} split")
    return found


def _some_batches(split: SplitLike) -> Iterator[Batch]:
    return chain(islice(split.batches(_SIZE), _BATCHES), islice(split.batches(256), 1))


def _seeded_batches(split: SplitLike) -> Iterator[Batch]:
    return islice(split.batches(_SIZE, shuffle=True, generator=_seeded(1)), _BATCHES)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _global_states() -> tuple[bytes, str, object]:
    return (
        torch.get_rng_state().numpy().tobytes(),
        repr(np.random.get_state()),
        random.getstate(),
    )


def _expect_shape(what: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    expect(
        tuple(tensor.shape) == shape,
        f"{what} have shape {_shape(tensor)}, the spec says {list(shape)}",
    )


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)


def _expect_refusal(ask: Callable[[int], object], name: str) -> None:
    try:
        ask(0)
    except HypnetError:
        return
    raise AssertionError(f"{name} takes a batch size of 0 without complaint")
