"""MATLAB files: read elsewhere, so that a damaged one stops nobody."""

from __future__ import annotations

import io
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from hypnet_core.errors import DataError
from hypnet_data._io.matlab import read_matlab

FIELDS = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")


def synsets() -> bytes:
    rows = [(i, f"n{i:02d}", f"word {i}", "gloss", 0) for i in range(5)]
    structures: Any = np.array(rows, dtype=[(field, object) for field in FIELDS])
    file = io.BytesIO()
    savemat(file, {"synsets": structures[:, None]})
    return file.getvalue()


def read(path: Path, *names: str) -> dict[str, Any]:
    return read_matlab(path, names, expected="a list", remedy="get it again")


def test_variables_and_fields_are_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(synsets())
    found = read(path, "synsets.ILSVRC2012_ID", "synsets.WNID", "synsets.words")
    assert found["synsets.ILSVRC2012_ID"].tolist() == [0, 1, 2, 3, 4]
    assert found["synsets.WNID"].tolist() == ["n00", "n01", "n02", "n03", "n04"]
    x = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    savemat(path, {"X": x, "y": [1.5]}, do_compression=True)
    found = read(path, "X", "y")
    assert np.array_equal(found["X"], x)
    assert found["X"].dtype == np.uint8
    assert found["y"].tolist() == [[1.5]]


@pytest.mark.parametrize("place", [(384, 75), (384, 201), (944, 228), (1505, 128), (1689, 106)])
def test_a_byte_that_crashes_scipy_is_an_error(tmp_path: Path, place: tuple[int, int]) -> None:
    """Each of these changes of one byte ended scipy 1.17 with a segmentation fault."""
    path = tmp_path / "meta.mat"
    content = bytearray(synsets())
    content[place[0]] = place[1]
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"meta\.mat is not a list \(.*\): get it again") as caught:
        read(path, *(f"synsets.{field}" for field in FIELDS))
    assert "\n" not in str(caught.value)


def test_the_signal_that_stopped_the_reader_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "meta.mat"
    path.write_bytes(synsets())
    (tmp_path / "scipy").mkdir()
    (tmp_path / "scipy" / "__init__.py").touch()
    fatal = f"import os\nos.kill(os.getpid(), {int(signal.SIGSEGV)})\n"
    (tmp_path / "scipy" / "io.py").write_text(fatal)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DataError, match=r"\(SIGSEGV stopped its reader\): get it again"):
        read(path, "synsets.WNID")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no matlab file",
        synsets()[:127],
        synsets()[:128],
        synsets()[:700],
        b"\x89HDF\r\n" * 99,
    ],
    ids=["empty", "text", "header cut", "header alone", "cut", "hdf"],
)
def test_a_file_that_is_cut_or_something_else_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "meta.mat"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"meta\.mat is not a list \(.*\): get it again"):
        read(path, "synsets.WNID")


def test_a_missing_file_and_objects_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none\.mat: No such file"):
        read(tmp_path / "none.mat", "X")
    path = tmp_path / "a.mat"
    path.write_bytes(synsets())
    with pytest.raises(DataError, match="synsets is not an array of numbers or texts"):
        read(path, "synsets")
