from __future__ import annotations

import gzip
import hashlib
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST, FashionMNIST

from hypnet_core.errors import ConfigError, DataError
from hypnet_core.tasks import Split, Task
from hypnet_data import fashion_mnist, mnist
from hypnet_data._io.published import IDX, Published


def loaded(root: Path, **options: Any) -> Task:
    return mnist(
        **{"validation_size": 0, "data_dir": root, "download": False, "verify": False, **options}
    )


def split_of(task: Task, name: str) -> Split:
    split = task.splits[name]
    assert isinstance(split, Split)
    return split


def test_5000_real_digits_come_out_of_the_files_as_they_went_in(
    mnist_root: Path, digits28: Any
) -> None:
    task = loaded(mnist_root)
    for name, prefix in (("train", "train"), ("test", "t10k")):
        batch = split_of(task, name).all()
        assert np.array_equal(
            (batch.x[:, 0] * 255).round().numpy(), digits28.arrays[f"{prefix}-images-idx3-ubyte"]
        )
        assert np.array_equal(batch.y.numpy(), digits28.arrays[f"{prefix}-labels-idx1-ubyte"])


def test_the_same_files_serve_torchvision(mnist_root: Path, tmp_path: Path) -> None:
    task = loaded(mnist_root)
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for path in (mnist_root / "MNIST" / "raw").iterdir():
        (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    for name, train in (("train", True), ("test", False)):
        theirs = MNIST(tmp_path, train=train)
        assert torch.equal(split_of(task, name).samples.x[:, 0], theirs.data)
        assert torch.equal(split_of(task, name).targets, theirs.targets)


def test_where_and_what_is_published_torchvision_says_as_well() -> None:
    for name, theirs in (("MNIST", MNIST), ("FashionMNIST", FashionMNIST)):
        assert set(IDX[name].mirrors) == set(theirs.mirrors)
        assert list(IDX[name].files) == theirs.resources


def test_images_stay_bytes_in_memory(mnist_root: Path) -> None:
    assert loaded(mnist_root).nbytes == 5000 * (28 * 28 + 1)
    assert loaded(mnist_root, validation_size=100).nbytes == 5000 * (28 * 28 + 1)


def test_the_first_training_images_are_for_validation(mnist_root: Path) -> None:
    task = loaded(mnist_root, validation_size=1000)
    assert {name: len(split) for name, split in task.splits.items()} == {
        "train": 3000,
        "test": 1000,
        "val": 1000,
    }
    assert split_of(task, "val").ids.tolist() == list(range(1000))
    assert split_of(task, "train").ids.tolist() == list(range(1000, 4000))
    assert split_of(task, "test").ids.tolist() == list(range(4000, 5000))


def test_normalisation_is_by_the_published_mean_and_deviation(mnist_root: Path) -> None:
    plain, normalised = loaded(mnist_root), loaded(mnist_root, normalize=True)
    expected = (split_of(plain, "test").all().x - 0.1307) / 0.3081
    assert torch.allclose(split_of(normalised, "test").all().x, expected, atol=1e-6)
    assert normalised.spec.normalization == ((0.1307,), (0.3081,))
    x = split_of(normalised, "train").all().x
    assert abs(float(x.mean())) < 0.05  # a twelfth of MNIST has nearly its statistics
    assert abs(float(x.std()) - 1) < 0.05


def test_augmentation_shifts_by_up_to_four_pixels(mnist_root: Path) -> None:
    task = loaded(mnist_root, augmentation=True, normalize=False)
    split = split_of(task, "train").subset([0] * 400)
    pixels = split.unaugmented()[0][0][0]
    crops = next(split.batches(400, generator=torch.Generator().manual_seed(0))).x[:, 0]
    padded = torch.nn.functional.pad(pixels, [4] * 4)
    windows = {
        padded[down : down + 28, right : right + 28].numpy().tobytes()
        for down in range(9)
        for right in range(9)
    }
    assert {crop.contiguous().numpy().tobytes() for crop in crops} <= windows
    assert len({crop.contiguous().numpy().tobytes() for crop in crops}) > 60


def test_one_hot_targets_have_ten_columns(mnist_root: Path) -> None:
    batch = next(loaded(mnist_root, one_hot=True).test.batches(5))
    assert batch.y.shape == (5, 10)
    assert torch.equal(batch.y.argmax(dim=1), next(loaded(mnist_root).test.batches(5)).y)


def test_the_data_directory_may_be_named_by_the_environment(
    mnist_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPNET_DATA", str(mnist_root))
    assert len(mnist(validation_size=0, download=False, verify=False).test) == 1000


def kept_in(root: Path) -> Path:
    [path] = (root / "prepared").iterdir()
    return path


def test_a_second_reading_uses_what_was_kept(few: Any, tmp_path: Path) -> None:
    folder = few.write(tmp_path)
    loaded(tmp_path)
    before = kept_in(tmp_path).stat().st_mtime_ns
    for path in folder.iterdir():
        state = path.stat()
        path.write_bytes(bytes(state.st_size))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # so that nobody can know
    assert np.array_equal(
        split_of(loaded(tmp_path), "train").samples.x[:, 0].numpy(),
        few.arrays["train-images-idx3-ubyte"],
    )
    assert kept_in(tmp_path).stat().st_mtime_ns == before


def test_a_changed_file_is_read_anew(few: Any, tmp_path: Path) -> None:
    few.write(tmp_path)
    loaded(tmp_path)
    few.write(tmp_path, t10k_labels=few.arrays["t10k-labels-idx1-ubyte"][::-1].copy())
    assert (
        split_of(loaded(tmp_path), "test").targets.tolist()
        == few.arrays["t10k-labels-idx1-ubyte"][::-1].tolist()
    )


@pytest.mark.parametrize("left", [0, 1, 60, 200, 400, 10_000, -1])
def test_what_was_half_kept_is_never_taken_for_whole(few: Any, tmp_path: Path, left: int) -> None:
    few.write(tmp_path)
    loaded(tmp_path)
    path = kept_in(tmp_path)
    path.write_bytes(path.read_bytes()[:left])
    assert np.array_equal(
        split_of(loaded(tmp_path), "test").samples.x[:, 0].numpy(),
        few.arrays["t10k-images-idx3-ubyte"],
    )


def test_a_folder_that_holds_only_archives_and_cannot_be_written_serves_as_well(
    few: Any, tmp_path: Path
) -> None:
    few.write(tmp_path)
    (tmp_path / "prepared").write_bytes(b"a file in the way")
    for _ in range(2):
        assert len(loaded(tmp_path).train) == 30


def test_a_validation_split_as_large_as_the_training_set_is_an_error(mnist_root: Path) -> None:
    with pytest.raises(
        ConfigError, match="4000 samples cannot be held out for validation: there are only 4000"
    ):
        loaded(mnist_root, validation_size=4000)


# Bad files. Each error is one sentence that names the file and says what to do.


def test_files_that_are_not_mnists_are_refused_unless_verification_is_off(mnist_root: Path) -> None:
    published = dict(MNIST.resources)["train-images-idx3-ubyte.gz"]
    with pytest.raises(
        DataError,
        match=(
            r"train-images-idx3-ubyte\.gz is damaged \(its MD5 checksum is \w+, should be"
            rf" {published}\): .*; data\.verify=false \(in Python verify=False\) accepts other data"
        ),
    ):
        loaded(mnist_root, verify=True)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"MNIST.raw.train-images-idx3-ubyte\.gz is missing: set download=true"
    ) as caught:
        loaded(tmp_path)
    assert "verify" not in str(caught.value)


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_an_empty_file_is_named(few: Any, tmp_path: Path, name: str) -> None:
    (few.write(tmp_path) / f"{name}.gz").write_bytes(b"")
    with pytest.raises(DataError, match=rf"{name}\.gz is empty"):
        loaded(tmp_path)


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_a_truncated_archive_is_named(few: Any, tmp_path: Path, name: str) -> None:
    path = few.write(tmp_path) / f"{name}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"{name}\.gz is not a complete gzip archive"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\0\0\x08\x03",
        b"no idx file at all",
        b"\0\0\x08\x03" + (28).to_bytes(4, "big") * 3,
        b"\0\0\x0d\x01\0\0\0\x01abcd",
    ],
    ids=["empty", "one byte", "no sizes", "text", "no values", "floats"],
)
@pytest.mark.parametrize(("which", "what"), [("train_images", "images"), ("t10k_labels", "labels")])
def test_an_archive_of_something_else_is_named(
    few: Any, tmp_path: Path, content: bytes, which: str, what: str
) -> None:
    few.write(tmp_path, **{which: content})
    with pytest.raises(
        DataError,
        match=(
            rf"{which.replace('_', '-')}-idx\d-ubyte\.gz is not an IDX file of {what}, or"
            " holds none"
            r" .*: delete it"
        ),
    ):
        loaded(tmp_path)


