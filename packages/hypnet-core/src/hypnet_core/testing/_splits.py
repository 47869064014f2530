"""The splits, batches and streams that the checks of datasets look at."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import chain, islice
from typing import TypeAlias

import numpy as np
import torch

from hypnet_core.protocols import BatchLike, SplitLike, TaskLike
from hypnet_core.tasks.split import Split
from hypnet_core.tasks.stream import Batchable, Stream
from hypnet_core.tasks.task import splits_of
from hypnet_core.testing.kit import NotApplicableError, Subject

# Bounds of the work: only the first tasks of a sequence, and some batches of a split.
TASKS = 3
BATCHES = 3
SIZE = 7

NamedSplit: TypeAlias = tuple[str, TaskLike, SplitLike]
"""A name for messages, the task, and its split."""


def tasks_of(subject: Subject) -> list[TaskLike]:
    """The tasks of a dataset, built anew."""
    built = subject.build()
    return [built] if isinstance(built, TaskLike) else list(built)


def named_splits(subject: Subject, *only: str) -> list[NamedSplit]:
    """The splits of the first tasks, with a name for messages."""
    found = [
        (f"the {which} split of task {task.spec.name}", task, split)
        for task in tasks_of(subject)[:TASKS]
        for which, split in splits_of(task).items()
        if not only or which in only
    ]
    if not found:
        raise NotApplicableError(f"there is no {' or '.join(only)} split")
    return found


def named_batches(subject: Subject) -> Iterator[tuple[str, TaskLike, BatchLike]]:
    """Some batches of all these splits."""
    for name, task, split in named_splits(subject):
        for batch in some_batches(split):
            yield name, task, batch


def some_batches(split: SplitLike) -> Iterator[BatchLike]:
    """The first small batches of a split, and a large one."""
    return chain(islice(split.batches(SIZE), BATCHES), islice(split.batches(256), 1))


def seeded_batches(split: SplitLike) -> Iterator[BatchLike]:
    """The first batches of a shuffled pass with seed 1."""
    return islice(split.batches(SIZE, shuffle=True, generator=seeded(1)), BATCHES)


def stream_of(name: str, split: SplitLike, seed: int, size: int) -> Stream:
    """A stream over a split, if it has batches at given indices."""
    if isinstance(split, Split):  # its own method, which a subclass may have changed
        return split.stream(size, generator=seeded(seed))
    if isinstance(split, Batchable):
        return Stream(split, size, generator=seeded(seed))
    raise NotApplicableError(f"{name} has no batch(indices, …) to stream from")


def seeded(seed: int) -> torch.Generator:
    """A generator with a seed."""
    return torch.Generator().manual_seed(seed)


def same_batch(one: BatchLike, other: BatchLike) -> bool:
    """Whether two batches hold the same samples."""
    pairs = ((one.x, other.x), (one.y, other.y), (one.ids, other.ids))
    return all(torch.equal(here, there) for here, there in pairs)


def global_states() -> tuple[bytes, str, object]:
    """The global random states of torch, numpy and Python."""
    return (
        torch.get_rng_state().numpy().tobytes(),
        repr(np.random.get_state()),  # noqa: NPY002  the legacy global state is compared
        random.getstate(),
    )
