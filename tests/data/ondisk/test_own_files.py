"""Tasks of a user's own files, in any number of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import multiprocessing

from hypnet_core.errors import ConfigError, DataError, SpecError
from hypnet_core.tasks import LoadedSplit, Task, check_task
from hypnet_data import files_task, images_in
from hypnet_data.ondisk import NamedClassesTask


def flowers(trees: Any, folder: Path, per_class: int = 5) -> tuple[list[Path], list[str]]:
    for number in range(2 * per_class):
        kind = ("daisy", "tulip")[number % 2]
        ending = ("jpg", "png")[number // 2 % 2]
        trees.write_picture(folder / kind / f"{number}.{ending}", number, (30 + number, 40))
    names = images_in(folder, nested=True)
    return [folder / name for name in names], [name.split("/")[0] for name in names]


def ids_of(task: Task) -> dict[str, list[int]]:
    return {name: split.ids.tolist() for name, split in task.splits.items()}


def test_a_folder_of_classes_is_a_task(trees: Any, tmp_path: Path) -> None:
    paths, classes = flowers(trees, tmp_path)
    task = files_task(paths, classes, size=(20, 24), test=0.4, val=0.2)
    assert isinstance(task, NamedClassesTask)
    assert task.class_names == ("daisy", "tulip")
    assert task.spec.in_shape == (3, 20, 24)
    assert {name: len(split) for name, split in task.splits.items()} == {
        "train": 4,
        "test": 4,
        "val": 2,
    }
    check_task(task)
    for split in task.splits.values():
        batch = next(split.batches(10))
        assert batch.y.bincount().tolist() == [len(split) // 2] * 2  # a share of each class
        for x, i in zip(batch.x, batch.ids.tolist(), strict=True):
            image = Image.open(paths[i]).convert("RGB").resize((24, 20), Image.Resampling.BILINEAR)
            expected = torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy()) / 255
            torch.testing.assert_close(x, expected, atol=2 / 255, rtol=0)
    again, other = (files_task(paths, classes, test=0.4, val=0.2, seed=seed) for seed in (0, 1))
    assert ids_of(again) == ids_of(task) != ids_of(other)


def test_splits_may_be_given(trees: Any, tmp_path: Path) -> None:
    paths, classes = flowers(trees, tmp_path)
    task = files_task(paths, classes, test=[9, 0], val=[3])
    assert ids_of(task) == {"train": [1, 2, 4, 5, 6, 7, 8], "test": [0, 9], "val": [3]}


def test_training_images_may_be_cropped_at_random(trees: Any, tmp_path: Path) -> None:
    paths, classes = flowers(trees, tmp_path)
    task = files_task(paths, classes, fit="random", size=(16, 16))
    assert isinstance(task.train, LoadedSplit)
    one, two = (
        next(task.train.batches(8, generator=torch.Generator().manual_seed(seed))).x
        for seed in (0, 1)
    )
    assert not torch.equal(one, two)
    check_task(task)
    assert torch.equal(task.train.unaugmented().all().x, task.train.unaugmented().all().x)


def read_array(path: Path) -> Any:
    return np.load(path)


def arrays(folder: Path, count: int = 10, frames: Sequence[int] | None = None) -> list[Path]:
    paths = [folder / f"{number}.npy" for number in range(count)]
    for number, path in enumerate(paths):
        shape = (2, 3) if frames is None else (frames[number], 3)
        np.save(path, np.full(shape, float(number)))
    return paths


def test_files_of_any_reader_and_targets_that_are_numbers(tmp_path: Path) -> None:
    paths = arrays(tmp_path)
    task = files_task(paths, np.arange(10) / 2, reader=read_array, test=[0, 1, 2])
    assert (task.spec.kind, task.spec.in_shape, task.spec.out_shape) == ("regression", (2, 3), (1,))
    batch = next(task.train.batches(7))
    assert torch.equal(batch.x[:, 0, 0], batch.ids.float())
    assert torch.equal(batch.y[:, 0], batch.ids / 2)
    check_task(task)
    images = files_task(paths, np.zeros((10, 1, 4, 4)), reader=read_array)
    assert images.spec.out_shape == (1, 4, 4)


def test_sequences_are_padded_and_know_their_lengths(tmp_path: Path) -> None:
    frames = [4, 1, 7, 3, 2, 5]
    task = files_task(
        arrays(tmp_path, 6, frames), [0, 1] * 3, reader=read_array, sequence=True, test=[1, 3]
    )
    assert task.spec.sequence
    assert task.spec.in_shape == (3,)
    check_task(task)
    for workers in (0, 2):
        other = files_task(
            *(arrays(tmp_path, 6, frames), [0, 1] * 3),
            reader=read_array,
            sequence=True,
            test=[1, 3],
            workers=workers,
        )
        batch = next(other.train.batches(4))
        assert batch.lengths is not None
        assert batch.lengths.tolist() == [4, 7, 2, 5]
        assert batch.x.shape == (4, 7, 3)
        for row, i, length in zip(batch.x, batch.ids, batch.lengths, strict=True):
            assert torch.equal(row[:length], torch.full((int(length), 3), float(i)))
            assert not row[length:].any()
    assert next(task.test.batches(2)).x.shape == (2, 3, 3)


OPTIONS = {
    "fork": '[{"reader": read}, {"fit": "random", "size": (8, 8)}]',
    "spawn": '[{"reader": read, "transforms": [RandomFlip(), Scale()]}]',
}


@pytest.mark.parametrize("start", OPTIONS)
def test_batches_are_the_same_in_forks_and_in_new_processes(
    trees: Any, tmp_path: Path, start: str
) -> None:
    paths, classes = flowers(trees, tmp_path)
    script = tmp_path / "script.py"
    script.write_text(f"""
