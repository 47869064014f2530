"""The command `hypnet data`."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

Done: TypeAlias = subprocess.CompletedProcess[str]
Run: TypeAlias = Callable[..., Done]


def hypnet_process(*arguments: str, cwd: Path) -> Done:
    """Run the command in a new process."""
    return subprocess.run(
        [str(Path(sys.executable).parent / "hypnet"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HYPNET_DATA": str(cwd / "data"), "no_proxy": "*"},
    )


@pytest.fixture
def hypnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: Run) -> Run:
    """Runs the command in this process, which starts torch only once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYPNET_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "*")
    return in_process


def idx(array: Any) -> bytes:
    return gzip.compress(
        struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes(),
        mtime=0,
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A local server with a small MNIST."""
    folder = tmp_path / "served"
    folder.mkdir()
    random = np.random.default_rng(0)
    for prefix, size in (("train", 60), ("t10k", 20)):
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(
            idx(random.integers(0, 256, (size, 28, 28), dtype=np.uint8))
        )
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(
            idx((np.arange(size) % 10).astype(np.uint8))
        )

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args: Any) -> None:
            """Stay silent."""

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/"
    running.shutdown()
    running.server_close()


def test_help_and_completion_load_neither_torch_nor_numpy(hypnet: Run, tmp_path: Path) -> None:
    code = (
        "import sys; import hypnet_data.plugin as p, hypnet_data.cli.app; p.hypnet_components();"
        "print([m for m in ('torch', 'numpy', 'matplotlib', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    for command in ([], ["plot"], ["prepare"], ["info"]):
        shown = hypnet("data", *command, "--help")
        assert shown.returncode == 0
        assert "dataset" in shown.stdout


def test_info_prints_shapes_sizes_classes_memory_and_labels(hypnet: Run, tmp_path: Path) -> None:
    done = hypnet("data", "info", "split_digits", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["name"] == "data:split_digits"
    assert document["memory"] == 1797 * 65
    assert [task["labels"] for task in document["tasks"]] == [
        [0, 1],
        [2, 3],
        [4, 5],
        [6, 7],
        [8, 9],
    ]
    assert document["tasks"][0] | {"sizes": None} == {
        "name": "split_digits_0",
        "kind": "classification",
        "in_shape": [1, 8, 8],
        "out_shape": [2],
        "sequence": False,
        "classes": 2,
        "labels": [0, 1],
        "sizes": None,
    }
    shown = hypnet_process("data", "info", "digits", "validation_size=0", cwd=tmp_path)
    text = shown.stdout.splitlines()
    assert text[1].split("\t") == [
        "digits",
        "classification",
        "1x8x8",
        "10 classes",
        "1437",
        "",
        "360",
        "",
    ]
    assert "memory   116.8 kB" in text[3]


def test_a_dataset_is_prepared_described_and_drawn(
    hypnet: Run, server: str, tmp_path: Path
) -> None:
    options = [f"mirrors=[{server}]", "verify=false", "validation_size=0"]
    first = hypnet_process("data", "prepare", "mnist", *options, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.strip() == str(tmp_path / "data")
    assert first.stderr.count("downloading ") == 4
    assert "mnist is ready" in first.stderr
    again = hypnet("data", "prepare", "mnist", *options)
    assert (again.returncode, again.stderr.count("downloading ")) == (0, 0)
    described = json.loads(
        hypnet("data", "info", "mnist", "verify=false", "validation_size=0", "--json").stdout
    )
    assert described["tasks"][0]["sizes"] == {"train": 60, "test": 20}
    assert len(described["files"]) == 5
    assert all(Path(file["path"]).stat().st_size == file["size"] for file in described["files"])
    figure = hypnet_process(
        *("data", "plot", "mnist", "verify=false", "validation_size=0", "--out", "m.pdf"),
        cwd=tmp_path,
    )
    assert figure.stdout.strip() == "m.pdf"
    assert (tmp_path / "m.pdf").read_bytes().startswith(b"%PDF")


def test_preparing_looks_at_every_file_even_if_it_was_read_before(
    hypnet: Run, server: str, tmp_path: Path
) -> None:
    options = [f"mirrors=[{server}]", "verify=false", "validation_size=0"]
    assert hypnet("data", "prepare", "mnist", *options).returncode == 0
    path = tmp_path / "data" / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    state = path.stat()
    path.write_bytes(bytes(state.st_size))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    done = hypnet("data", "prepare", "mnist", *options)
    assert done.returncode == 1
    assert "t10k-labels-idx1-ubyte.gz is not a complete gzip archive" in done.stderr


def test_info_downloads_nothing_unless_asked(hypnet: Run, tmp_path: Path) -> None:
    done = hypnet("data", "info", "mnist")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "train-images-idx3-ubyte.gz is missing: set download=true to get it" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "arguments", [["info", "split", "data=mnist"], ["plot", "permuted", "data.data=mnist"]]
)
def test_nothing_is_downloaded_for_a_wrapped_dataset_either(
    hypnet: Run, arguments: list[str], tmp_path: Path
) -> None:
    done = hypnet("data", *arguments)
    assert done.returncode == 1
    assert "train-images-idx3-ubyte.gz is missing: set download=true to get it" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_wrapped_dataset_is_downloaded_where_that_is_asked_for(
    hypnet: Run, server: str, tmp_path: Path
) -> None:
    options = [
        "data=mnist",
        f"data.mirrors=[{server}]",
        "data.verify=false",
        "data.validation_size=0",
        "data.download=true",
    ]
    done = hypnet("data", "info", "split", *options, "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["tasks"]) == 5


def test_options_may_be_written_as_behind_run(hypnet: Run, tmp_path: Path) -> None:
    plain, prefixed = (
        hypnet("data", "info", "digits", f"{prefix}validation_size=0", "--json")
        for prefix in ("", "data.")
    )
    assert json.loads(plain.stdout) == json.loads(prefixed.stdout)
    done = hypnet("data", "info", "digits", "foo=1")
    assert done.stderr.startswith("hypnet: foo: there is no such option")


def test_preparation_is_told_as_json(hypnet: Run, server: str, tmp_path: Path) -> None:
    options = [f"mirrors=[{server}]", "verify=false", "validation_size=0"]
    document = json.loads(hypnet("data", "prepare", "mnist", *options, "--json").stdout)
    assert (document["name"], document["folder"]) == ("data:mnist", str(tmp_path / "data"))
    assert len(document["files"]) == 5
    without = json.loads(hypnet("data", "prepare", "digits", "--json").stdout)
    assert without == {"name": "data:digits", "folder": None, "files": []}


def test_no_network_is_one_line(hypnet: Run, tmp_path: Path) -> None:
    done = hypnet("data", "prepare", "mnist", "mirrors=[http://127.0.0.1:1/]")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot download train-images-idx3-ubyte.gz" in done.stderr
    assert "check the network" in done.stderr


def test_two_processes_that_prepare_the_same_dataset_at_once_both_succeed(
    hypnet: Run, server: str, tmp_path: Path
) -> None:
    options = [f"mirrors=[{server}]", "verify=false", "validation_size=0"]
    command = [str(Path(sys.executable).parent / "hypnet"), "data", "prepare", "mnist", *options]
    environment = {**os.environ, "HYPNET_DATA": str(tmp_path / "data"), "no_proxy": "*"}
    running = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert sum(text.count("downloading ") for text in said) == 4
    found = sorted(path.name for path in (tmp_path / "data").rglob("[!.]*") if path.is_file())
    assert len(found) == 5, found
    digest = hashlib.md5(
        (tmp_path / "served" / "train-images-idx3-ubyte.gz").read_bytes()
    ).hexdigest()
    assert (
        hashlib.md5(
            (tmp_path / "data/MNIST/raw/train-images-idx3-ubyte.gz").read_bytes()
        ).hexdigest()
        == digest
    )


@pytest.mark.parametrize("name", ["gaussian_mixture", "split_digits"])
def test_a_dataset_is_drawn_for_print(hypnet: Run, name: str, tmp_path: Path) -> None:
    done = hypnet("data", "plot", name, "--count", "8", "--publication-style")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{name}.png"
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_are_one_line_each(hypnet: Run, tmp_path: Path) -> None:
    for arguments, message in (
        (["info", "didgits"], "there is no dataset 'didgits'"),
        (["info", "digits", "validation_sise=3"], "validation_size"),
        (["plot", "digits", "--split", "training"], "no split 'training'"),
        (["plot", "digits", "--out", "figure.gif"], "png, pdf, svg"),
        (["plot", "digits", "--out", "."], "is a folder"),
    ):
        done = hypnet("data", *arguments)
        assert message in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.returncode in {1, 2}
