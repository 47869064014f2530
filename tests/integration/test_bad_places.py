"""Runs on a full or read-only disk: a small tmpfs in a private mount namespace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HYPNET = [sys.executable, "-m", "hypnet_core.cli.main"]
QUICK = [
    "tasks=2",
    "train.iterations=20",
    "train.validate_every=0",
    "log_every=10",
    "log=[]",
]


def can_mount() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    probe = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(
    not can_mount(), reason="needs root and unshare (util-linux) to mount a small tmpfs"
)


def run_on_tmpfs(directory: Path, options: str, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which `$DISK` is a fresh tmpfs and `$@` a quick run."""
    prelude = f'set -u; DISK={directory}; mount -t tmpfs -o {options} tmpfs "$DISK" || exit 99; '
    command = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        prelude + script,
        "sh",
        *HYPNET,
        "run",
        "hypercl",
        *QUICK,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("size", ["8k", "40k", "100k"])
def test_a_full_disk_is_one_clear_line_and_what_was_saved_stays_readable(
    tmp_path: Path, size: str
) -> None:
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    done = run_on_tmpfs(
        disk, f"size={size}", f'"$@" --out "$DISK/run"; code=$?; cp -r "$DISK" {copy}; exit $code'
    )
    assert done.returncode == 1, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "cannot write" in last or "cannot make" in last
    assert "No space left on device" in last
    assert "Traceback" not in done.stderr
    for path in copy.rglob("*.json"):
        json.loads(path.read_text())
    assert not list(copy.rglob("summary.json"))
    left = [path.name for path in copy.rglob(".*") if path.is_file()]
    assert set(left) <= {".lock"}, "no temporary file is left behind"


def test_a_run_that_met_a_full_disk_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    script = (
        f'"$@" --out "$DISK/run"; mount -o remount,size=64m "$DISK"; {sys.executable} -m'
        f' hypnet_core.cli.main run --resume "$DISK/run"; code=$?; cp -r "$DISK" {copy}; exit $code'
    )
    done = run_on_tmpfs(disk, "size=40k", script)
    assert done.returncode == 0, done.stderr
    assert len(json.loads((copy / "run" / "summary.json").read_text())["scores"]) == 2


def test_a_read_only_place_is_one_clear_line(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    done = run_on_tmpfs(disk, "ro,size=1m", '"$@" --out "$DISK/run"')
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr
