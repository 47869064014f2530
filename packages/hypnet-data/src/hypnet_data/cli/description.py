"""What a dataset is, in numbers: what `hypnet data info` prints."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hypnet_core.protocols import TaskLike
from hypnet_core.tasks import Split


class FileDocument(BaseModel):
    """A file that a dataset stems from."""

    path: Path
    size: int


class TaskDocument(BaseModel):
    """One task: kind, shapes per sample, classes, the original labels of its classes, and numbers of samples."""

    name: str
    kind: str
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    sequence: bool
    classes: int | None
    labels: tuple[int, ...] | None
    sizes: dict[str, int]


class DatasetDocument(BaseModel):
    """A dataset: its tasks, the memory in bytes that their samples take, and its files."""

    name: str
    tasks: list[TaskDocument]
    memory: int
    files: list[FileDocument]


class PreparedDocument(BaseModel):
    """A dataset that is ready: the folder that holds all of its files, if it has any, and the files."""

    name: str
    folder: Path | None
    files: list[FileDocument]


def describe(
    name: str, built: TaskLike | Sequence[TaskLike], used: Iterable[Path]
) -> DatasetDocument:
    """Describe a dataset that was built.

    Args:
        name: What it is called.
        built: A task, or a sequence of tasks.
        used: The files that it stems from.
    """
    tasks = [built] if isinstance(built, TaskLike) else list(built)
    return DatasetDocument(
        name=name, tasks=[_task(task) for task in tasks], memory=_memory(tasks), files=_files(used)
    )


def describe_preparation(name: str, used: Sequence[Path]) -> PreparedDocument:
    """Describe what is ready now.

    Args:
        name: What the dataset is called.
        used: The files and folders that it stems from.
    """
    there = [path for path in used if path.exists()]
    return PreparedDocument(
        name=name, folder=where_files_are(there) if there else None, files=_files(there)
    )


def where_files_are(files: Sequence[Path]) -> Path:
    """The folder that holds all of some files."""
    return Path(os.path.commonpath([path if path.is_dir() else path.parent for path in files]))


def _files(used: Iterable[Path]) -> list[FileDocument]:
    return [FileDocument(path=path, size=path.stat().st_size) for path in used if path.is_file()]


def _task(task: TaskLike) -> TaskDocument:
    spec = task.spec
    splits = {"train": task.train, "val": task.val, "test": task.test}
    return TaskDocument(
        name=spec.name,
        kind=spec.kind,
        in_shape=spec.in_shape,
        out_shape=spec.out_shape,
        sequence=spec.sequence,
        classes=spec.classes if spec.kind == "classification" else None,
        labels=spec.labels,
        sizes={name: len(split) for name, split in splits.items() if split is not None},
    )


def _memory(tasks: Sequence[TaskLike]) -> int:
    """Bytes of the stored samples, shared ones counted once."""
    splits = (split for task in tasks for split in (task.train, task.val, task.test))
    stores: dict[int, Any] = {
        id(split.samples): split.samples for split in splits if isinstance(split, Split)
    }
    return sum(samples.nbytes for samples in stores.values())
