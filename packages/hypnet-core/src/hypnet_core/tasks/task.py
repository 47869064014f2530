"""Tasks, and the task sequences of continual learning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import SplitLike, TaskLike
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks.batch import Samples
from hypnet_core.tasks.check import check_stored
from hypnet_core.tasks.split import Split


@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """One learning problem: its specification and its samples.

    Attributes:
        spec: Kind and shapes.
        train: Samples for training.
        test: Samples for the final evaluation.
        val: Samples for model selection and early stopping; `None` if there are none.

    Raises:
        DataError: The first samples of a split in memory are not as the specification
            says; see `check_batch`. Files are not read: `check_task` does.
    """

    spec: TaskSpec
    train: SplitLike
    test: SplitLike
    val: SplitLike | None = None

    def __post_init__(self) -> None:
        check_stored(self)

    @property
    def splits(self) -> dict[str, SplitLike]:
        """The splits by name: `train`, `test` and, if there is one, `val`."""
        return splits_of(self)

    @property
    def views(self) -> dict[str, Split]:
        """The splits by name, as index views that can be changed.

        Raises:
            ConfigError: A split is not a `Split`.
        """
        return {name: _view(self.spec.name, split) for name, split in self.splits.items()}

    def map(self, change: Callable[[Split], Split], *, spec: TaskSpec | None = None) -> Task:
        """Change every split in the same way.

        The result is a plain `Task`, because further fields of a subclass, such as the
        names of the classes, may not hold for the changed samples.

        Args:
            change: From a split to the changed one, usually another view of the same
                samples.
            spec: The specification of the changed task; by default this one's.

        Raises:
            ConfigError: A split is not a `Split`.

        Example:
            >>> whole = Split.of([[0.0], [1.0], [2.0]], [0, 1, 1])
            >>> shapes = {"in_shape": (1,), "out_shape": (2,)}
            >>> spec = TaskSpec(name="t", kind="classification", **shapes)
            >>> task = Task(spec, whole, whole).map(lambda split: split.subset([0]))
            >>> len(task.train), len(task.test)
            (1, 1)
        """
        changed = {name: change(split) for name, split in self.views.items()}
        return Task(spec or self.spec, changed["train"], changed["test"], changed.get("val"))

    @property
    def nbytes(self) -> int:
        """Memory in bytes of the stored samples, shared ones counted once."""
        return stored_bytes([self])

    def summary(self) -> str:
        """One line about the task: name, kind, shapes and numbers of samples."""
        sizes = ", ".join(f"{len(split)} {name}" for name, split in self.splits.items())
        shapes = f"{_shape(self.spec.in_shape)} -> {_shape(self.spec.out_shape)}"
        return f"{self.spec.name}: {self.spec.kind} {shapes}, {sizes}"

    def __repr__(self) -> str:
        return f"<Task {self.summary()}>"


@dataclass(frozen=True, eq=False, repr=False)
class TaskSequence(Sequence[Task]):
    """Tasks in the order in which they are learned.

    The sequence is immutable, and a slice is a task sequence as well. Tasks of the same
    dataset share its stored samples.

    Attributes:
        name: Name of the sequence.
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
        """Memory in bytes of all stored samples, shared ones counted once."""
        return stored_bytes(self.tasks)

    def summary(self) -> str:
        """One line per task."""
        return "\n".join(task.summary() for task in self.tasks)

    def __repr__(self) -> str:
        return f"<TaskSequence {self.name} of {len(self)} tasks>"


def splits_of(task: TaskLike) -> dict[str, SplitLike]:
    """The splits of a task by name: `train`, `test` and, if there is one, `val`."""
    named = {"train": task.train, "test": task.test, "val": task.val}
    return {name: split for name, split in named.items() if split is not None}


def stored_bytes(tasks: Iterable[TaskLike]) -> int:
    """Memory in bytes of the stored samples of some tasks, shared ones counted once."""
    # Loaded splits count with what they keep in memory, the names of files.
    splits = (split for task in tasks for split in splits_of(task).values())
    # Splits are views: only the identity of their store says what is shared.
    stores: dict[int, Samples] = {
        id(split.samples): split.samples for split in splits if isinstance(split, Split)
    }
    return sum(samples.nbytes for samples in stores.values())


def _view(name: str, split: SplitLike) -> Split:
    if not isinstance(split, Split):
        raise ConfigError(
            f"{name!r} cannot be cut or transformed: its samples are in a"
            f" {type(split).__name__}, not in a Split"
        )
    return split


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
