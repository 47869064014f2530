"""Targets, shares and paths that `files_task` is given, and arrays of readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hypnet_core.errors import ConfigError, DataError
from hypnet_core.tasks import Task
from hypnet_data import files_task


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    for number in range(10):
        np.save(tmp_path / f"{number}.npy", np.full(3, number, dtype=np.float32))
    return [tmp_path / f"{number}.npy" for number in range(10)]


def task_of(paths: list[Path], targets: Any, **options: Any) -> Task:
    return files_task(paths, targets, **{"reader": np.load, **options})


NUMBERS = np.arange(10) / 8


@pytest.mark.parametrize(
    "targets",
    [
        torch.tensor(NUMBERS, dtype=torch.bfloat16),
        torch.tensor(NUMBERS, requires_grad=True),
        NUMBERS.astype(np.longdouble),
        NUMBERS.astype(">f4"),
        NUMBERS[::-1][::-1],
        NUMBERS.astype(np.float16),
        list(NUMBERS),
    ],
    ids=["bfloat16", "grad", "long", "big-endian", "flipped", "half", "list"],
)
def test_numbers_of_any_type_are_targets(paths: list[Path], targets: Any) -> None:
    task = task_of(paths, targets, test=[8, 9])
    assert task.spec.kind == "regression"
    assert task.train[3][1].dtype == torch.float32
    assert [float(task.train[place][1]) for place in range(8)] == [n / 8 for n in range(8)]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([[1.0], [1.0, 2.0], *[[1.0]] * 8], "targets are no array: .*inhomogeneous"),
        ([0] * 9 + [10**9], "class indices must be below 1,000,000, got 1000000000: give names"),
        (np.full(10, 2**63, dtype=np.uint64), "class indices must be below 1,000,000"),
        ([1e39] * 10, "not finite numbers of 32 bits"),
        ([b"a", b"b"] * 5, "targets must be names of classes"),
        ([None] * 10, "targets must be names of classes"),
        ((n for n in range(10)), "there are 10 files, but 1 targets"),
    ],
    ids=["ragged", "ids", "uint64", "overflow", "bytes", "none", "generator"],
)
def test_what_is_no_target_is_refused(paths: list[Path], targets: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        task_of(paths, targets)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        # One flag per file: as indices they would mean the files 0 and 1.
        ({"test": [True] * 3 + [False] * 7}, r"test must be a share .*, got \[True, True"),
        ({"test": [0.5, 1.5]}, "test must be a share from 0 to 1, or a list of indices"),
        ({"test": "abc"}, "got 'abc'"),
        ({"val": None}, "val must be a share from 0 to 1, or a list of indices, got None"),
        ({"test": [[1], [2, 3]]}, "test is no list of indices"),
        ({"test": [1, 1]}, "test: a file is there twice"),
        ({"test": [-1]}, "test: indices must lie between 0 and 9"),
        ({"test": [2**40]}, "test: indices must lie between 0 and 9"),
        ({"test": [1], "val": [1]}, "val: a file is in two splits"),
        ({"reader": 5}, "reader must be a function of a path, got 5"),
        ({"reader": None, "fit": "center"}, "fit must be stretch, centre, random, got 'center'"),
    ],
)
def test_splits_and_readers_are_checked(
    paths: list[Path], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        task_of(paths, [0, 1] * 5, **options)
    assert len(str(caught.value)) < 300


def test_paths_that_cannot_be_used_are_named(paths: list[Path], tmp_path: Path) -> None:
    loop = tmp_path / "loop.npy"
    loop.symlink_to(loop)
    cases: list[tuple[Any, str]] = [
        (str(paths[0]), "paths must be a list of files, got the single path"),
        ([tmp_path / ("x" * 300)], "cannot be read: .*File name too long"),
        (["~nobody_of_this_name/x"], "cannot be read: .*home"),
        ([loop], "cannot be read"),
        (["a\0b"], "cannot be read: .*null byte"),
        ([5], "5 cannot be read"),
        (["/dev/null"], "/dev/null is a device, not a file"),
    ]
    for wrong, message in cases:
        with pytest.raises(DataError, match=message):
            files_task(wrong, [0], reader=np.load)


def flipped(path: Path) -> Any:
    return np.load(path)[::-1]


def big_endian(path: Path) -> Any:
    return np.load(path).astype(">f8")


def read_only(path: Path) -> Any:
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize("reader", [flipped, big_endian, read_only])
def test_arrays_of_any_layout_are_read(paths: list[Path], reader: Callable[[Path], Any]) -> None:
    batch = next(task_of(paths, [0, 1] * 5, reader=reader, test=[8, 9]).train.batches(8))
    assert batch.x.dtype == torch.float32
    assert batch.x.tolist() == [[float(number)] * 3 for number in range(8)]


def too_large(path: Path) -> Any:
    return np.load(path).astype(np.float64) + 1e300


def of_complex_numbers(path: Path) -> Any:
    return np.load(path) * 1j


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        (too_large, r"\.npy holds numbers that are too large for float32"),
        (of_complex_numbers, r"\.npy is read as complex64 \[3\]: return its real numbers"),
    ],
)
def test_numbers_that_would_be_lost_are_refused(
    paths: list[Path], reader: Callable[[Path], Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        task_of(paths, [0, 1] * 5, reader=reader)