import numpy, torch
from pathlib import Path
from PIL import Image
from hypnet_data import RandomFlip, Scale, files_task


def read(path):
    return numpy.asarray(Image.open(path).convert("L").resize((8, 6)))[None]


if __name__ == "__main__":
    torch.multiprocessing.set_start_method({start!r})
    paths, classes = {list(map(str, paths))!r}, {classes!r}
    for options in {OPTIONS[start]}:
        found = []
        for workers in (0, 1):
            task = files_task(paths, classes, workers=workers, **options)
            generator = torch.Generator().manual_seed(3)
            batches = task.train.batches(3, shuffle=True, generator=generator)
            found.append([(batch.x, batch.y, batch.ids) for batch in batches])
        for one, two in zip(*found, strict=True):
            assert all(map(torch.equal, one, two))
    print("same")
""")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "same\n", done.stderr


@pytest.fixture
def spawn() -> Iterator[None]:
    """New processes instead of forks."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


def dies(path: Path) -> Any:
    if multiprocessing.parent_process() is not None:
        os._exit(9)
    return np.load(path)


def test_faults_of_processes_are_one_line(tmp_path: Path) -> None:
    paths = arrays(tmp_path)
    task = files_task(paths, [0, 1] * 5, reader=dies, workers=1)
    with pytest.raises(DataError, match="a process that reads data has ended") as caught:
        list(task.train.batches(4))
    assert "\n" not in str(caught.value)


def test_a_reader_that_new_processes_cannot_import_is_named(
    tmp_path: Path, spawn: None, recwarn: pytest.WarningsRecorder
) -> None:
    def local(path: Path) -> Any:
        return np.load(path)

    task = files_task(arrays(tmp_path), [0, 1] * 5, reader=local, workers=1)
    with pytest.raises(SpecError, match=r"cannot be sent to other processes .*: use a function"):
        list(task.train.batches(4))
    assert not recwarn.list


def raises(path: Path) -> Any:
    raise KeyError(path.name)


def of_its_own_shape(path: Path) -> Any:
    return np.zeros(int(path.stem) + 1)


def a_text(path: Path) -> Any:
    return path.name


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"paths": []}, DataError, "there are no files"),
        ({"targets": [0, 1]}, DataError, "there are 10 files, but 2 targets"),
        ({"targets": 3}, DataError, "there are 10 files, but 1 targets"),
        ({"targets": [-1] * 10}, DataError, "must not be negative, got -1"),
        ({"targets": [np.inf] * 10}, DataError, "targets are not finite"),
        ({"targets": [1e39] * 10}, DataError, "targets are not finite"),
        ({"targets": [[0]] * 10}, DataError, "names of classes, class indices or"),
        ({"targets": [None] * 10}, DataError, "names of classes, class indices or"),
        ({"test": 1.5}, ConfigError, "test must be a share from 0 to 1, or indices, got 1.5"),
        ({"test": [10]}, ConfigError, "test: indices must lie between 0 and 9"),
        ({"test": [1], "val": [1]}, ConfigError, "val: a file is in two splits"),
        ({"test": 0.0}, DataError, "has 10 training and 0 test images: both are needed"),
        ({"reader": raises}, DataError, r"0\.npy cannot be read: KeyError: '0\.npy'"),
        ({"reader": a_text}, DataError, r"0\.npy cannot be read: TypeError"),
        ({"reader": None}, DataError, r"0\.npy is not an image that can be decoded"),
        ({"reader": None, "size": (0, 3)}, ConfigError, "size must be a height and a width"),
        ({"reader": None, "sequence": True}, ConfigError, "must be a function of a path"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments = {"paths": arrays(tmp_path), "targets": [0, 1] * 5, "reader": read_array, **change}
    with pytest.raises(error, match=message):
        files_task(arguments.pop("paths"), arguments.pop("targets"), **arguments)


def test_files_that_are_missing_twice_or_hidden_are_named(tmp_path: Path) -> None:
    paths = arrays(tmp_path, 3)
    (tmp_path / "._0.npy").touch()
    (tmp_path / "link.npy").symlink_to(paths[0])
    for wrong, message in (
        (paths[0], "is named twice"),
        (tmp_path / "." / "0.npy", "is named twice"),
        (tmp_path / "link.npy", "is named twice"),
        (tmp_path / "9.npy", "is missing"),
        (tmp_path, "is a folder, not a file"),
        (tmp_path / "._0.npy", "hidden file of macOS"),
    ):
        with pytest.raises(DataError, match=message):
            files_task([*paths, wrong], [0, 1, 0, 1], reader=read_array)


@pytest.mark.parametrize("workers", [0, 1])
def test_files_of_different_shapes_are_named(tmp_path: Path, workers: int) -> None:
    task = files_task(
        arrays(tmp_path, 4), [0, 1] * 2, reader=of_its_own_shape, test=[3], workers=workers
    )
    with pytest.raises(DataError, match=r"1\.npy is read as float32 \[2\], but .*0\.npy as"):
        list(task.train.batches(3))
