"""Limits on how busy a GPU may be for `local` to start a job there.

There is no GPU here: a module `pynvml` of the test's own stands in for NVIDIA's
library, in the driver and in its launcher. It says what a file says.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.errors import ConfigError, SchedulerError
from hypnet_core.jobs import JobSpec, JobState
from hypnet_core.plugins import Kind, registry
from hypnet_hpsearch.schedulers import Local
from hypnet_hpsearch.schedulers.local.usage import Gauge, GaugeError, Limits

PYNVML = """
import json, pathlib
from types import SimpleNamespace

class NVMLError(Exception):
    pass

def _said(name):
    said = json.loads(pathlib.Path(__file__).with_name("said.json").read_text())
    if "error" in said:
        raise NVMLError(said["error"])
    return said[name]

def nvmlInit():
    _said("init")

def nvmlDeviceGetHandleByIndex(index):
    return _said("gpus")[str(index)]

def nvmlDeviceGetHandleByUUID(name):
    return _said("gpus")[name]

def nvmlDeviceGetMemoryInfo(device):
    if isinstance(device["memory"], str):
        raise NVMLError(device["memory"])
    used, total = device["memory"]
    return SimpleNamespace(used=used, total=total)

def nvmlDeviceGetUtilizationRates(device):
    if isinstance(device["load"], str):
        raise NVMLError(device["load"])
    return SimpleNamespace(gpu=device["load"])
"""
GIB = 2**30


class Nvml:
    """The answers of NVML."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def says(self, **gpus: tuple[Any, Any]) -> None:
        """By `gpuN`: the memory in use and in all, and the load in per cent.

        An error's text may stand for either.
        """
        named = {
            name.removeprefix("gpu"): {"memory": memory, "load": load}
            for name, (memory, load) in gpus.items()
        }
        self.write({"init": None, "gpus": named})

    def fails(self, text: str) -> None:
        self.write({"error": text})

    def write(self, said: dict[str, Any]) -> None:
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps(said))
        beside.replace(self.path)


