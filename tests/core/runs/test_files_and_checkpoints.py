from __future__ import annotations

import json
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from hypnet_core.errors import CheckpointError, RunError
from hypnet_core.runs.checkpoint import load_checkpoint, save_checkpoint
from hypnet_core.runs.files import append_line, read_json, write_atomic, write_json

TENSORS = {
    "a.weight": torch.randn(3, 4),
    "a.count": torch.tensor(7),
    "b.empty": torch.zeros(0, 2),
    "b.half": torch.randn(5).bfloat16(),
    "b.flags": torch.tensor([True, False]),
}
STATE = {"scores": [[1.5], [2.0, 3.25]], "name": "zwölf", "none": None}


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
        max_leaves=8,
    )
)
def test_a_state_survives(tmp_path_factory: pytest.TempPathFactory, state: object) -> None:
    path = tmp_path_factory.mktemp("c") / "x.safetensors"
    save_checkpoint(path, {}, {"state": state})
    assert load_checkpoint(path).state == {"state": state}


def test_tensors_survive_to_the_bit(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "x", TENSORS, STATE)
    found = load_checkpoint(tmp_path / "x")
    assert found.state == STATE
    assert found.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)
    assert set(found.part("a")) == {"weight", "count"}


def test_tensors_that_share_memory_are_saved_whole(tmp_path: Path) -> None:
    base = torch.arange(6.0)
    save_checkpoint(
        tmp_path / "x", {"all": base, "half": base[:3], "turned": base.view(2, 3).t()}, {}
    )
    found = load_checkpoint(tmp_path / "x").tensors
    assert torch.equal(found["half"], base[:3])
    assert torch.equal(found["turned"], base.view(2, 3).t())


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 50, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "x"
    save_checkpoint(path, TENSORS, STATE)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(path)


@given(st.data())
def test_a_changed_byte_never_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("c") / "x"
    save_checkpoint(path, {"w": torch.arange(10.0)}, {"step": 3})
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        found = load_checkpoint(path)
    except CheckpointError:
        return
    # A changed blank between header and data, or a renamed unused key, may pass: but
    # only with the same content.
    assert found.state == {"step": 3}
    assert torch.equal(found.tensors["w"], torch.arange(10.0))


def test_other_files_are_no_checkpoints(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(2)}, tmp_path / "plain")
    with pytest.raises(CheckpointError, match="is not a checkpoint of hypnet"):
        load_checkpoint(tmp_path / "plain")
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "missing")


def test_a_pickle_is_never_executed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path(str(tmp_path / "executed")).touch, ()  # type: ignore[return-value]

    (tmp_path / "x").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(tmp_path / "x")
    assert not (tmp_path / "executed").exists()


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path: Path) -> None:
    """A child process may write 1,000 bytes per file: more fails as on a full disk."""
    path = tmp_path / "x"
    write_atomic(path, "old")
    code = (
        "import resource, signal, sys, pathlib\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from hypnet_core.runs.files import write_atomic\n"
        "from hypnet_core.errors import RunError\n"
        "try:\n    write_atomic(pathlib.Path(sys.argv[1]), 'n' * 100_000)\n"
        "except RunError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert f"cannot write {path}: File too large" in done.stdout
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


@pytest.mark.parametrize("before", [0, 1, 950, 999])
def test_a_line_is_appended_whole_or_not_at_all(tmp_path: Path, before: int) -> None:
    """On a nearly full disk a write takes a part, which must not stay."""
    path = tmp_path / "x"
    path.write_text("o" * before)
    code = (
        "import resource, signal, sys, pathlib\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from hypnet_core.runs.files import append_line\n"
        "from hypnet_core.errors import RunError\n"
        "try:\n    append_line(pathlib.Path(sys.argv[1]), 'n' * 2000)\n"
        "except RunError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert f"cannot write {path}" in done.stdout
    assert path.read_text() == "o" * before


def test_a_new_file_is_written_once(tmp_path: Path) -> None:
    write_json(tmp_path / "x", 1, new=True)
    with pytest.raises(FileExistsError):
        write_json(tmp_path / "x", 2, new=True)
    assert read_json(tmp_path / "x") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_json_round_trips_and_refuses_what_it_cannot_say(tmp_path: Path) -> None:
    write_json(tmp_path / "x", STATE)
    assert read_json(tmp_path / "x") == STATE
    with pytest.raises(RunError, match="cannot write"):
        write_json(tmp_path / "x", {"loss": float("nan")})
    assert read_json(tmp_path / "x") == STATE
    (tmp_path / "x").write_text('{"a": ')
    with pytest.raises(RunError, match="is damaged"):
        read_json(tmp_path / "x")
    with pytest.raises(RunError, match="there is no"):
        read_json(tmp_path / "missing")


def test_lines_are_appended_whole(tmp_path: Path) -> None:
    for i in range(3):
        append_line(tmp_path / "x", json.dumps({"i": i}))
    assert [json.loads(line)["i"] for line in (tmp_path / "x").read_text().splitlines()] == [
        0,
        1,
        2,
    ]
    with pytest.raises(RunError, match="cannot write"):
        append_line(tmp_path, "a directory")
