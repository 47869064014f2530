from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision.datasets import SVHN as THEIRS

from hypnet_core.errors import DataError
from hypnet_core.tasks import Split, Task
from hypnet_data import Cutout, svhn
from hypnet_data._io.published import SVHN


@pytest.fixture
def written(tmp_path: Path, svhn_writer: Any) -> dict[str, Any]:
    found: dict[str, Any] = svhn_writer(tmp_path, train=40, test=20, extra=60)
    return found


def loaded(root: Path, **options: Any) -> Task:
    return svhn(**{"data_dir": root, "download": False, "verify": False, **options})


def split_of(task: Task, name: str) -> Split:
    split = task.splits[name]
    assert isinstance(split, Split)
    return split


def test_what_is_published_torchvision_says_as_well() -> None:
    listed = {name: (url, md5) for url, name, md5 in THEIRS.split_list.values()}
    assert {name: (f"{SVHN.mirrors[0]}{name}", md5) for name, md5 in SVHN.files} == listed


def test_images_come_out_of_the_files_as_they_went_in(written: Any, tmp_path: Path) -> None:
    task = loaded(tmp_path)
    for name in ("train", "test"):
        x, y = written[name]
        batch = split_of(task, name).all()
        assert np.array_equal((batch.x * 255).round().numpy(), x)
        assert batch.y.tolist() == [
            label % 10 for label in y.tolist()
        ]  # ten stands for the digit 0


def test_the_extra_images_come_behind_and_change_nobodys_id(written: Any, tmp_path: Path) -> None:
    without, task = (
        loaded(tmp_path, validation_size=10),
        loaded(tmp_path, validation_size=10, extra=True),
    )
    for name in ("val", "test"):
        assert torch.equal(split_of(task, name).ids, split_of(without, name).ids)
        assert torch.equal(split_of(task, name).all().x, split_of(without, name).all().x)
    assert torch.equal(split_of(task, "train").ids[:30], split_of(without, "train").ids)
    assert len(task.train) == 30 + 60
    assert np.array_equal(
        split_of(task, "train").subset(slice(30, None)).with_transforms().all().x.numpy(),
        written["extra"][0],
    )


def test_images_stay_bytes_and_are_not_mirrored(written: Any, tmp_path: Path) -> None:
    task = loaded(tmp_path, augmentation=True, cutout=True)
    assert split_of(task, "train").samples.x.dtype == torch.uint8
    steps = [type(step).__name__ for step in split_of(task, "train").transforms]
    assert steps == ["RandomCrop", "Scale", "Normalize", "Cutout"]
    assert split_of(task, "train").transforms[-1] == Cutout(20)


def test_missing_and_unverified_files_are_named(written: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train_32x32\.mat is damaged \(its MD5"):
        loaded(tmp_path, verify=True)
    (tmp_path / "extra_32x32.mat").unlink()
    with pytest.raises(DataError, match=r"extra_32x32\.mat is missing"):
        loaded(tmp_path, extra=True)


def images(count: int, size: int = 32) -> Any:
    return np.zeros((size, size, 3, count), dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"y": np.ones((3, 1))}, "is not a MATLAB file of images X and labels y"),
        ({"X": images(3), "y": np.ones((2, 1))}, "does not hold colour images"),
        ({"X": images(3, 28), "y": np.ones((3, 1))}, "does not hold colour images"),
        (
            {"X": images(3), "y": np.array([[1], [11], [3]])},
            "holds a label 11, but there are only ten",
        ),
    ],
)
def test_a_file_of_something_else_is_named(
    written: Any, tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    savemat(tmp_path / "test_32x32.mat", content)
    with pytest.raises(DataError, match=rf"test_32x32\.mat {message}"):
        loaded(tmp_path)


@pytest.mark.parametrize("keep", [1, 100, 3000, -1000])
def test_a_truncated_file_is_named(written: Any, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"train_32x32\.mat is not a MATLAB file"):
        loaded(tmp_path)


def test_the_files_are_downloaded(written: Any, server: Any, tmp_path: Path) -> None:
    for path in tmp_path.glob("*.mat"):
        path.rename(server.folder / path.name)
    loaded(tmp_path / "data", download=True, mirrors=(server.url,))
    assert server.requests == ["train_32x32.mat", "test_32x32.mat"]
