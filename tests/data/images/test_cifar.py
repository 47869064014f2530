from __future__ import annotations

import gzip
import hashlib
import pickle
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from hypnet_core.errors import ConfigError, DataError
from hypnet_core.tasks import Split, Task
from hypnet_data import cifar10, cifar100
from hypnet_data._io.pickled import read_batches
from hypnet_data._io.published import CIFAR


@pytest.fixture
def as_published(cifars: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Publish the small archives."""
    monkeypatch.setattr("hypnet_data.images.cifar.CIFAR", cifars.published)
    return cifars


def split_of(task: Task, name: str) -> Split:
    split = task.splits[name]
    assert isinstance(split, Split)
    return split


def batches_in(archive: Path, label: str) -> dict[str, tuple[Any, list[int]]]:
    """Read an archive independently; the test wrote it, so its pickles are safe."""
    with tarfile.open(archive) as tar:
        found = {}
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            batch = pickle.loads(file.read(), encoding="latin1")
            found[member.name.rpartition("/")[2]] = (
                batch["data"].reshape(-1, 3, 32, 32),
                batch[label],
            )
        return found


def test_what_is_published_torchvision_says_as_well() -> None:
    for name, theirs in (("cifar10", CIFAR10), ("cifar100", CIFAR100)):
        ours = CIFAR[name]
        assert ours.archive.files == ((theirs.filename, theirs.tgz_md5),)
        assert [f"{mirror}{theirs.filename}" for mirror in ours.archive.mirrors] == [theirs.url]
        assert ours.folder == theirs.base_folder
        assert [list(entry) for entry in ours.train] == theirs.train_list
        assert [list(entry) for entry in ours.test] == theirs.test_list


def test_images_come_out_of_the_batches_as_they_went_in(as_published: Any) -> None:
    task = cifar10(data_dir=as_published.root, download=False, validation_size=0)
    batches = batches_in(as_published.root / "cifar-10-python.tar.gz", "labels")
    expected = np.concatenate([batches[f"data_batch_{number}"][0] for number in range(1, 6)])
    assert np.array_equal((split_of(task, "train").all().x * 255).round().numpy(), expected)
    assert split_of(task, "train").targets.tolist() == [
        label for number in range(1, 6) for label in batches[f"data_batch_{number}"][1]
    ]
    assert np.array_equal(split_of(task, "test").samples.x.numpy(), batches["test_batch"][0])
    assert split_of(task, "test").ids.tolist() == list(range(100, 130))
    assert task.nbytes == 130 * (3 * 32 * 32 + 1)


def test_cifar100_has_a_hundred_classes(as_published: Any) -> None:
    task = cifar100(data_dir=as_published.root, download=False, validation_size=50, one_hot=True)
    assert {name: len(split) for name, split in task.splits.items()} == {
        "train": 150,
        "test": 100,
        "val": 50,
    }
    assert task.spec.out_shape == (100,)
    assert next(task.test.batches(100)).y.argmax(1).tolist() == list(range(100))


def test_the_archive_may_be_deleted_once_it_was_read(as_published: Any, tmp_path: Path) -> None:
    shutil.copy(as_published.root / "cifar-10-python.tar.gz", tmp_path)
    before = split_of(
        cifar10(data_dir=tmp_path, download=False, validation_size=0), "train"
    ).samples.x
    (tmp_path / "cifar-10-python.tar.gz").unlink()
    assert torch.equal(
        split_of(cifar10(data_dir=tmp_path, download=False, validation_size=0), "train").samples.x,
        before,
    )


@pytest.mark.parametrize(("load", "side"), [(cifar10, 16), (cifar100, 8)])
def test_cutout_blanks_a_square_of_the_published_size(
    as_published: Any, load: Any, side: int
) -> None:
    task = load(
        data_dir=as_published.root,
        download=False,
        validation_size=0,
        augmentation=True,
        cutout=True,
    )
    split = split_of(task, "train").subset([0] * 300)
    images = split.batch(range(300), generator=torch.Generator().manual_seed(0)).x
    blank = (images == 0).all(dim=1)
    heights, widths = blank.any(dim=2).sum(dim=1), blank.any(dim=1).sum(dim=1)
    assert torch.equal(blank.flatten(1).sum(dim=1), heights * widths)  # one rectangle each
    assert int(heights.max()) == int(widths.max()) == side
    assert int(heights.min()) == int(widths.min()) == side // 2  # the centre is always inside
    with pytest.raises(ConfigError, match="set augmentation=true"):
        load(data_dir=as_published.root, download=False, validation_size=0, cutout=True)


def test_augmentation_is_the_same_under_the_same_seed_and_leaves_test_images_alone(
    as_published: Any,
) -> None:
    task = cifar10(
        data_dir=as_published.root,
        download=False,
        validation_size=10,
        augmentation=True,
        cutout=True,
    )
    one, two, three = (
        next(task.train.batches(90, shuffle=True, generator=torch.Generator().manual_seed(seed))).x
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    raw = split_of(task, "test").samples.x[:5].float() / 255
    mean, std = (
        torch.tensor(numbers)[:, None, None]
        for numbers in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    assert torch.allclose(next(task.test.batches(5)).x, (raw - mean) / std, atol=1e-6)


def test_an_archive_is_downloaded_and_read(as_published: Any, server: Any, tmp_path: Path) -> None:
    shutil.copy(as_published.root / "cifar-10-python.tar.gz", server.folder)
    task = cifar10(data_dir=tmp_path / "data", mirrors=(server.url,), validation_size=0)
    assert len(task.train) == 100
    assert server.requests == ["cifar-10-python.tar.gz"]


# Bad files


def test_no_pickle_is_opened_unless_the_archive_is_the_published_one(cifars: Any) -> None:
    with pytest.raises(
        DataError,
        match=r"cifar-10-python\.tar\.gz is damaged \(its MD5 checksum is \w+, should be c58f3",
    ) as caught:
        cifar10(data_dir=cifars.root, download=False)
    assert "verify" not in str(caught.value)  # there is no such option


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def broken(cifars: Any, tmp_path: Path, batch: bytes, *, trusted: bool = True) -> tuple[Path, Any]:
    """The archive with another test batch."""
    published = cifars.published["cifar10"]
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(cifars.root / archive.name) as old, tarfile.open(archive, "w:gz") as new:
        old.extractall(tmp_path / "unpacked", filter="data")
        (tmp_path / "unpacked" / published.folder / "test_batch").write_bytes(batch)
        new.add(tmp_path / "unpacked" / published.folder, published.folder)
    return archive, (
        replace(published, test=(("test_batch", hashlib.md5(batch).hexdigest()),))
        if trusted
        else published
    )


def test_a_pickle_with_another_checksum_is_not_opened(cifars: Any, tmp_path: Path) -> None:
    archive, published = broken(
        cifars, tmp_path, pickle.dumps(Bomb(tmp_path / "ran")), trusted=False
    )
    with pytest.raises(
        DataError, match=r"test_batch in .*gz is not the published one .* and so it is not opened"
    ):
        read_batches(archive, published, classes=10)
    assert not (tmp_path / "ran").exists()


def test_even_a_pickle_with_the_right_checksum_may_only_make_arrays(
    cifars: Any, tmp_path: Path
) -> None:
    archive, published = broken(cifars, tmp_path, pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(
        DataError, match=r"test_batch in .* cannot be read: UnpicklingError: it asks for "
    ):
        read_batches(archive, published, classes=10)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (b"", "cannot be read: EOFError"),
        (pickle.dumps({"labels": [1]}), "cannot be read: KeyError"),
        (
            pickle.dumps({"data": np.zeros((2, 5), np.uint8), "labels": [1, 2]}),
            "does not hold colour images of 32x32",
        ),
        (
            pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}),
            "does not hold colour images of 32x32",
        ),
        (
            pickle.dumps({"data": np.zeros((2, 3072)), "labels": [1, 2]}),
            "does not hold colour images of 32x32",
        ),
        (
            pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 10]}),
            "holds a label 10, but there are only 10",
        ),
        (
            pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [-1, 3]}),
            "holds a label -1",
        ),
    ],
)
def test_a_batch_of_something_else_is_named(
    cifars: Any, tmp_path: Path, batch: bytes, message: str
) -> None:
    archive, published = broken(cifars, tmp_path, batch)
    with pytest.raises(DataError, match=rf"test_batch in .*cifar-10-python\.tar\.gz {message}"):
        read_batches(archive, published, classes=10)


def test_a_batch_that_is_a_link_or_missing_is_named(cifars: Any, tmp_path: Path) -> None:
    published, archive = cifars.published["cifar10"], tmp_path / "cifar.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        link = tarfile.TarInfo(f"{published.folder}/test_batch")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(DataError, match=r"lacks cifar-10-batches-py/data_batch_1: delete it"):
        read_batches(archive, published, classes=10)


@pytest.mark.parametrize("keep", [10, 1000, -100])
def test_a_truncated_archive_is_named(cifars: Any, tmp_path: Path, keep: int) -> None:
    archive = tmp_path / "cifar.tar.gz"
    archive.write_bytes((cifars.root / "cifar-10-python.tar.gz").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"cifar\.tar\.gz (is not a complete tar archive|lacks)"):
        read_batches(archive, cifars.published["cifar10"], classes=10)
    archive.write_bytes(gzip.compress(b"no tar at all"))
    with pytest.raises(DataError, match=r"cifar\.tar\.gz is not a complete tar archive"):
        read_batches(archive, cifars.published["cifar10"], classes=10)
