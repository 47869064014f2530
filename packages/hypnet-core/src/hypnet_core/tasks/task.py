"""Tasks: one learning problem, and the sequences of them that continual learning learns in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from hypnet_core.protocols import SplitLike
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks.batch import Samples
from hypnet_core.tasks.split import Split


@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """One learning problem: what it asks of a network, and its samples.

    Attributes:
        spec: Kind and shapes.
        train: Samples to learn from.
        test: Samples to be judged by.
        val: Samples to choose and stop by; `None` if there are none.
    """

    spec: TaskSpec
    train: SplitLike
    test: SplitLike
    val: SplitLike | None = None

    @property
    def splits(self) -> dict[str, SplitLike]:
        """The splits that there are, by name."""
        return {"train": self.train, "test": self.test} | (
            {} if self.val is None else {"val": self.val}
        )

    @property
    def nbytes(self) -> int:
        """Memory in bytes of the stored samples, shared ones counted once."""
        return _nbytes([self])

    def summary(self) -> str:
        """One line about the task: name, kind, shapes and numbers of samples."""
        sizes = ", ".join(f"{len(split)} {name}" for name, split in self.splits.items())
        shapes = f"{_shape(self.spec.in_shape)} -> {_shape(self.spec.out_shape)}"
        return f"{self.spec.name}: {self.spec.kind} {shapes}, {sizes}"

    def __repr__(self) -> str:
        return f"<Task {self.summary()}>"


@dataclass(frozen=True, eq=False, repr=False)
class TaskSequence(Sequence[Task]):
    """Tasks in the order in which they are learnt.

    An immutable sequence; a slice of it is one as well. Tasks that come from the same
    dataset share its stored samples.

    Attributes:
        name: What the sequence is called.
        tasks: The tasks.
    """

    name: str
    tasks: tuple[Task, ...]

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    @overload
    def __getitem__(self, index: int) -> Task: ...

    @overload
    def __getitem__(self, index: slice) -> TaskSequence: ...

    def __getitem__(self, index: int | slice) -> Task | TaskSequence:
        if isinstance(index, slice):
            return TaskSequence(self.name, self.tasks[index])
        return self.tasks[index]

    @property
    def nbytes(self) -> int:
        """Memory in bytes of the stored samples of all tasks, shared ones counted once."""
        return _nbytes(self.tasks)

    def summary(self) -> str:
        """One line per task."""
        return "\n".join(task.summary() for task in self.tasks)

    def __repr__(self) -> str:
        return f"<TaskSequence {self.name} of {len(self)} tasks>"


def _nbytes(tasks: Iterable[Task]) -> int:
    splits = (split for task in tasks for split in task.splits.values())
    stores: dict[int, Samples] = {
        id(split.samples): split.samples for split in splits if isinstance(split, Split)
    }
    return sum(samples.nbytes for samples in stores.values())


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
