"""Documents that describe datasets, for `hypnet data info` and `prepare`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel

from hypnet_core.protocols import TaskLike
from hypnet_core.tasks import splits_of, stored_bytes


class FileDocument(BaseModel):
    """A file that a dataset is read from."""

    path: Path
    size: int


class TaskDocument(BaseModel):
    """One task: kind, shapes per sample, classes, original labels and split sizes."""

    name: str
    kind: str
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    sequence: bool
    classes: int | None
    labels: tuple[int, ...] | None
    sizes: dict[str, int]


class DatasetDocument(BaseModel):
    """A dataset: its tasks, the memory of their samples in bytes, and its files."""

    name: str
    tasks: list[TaskDocument]
    memory: int
    files: list[FileDocument]


class PreparedDocument(BaseModel):
    """A prepared dataset: its files and their common folder, if it has any."""

    name: str
    folder: Path | None
    files: list[FileDocument]


def describe(
    name: str, built: TaskLike | Sequence[TaskLike], used: Iterable[Path]
) -> DatasetDocument:
    """Describe a built dataset.

    Args:
        name: Name of the dataset.
        built: A task, or a sequence of tasks.
        used: The files that it is read from.
    """
    tasks = [built] if isinstance(built, TaskLike) else list(built)
    return DatasetDocument(
        name=name,
        tasks=[_task(task) for task in tasks],
        memory=stored_bytes(tasks),
        files=_files(used),
    )


def describe_preparation(name: str, used: Sequence[Path]) -> PreparedDocument:
    """Describe a prepared dataset.

    Args:
        name: Name of the dataset.
        used: The files and folders that it is read from.
    """
    # Some files are optional, such as prepared arrays in a read-only folder.
    there = [path for path in used if path.exists()]
    return PreparedDocument(name=name, folder=common_folder(there), files=_files(there))


def common_folder(files: Sequence[Path]) -> Path | None:
    """The folder that holds all of some files; `None` if they have only the root."""
    if not files:
        return None
    parents = [(path if path.is_dir() else path.parent).absolute() for path in files]
    # Files that the system installed may be on another drive than the user's.
    if len({parent.drive for parent in parents}) > 1:
        return None
    folder = Path(os.path.commonpath(parents))
    return None if folder == folder.parent else folder


def _files(used: Iterable[Path]) -> list[FileDocument]:
    return [FileDocument(path=path, size=path.stat().st_size) for path in used if path.is_file()]


def _task(task: TaskLike) -> TaskDocument:
    spec = task.spec
    return TaskDocument(
        name=spec.name,
        kind=spec.kind,
        in_shape=spec.in_shape,
        out_shape=spec.out_shape,
        sequence=spec.sequence,
        # A regression task has outputs, but no classes.
        classes=spec.classes if spec.kind == "classification" else None,
        labels=spec.labels,
        sizes={name: len(split) for name, split in splits_of(task).items()},
    )