@pytest.fixture
def nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nvml:
    """A machine with two GPUs, idle at first."""
    site, tool = tmp_path / "site", tmp_path / "bin" / "nvidia-smi"
    site.mkdir()
    tool.parent.mkdir()
    (site / "pynvml.py").write_text(PYNVML)
    tool.write_text('#!/bin/sh\nfor i in 0 1; do echo "GPU $i: Pretended (UUID: GPU-$i)"; done\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    found = Nvml(site / "said.json")
    found.says(gpu0=((0, GIB), 0), gpu1=((0, GIB), 0))
    return found


@pytest.fixture(autouse=True)
def _forget_the_stand_in() -> Iterator[None]:
    yield
    sys.modules.pop("pynvml", None)


@pytest.fixture
def local(nvml: Nvml) -> Iterator[Callable[..., Local]]:
    made: list[Local] = []

    def make(**options: Any) -> Local:
        made.append(Local(slots=8, grace=1.0, **options))
        return made[-1]

    yield make
    for scheduler in made:
        jobs = list(scheduler._states)
        scheduler.cancel(jobs)
        while not all(state.ended for state in scheduler.poll(jobs).values()):
            time.sleep(0.01)
        scheduler.close()


def wait_until(happened: Callable[[], Any], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def showing(path: Path, seconds: float = 60) -> JobSpec:
    code = (
        "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True);"
        f" time.sleep({seconds})"
    )
    return JobSpec(argv=(sys.executable, "-S", "-c", code), gpus=1, stdout=path)


def gpu_of(path: Path) -> str:
    wait_until(lambda: path.exists() and path.read_text())
    return path.read_text().strip()


@pytest.mark.parametrize(
    ("options", "busy"),
    [({"allowed_memory": 0.75}, ((0.76 * GIB, GIB), 0)), ({"allowed_load": 0.6}, ((0, GIB), 61))],
)
def test_a_job_goes_to_a_gpu_that_is_idle_enough(
    local: Callable[..., Local], nvml: Nvml, tmp_path: Path, options: dict[str, float], busy: Any
) -> None:
    nvml.says(gpu0=busy, gpu1=((0.5 * GIB, GIB), 60))
    scheduler = local(jobs_per_gpu=2, **options)
    for number in range(2):
        scheduler.submit(showing(tmp_path / str(number)))
    assert [gpu_of(tmp_path / str(number)) for number in range(2)] == ["1", "1"]


def test_a_job_waits_until_a_gpu_is_idle_enough(
    local: Callable[..., Local], nvml: Nvml, tmp_path: Path
) -> None:
    nvml.says(gpu0=((GIB, GIB), 100), gpu1=((GIB, GIB), 100))
    scheduler = local(allowed_memory=0.5, allowed_load=0.5)
    job = scheduler.submit(showing(tmp_path / "seen"))
    time.sleep(0.6)
    assert scheduler.poll([job])[job] is JobState.QUEUED
    nvml.says(gpu0=((0, GIB), 51), gpu1=((0, GIB), 50))
    assert gpu_of(tmp_path / "seen") == "1"


def test_without_limits_nvml_is_not_asked(
    local: Callable[..., Local], nvml: Nvml, tmp_path: Path
) -> None:
    nvml.fails("there is no driver")
    local().submit(showing(tmp_path / "seen"))
    assert gpu_of(tmp_path / "seen") == "0"


@pytest.mark.parametrize(
    "odd",
    [
        ("GPU is lost", 0),
        ((0, 0), 0),
        ((-1, GIB), 0),
        ((2 * GIB, GIB), 0),
        ((float("nan"), GIB), 0),
        ((0, GIB), "Unknown Error"),
        ((0, GIB), 101),
    ],
)
def test_a_gpu_that_talks_nonsense_for_a_while_gets_no_job(
    local: Callable[..., Local], nvml: Nvml, tmp_path: Path, odd: tuple[Any, Any]
) -> None:
    scheduler = local(gpus=(0,), allowed_memory=0.5, allowed_load=0.5)
    first = scheduler.submit(showing(tmp_path / "first", seconds=0))
    wait_until(lambda: scheduler.poll([first])[first] is JobState.FINISHED)
    nvml.says(gpu0=odd)
    second = scheduler.submit(showing(tmp_path / "second"))
    time.sleep(0.1)  # the launcher looks at once, and again after half a second
    assert scheduler.poll([second])[second] is JobState.QUEUED
    nvml.fails("the driver is being replaced")
    time.sleep(0.55)
    nvml.says(gpu0=((0, GIB), 0))
    assert gpu_of(tmp_path / "second") == "0"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            {"gpu0": ((0, GIB), "Not Supported")},
            "NVML cannot measure the use of GPU 0: Not Supported",
        ),
        ({"gpu0": (None, 0)}, "NVML cannot measure the use of GPU 0: "),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused(
    local: Callable[..., Local], nvml: Nvml, said: dict[str, Any], why: str
) -> None:
    nvml.says(**said)
    with pytest.raises(
        SchedulerError, match=f"allowed_memory and allowed_load cannot be enforced: {why}"
    ):
        local(gpus=(0,), allowed_load=0.5, allowed_memory=0.5).submit(showing(Path("unused")))


def test_nvml_that_finds_no_gpu_is_named(local: Callable[..., Local], nvml: Nvml) -> None:
    nvml.fails("NVML Shared Library Not Found")
    with pytest.raises(
        SchedulerError, match="NVML finds no GPU here: NVML Shared Library Not Found"
    ):
        local(allowed_load=0.5).submit(showing(Path("unused")))


def test_a_machine_without_gpus_says_so_before_anything_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(
        SchedulerError, match="asks for 1 GPU, but nvidia-smi finds none on this machine"
    ):
        Local(allowed_load=0.5).submit(showing(Path("unused")))


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(GaugeError, match=r"pip install 'hypnet-hpsearch\[gpu\]'"):
        Gauge(Limits(load=0.5)).check_measurable("0")


def test_gpus_are_asked_about_by_their_uuids_too(nvml: Nvml) -> None:
    nvml.write(
        {
            "init": None,
            "gpus": {
                "GPU-aa": {"memory": (GIB, GIB), "load": 0},
                "MIG-bb": {"memory": (0, GIB), "load": 0},
            },
        }
    )
    gauge = Gauge(Limits(memory=0.5))
    assert (gauge.allows("GPU-aa"), gauge.allows("MIG-bb")) == (False, True)


def test_a_pause_lies_between_two_starts_on_one_gpu(
    local: Callable[..., Local], tmp_path: Path
) -> None:
    """Also if another driver starts the second."""
    first, second = (local(gpus=(0,), jobs_per_gpu=3, startup_pause=0.9) for _ in range(2))
    first.submit(showing(tmp_path / "first"))
    gpu_of(tmp_path / "first")
    began = time.time()
    second.submit(showing(tmp_path / "second"))
    gpu_of(tmp_path / "second")
    assert 0.5 < time.time() - began < 10


def test_a_pause_does_not_hold_up_other_gpus(local: Callable[..., Local], tmp_path: Path) -> None:
    scheduler = local(startup_pause=60, jobs_per_gpu=2)
    jobs = [scheduler.submit(showing(tmp_path / str(number))) for number in range(3)]
    assert {gpu_of(tmp_path / str(number)) for number in range(2)} == {"0", "1"}
    assert scheduler.poll(jobs)[jobs[2]] is JobState.QUEUED


@pytest.mark.parametrize(
    "options", [{"allowed_memory": 75}, {"allowed_load": -0.1}, {"startup_pause": -1}]
)
def test_impossible_limits_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        registry().get(Kind.SCHEDULER, "local").build(**options)