def test_an_archive_with_values_too_few_or_too_many_is_named(few: Any, tmp_path: Path) -> None:
    folder = few.write(tmp_path)
    path = folder / "train-images-idx3-ubyte.gz"
    whole = gzip.decompress(path.read_bytes())
    for content in (whole[:-1], whole + b"x"):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(
            DataError, match=r"train-images-idx3-ubyte\.gz is not an IDX file of images"
        ):
            loaded(tmp_path)


def test_a_flipped_bit_is_noticed(few: Any, tmp_path: Path) -> None:
    path = few.write(tmp_path) / "train-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a complete gzip archive"):
        loaded(tmp_path)


def test_fashion_mnist_has_a_folder_of_its_own_and_is_mirrored_in_training(
    few: Any, tmp_path: Path
) -> None:
    few.write(tmp_path).parent.rename(tmp_path / "FashionMNIST")
    task = fashion_mnist(
        data_dir=tmp_path, download=False, verify=False, augmentation=True, normalize=False
    )
    assert {name: len(split) for name, split in task.splits.items()} == {"train": 30, "test": 10}
    split = split_of(task, "train").subset([0] * 200)
    pixels = torch.nn.functional.pad(split.unaugmented()[0][0][0], [4] * 4)
    windows = {
        turned: {
            image[down : down + 28, right : right + 28].numpy().tobytes()
            for down in range(9)
            for right in range(9)
        }
        for turned, image in ((False, pixels), (True, pixels.flip(-1)))
    }
    images = [
        image[0].numpy().tobytes()
        for image in split.batch(range(200), generator=torch.Generator().manual_seed(0)).x
    ]
    mirrored = sum(image in windows[True] for image in images)
    assert all(image in windows[True] or image in windows[False] for image in images)
    assert 60 < mirrored < 140


