"""Fashion-MNIST as a package of the operating system installs it."""

from __future__ import annotations

import hashlib
import struct
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hypnet_core.errors import DataError
from hypnet_core.plugins import DatasetChoice
from hypnet_core.protocols import SplitLike
from hypnet_core.tasks import Split
from hypnet_data import fashion_mnist, permuted, split
from hypnet_data._io.files import preparation
from hypnet_data._io.published import IDX, Installed, Published
from hypnet_data.cli.description import common_folder

INSTALLED = IDX["FashionMNIST"].installed
assert INSTALLED is not None
# When the authors wrote each archive, in seconds; in the headers of the published ones.
WRITTEN = (1504176606, 1504176606, 1504176627, 1504176627)

on_debian = pytest.mark.skipif(
    not INSTALLED.folder.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed"
)


@pytest.fixture
def system(few: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system's folder of small files, which the package is said to install."""
    folder: Path = few.write(tmp_path / "usr")
    names = [name for name, _ in IDX["FashionMNIST"].files]
    sums = tuple(hashlib.md5((folder / name).read_bytes()).hexdigest() for name in names)
    published = Published(
        ("http://127.0.0.1:1/",),
        tuple((name, "0" * 32) for name in names),
        Installed("Debian", "dataset-fashion-mnist", folder, sums),
    )
    module = import_module("hypnet_data.images.mnist")
    monkeypatch.setattr(module, "IDX", {"FashionMNIST": published})
    monkeypatch.setenv("HYPNET_DATA", str(tmp_path / "own"))
    return folder


def images(part: SplitLike) -> Any:
    assert isinstance(part, Split)
    return part.samples.x[:, 0].numpy()


def labels(part: SplitLike) -> list[int]:
    return [int(label) for batch in part.batches(100) for label in batch.y]


def test_an_empty_folder_of_ones_own_leaves_it_to_the_installed_files(
    few: Any, system: Path
) -> None:
    with preparation() as used:
        task = fashion_mnist(download=False)
    assert np.array_equal(images(task.train), few.arrays["train-images-idx3-ubyte"])
    assert np.array_equal(images(task.test), few.arrays["t10k-images-idx3-ubyte"])
    assert [path.parent for path in used.used[:4]] == [system] * 4
    assert sorted(path.suffix for path in system.iterdir()) == [".gz"] * 4  # no lock


def test_their_arrays_are_kept_in_ones_own_folder(few: Any, system: Path, tmp_path: Path) -> None:
    fashion_mnist(download=False)
    assert common_folder([system, tmp_path / "own" / "prepared"]) == tmp_path
    assert common_folder([Path("/usr/share"), tmp_path]) is None
    kept = tmp_path / "own" / "prepared" / "FashionMNIST.arrays"
    before = kept.stat().st_mtime_ns
    task = fashion_mnist(download=False)
    assert kept.stat().st_mtime_ns == before
    assert np.array_equal(images(task.train), few.arrays["train-images-idx3-ubyte"])


def test_split_and_permuted_find_them_too(system: Path) -> None:
    data = DatasetChoice(name="fashion_mnist")
    assert len(split(data=data)) == 5
    assert permuted(data=data, tasks=2)[1].spec.in_shape == (1, 28, 28)


def test_ones_own_files_come_first(few: Any, system: Path, tmp_path: Path) -> None:
    own = few.write(tmp_path, t10k_labels=np.full(10, 7, dtype=np.uint8))
    own.parent.rename(tmp_path / "FashionMNIST")
    task = fashion_mnist(data_dir=tmp_path, download=False, verify=False)
    assert labels(task.test) == [7] * 10


def test_named_mirrors_come_first_as_well(few: Any, system: Path, server: Any) -> None:
    with pytest.raises(DataError, match=r"cannot download .*HTTP 404"):
        fashion_mnist(mirrors=(server.url,), verify=False)


def test_a_damaged_installed_file_is_named_with_its_package(system: Path) -> None:
    damaged = system / "t10k-labels-idx1-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(
        DataError,
        match=r"t10k-labels.* is damaged .*: reinstall the package dataset-fashion-mnist, or remove"
        r" it and use other files; data\.verify=false",
    ):
        fashion_mnist()


def test_installed_files_may_be_others_if_they_are_not_verified(few: Any, system: Path) -> None:
    few.write(system.parents[1], t10k_labels=np.full(10, 7, dtype=np.uint8))
    assert labels(fashion_mnist(verify=False).test) == [7] * 10


def test_where_nothing_is_found_the_package_is_named(system: Path) -> None:
    (system / "t10k-labels-idx1-ubyte.gz").unlink()
    advice = r", or install Debian's package dataset-fashion-mnist$"
    with pytest.raises(DataError, match=r"is missing: set download=true .* yourself" + advice):
        fashion_mnist(download=False)
    with pytest.raises(DataError, match=r"cannot download .* yourself" + advice):
        fashion_mnist()


@on_debian
def test_debians_files_are_the_published_ones_but_for_their_headers() -> None:
    assert INSTALLED is not None
    published = IDX["FashionMNIST"].files
    for (name, md5), time, sums in zip(published, WRITTEN, INSTALLED.md5, strict=True):
        content = (INSTALLED.folder / name).read_bytes()
        assert hashlib.md5(content).hexdigest() == sums
        original = b"\x1f\x8b\x08\x08" + struct.pack("<I", time) + content[8:10]
        original += name.removesuffix(".gz").encode() + b"\0" + content[10:]
        assert hashlib.md5(original).hexdigest() == md5


@on_debian
def test_debians_70000_images_are_read(tmp_path: Path) -> None:
    task = fashion_mnist(data_dir=tmp_path, download=False)
    assert (len(task.train), len(task.test)) == (60_000, 10_000)
    for part, count in ((task.train, 6000), (task.test, 1000)):
        assert isinstance(part, Split)
        assert torch.bincount(part.targets.long()).tolist() == [count] * 10
        x = part.samples.x.double() / 255
        # The statistics that torchvision's users know: 0.2860 and 0.3530.
        assert abs(float(x.mean()) - 0.2860) < 1e-3
        assert abs(float(x.std()) - 0.3530) < 1e-3