def test_images_and_labels_must_be_as_many(few: Any, tmp_path: Path) -> None:
    few.write(tmp_path, train_labels=few.arrays["train-labels-idx1-ubyte"][:-1])
    with pytest.raises(
        DataError, match=r"holds 30 images, but .*train-labels-idx1-ubyte\.gz holds 29 labels"
    ):
        loaded(tmp_path)


def test_a_label_beyond_nine_is_named(few: Any, tmp_path: Path) -> None:
    labels = few.arrays["t10k-labels-idx1-ubyte"].copy()
    labels[3] = 10
    few.write(tmp_path, t10k_labels=labels)
    with pytest.raises(
        DataError,
        match=r"t10k-labels-idx1-ubyte\.gz holds a label 10, but there are only 10 classes",
    ):
        loaded(tmp_path)


def test_images_of_another_size_are_named(few: Any, tmp_path: Path) -> None:
    few.write(tmp_path, train_images=np.zeros((30, 8, 8), dtype=np.uint8))
    with pytest.raises(
        DataError, match=r"train-images-idx3-ubyte\.gz holds images of 8x8 pixels, should be 28x28"
    ):
        loaded(tmp_path)


def test_a_small_file_that_claims_to_be_huge_is_refused_before_there_is_memory_for_it(
    few: Any, tmp_path: Path
) -> None:
    claims = (
        ("train_images", (70_000_000, 28, 28), "images"),
        ("t10k_labels", (4_000_000_000,), "labels"),
    )
    for which, shape, what in claims:
        header = bytes((0, 0, 8, len(shape))) + np.array(shape, dtype=">u4").tobytes()
        few.write(tmp_path, **{which: header + bytes(100)})
        with pytest.raises(
            DataError,
            match=(
                rf"is not an IDX file of {what}, .*claims the sizes"
                rf" {'x'.join(map(str, shape))}.*too small"
            ),
        ):
            loaded(tmp_path)
        few.write(tmp_path)


def test_a_file_that_packs_as_well_as_gzip_can_is_read(few: Any, tmp_path: Path) -> None:
    few.write(
        tmp_path,
        train_images=np.zeros((5000, 28, 28), dtype=np.uint8),
        train_labels=np.zeros(5000, dtype=np.uint8),
    )
    assert len(loaded(tmp_path).train) == 5000


def test_no_images_at_all_are_an_error(few: Any, tmp_path: Path) -> None:
    few.write(tmp_path, train_images=np.zeros((0, 28, 28), dtype=np.uint8))
    with pytest.raises(
        DataError, match=r"train-images-idx3-ubyte\.gz is not an IDX file of images, or holds none"
    ):
        loaded(tmp_path)


# Downloads, from a server on the loopback.


def serve(few: Any, server: Any) -> None:
    for path in few.write(server.folder.parent / "source").iterdir():
        path.rename(server.folder / path.name)


def test_all_four_files_are_downloaded_and_read(
    few: Any, server: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    serve(few, server)
    task = loaded(tmp_path / "data", download=True, mirrors=(server.url,))
    assert np.array_equal(
        split_of(task, "train").samples.x[:, 0].numpy(), few.arrays["train-images-idx3-ubyte"]
    )
    assert len(caplog.records) == 4
    loaded(tmp_path / "data")
    assert len(server.requests) == 4


def test_a_download_must_have_the_published_checksum(few: Any, server: Any, tmp_path: Path) -> None:
    serve(few, server)
    with pytest.raises(
        DataError,
        match=r"cannot download train-images-idx3-ubyte\.gz .*MD5 checksum.*verify=false",
    ):
        loaded(tmp_path / "data", download=True, verify=True, mirrors=(server.url,))
    assert list((tmp_path / "data" / "MNIST" / "raw").glob("[!.]*")) == []
    assert not (tmp_path / "data" / "prepared").exists()


def test_verified_files_are_read_where_the_published_checksums_are_theirs(
    few: Any, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verification, with the checksums that would be published for these files."""
    serve(few, server)
    table = tuple(
        (name, hashlib.md5((server.folder / name).read_bytes()).hexdigest())
        for name, _ in MNIST.resources
    )
    module = import_module("hypnet_data.images.mnist")
    monkeypatch.setattr(module, "IDX", {"MNIST": Published((server.url,), table)})
    task = mnist(data_dir=tmp_path / "data", validation_size=10)
    assert len(task.train) == 20
    damaged = tmp_path / "data" / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert len(mnist(data_dir=tmp_path / "data", validation_size=10).test) == 10
    assert server.requests[-1] == damaged.name
    for path in damaged.parent.iterdir():  # what was verified once is not missed
        path.unlink()
    assert len(mnist(data_dir=tmp_path / "data", validation_size=10, download=False).test) == 10
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is missing"):
        loaded(tmp_path / "data")


def test_a_missing_file_on_the_server_is_named(server: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot download train-images-idx3-ubyte\.gz .*HTTP 404"):
        loaded(tmp_path / "data", download=True, mirrors=(server.url,))
