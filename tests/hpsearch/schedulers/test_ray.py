"""The scheduler `ray`, on a real Ray.

That listens on every network address, so these tests want to be alone: `nox -s ray`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.errors import SchedulerError
from hypnet_core.jobs import JobSpec, JobState
from hypnet_core.testing import conformance
from hypnet_hpsearch.schedulers import Ray
from hypnet_hpsearch.schedulers.local.processes import Identity

HYPNET = [sys.executable, "-P", "-m", "hypnet_core.cli.main"]


@pytest.fixture(scope="session")
def alone() -> None:
    """Ray is there, and there is no network but loopback."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed; to run this test: nox -s ray")
    if {name for _, name in socket.if_nameindex()} != {"lo"}:
        pytest.skip(
            "Ray listens on every network address; to run this test where there is none: nox -s ray"
        )


@pytest.fixture(scope="session")
def ray(alone: None) -> Iterator[Any]:
    """A Ray for all tests, with two pretended GPUs: starting one takes seconds."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    module = importlib.import_module("ray")
    module.init(
        num_cpus=2,
        num_gpus=2,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
    )
    yield module
    module.shutdown()


@pytest.fixture
def scheduler(ray: Any) -> Iterator[Ray]:
    found = Ray(grace=1.0)
    yield found
    found.cancel(list(found._tasks))
    wait_until(lambda: all(state.ended for state in found.poll(list(found._tasks)).values()))


@pytest.mark.usefixtures("ray")
class TestConformance:
    test_conformance = staticmethod(conformance("hpsearch", "ray"))


def wait_until(happened: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def python(code: str, *arguments: str, **fields: object) -> JobSpec:
    return JobSpec.model_validate(
        {"argv": [sys.executable, "-S", "-c", textwrap.dedent(code), *arguments], **fields}
    )


def ends_of(scheduler: Ray, jobs: Sequence[str]) -> list[JobState]:
    wait_until(lambda: all(state.ended for state in scheduler.poll(jobs).values()))
    states = scheduler.poll(jobs)
    return [states[job] for job in jobs]


def test_each_job_sees_its_own_gpu_only(scheduler: Ray, tmp_path: Path) -> None:
    show = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep(1)"
    jobs = [
        scheduler.submit(python(show, gpus=1, stdout=tmp_path / str(number))) for number in range(2)
    ]
    assert ends_of(scheduler, jobs) == [JobState.FINISHED] * 2
    assert sorted((tmp_path / str(number)).read_text() for number in range(2)) == ["0\n", "1\n"]


def test_jobs_wait_until_there_are_cores_and_can_be_cancelled_meanwhile(scheduler: Ray) -> None:
    first = scheduler.submit(python("import time; time.sleep(60)", cpus=2))
    # Not earlier: Ray does not promise to start tasks in order.
    wait_until(lambda: scheduler.poll([first])[first] is JobState.RUNNING)
    second = scheduler.submit(python("pass"))
    assert scheduler.poll([second])[second] is JobState.QUEUED
    scheduler.cancel([second])
    assert ends_of(scheduler, [second]) == [JobState.CANCELLED]
    scheduler.cancel([first])
    assert ends_of(scheduler, [first]) == [JobState.CANCELLED]


def test_a_job_that_ignores_the_request_to_end_is_ended_by_force(
    scheduler: Ray, tmp_path: Path
) -> None:
    code = (
        "import os, signal, time; signal.signal(15, signal.SIG_IGN); open('pid',"
        " 'w').write(str(os.getpid())); time.sleep(60)"
    )
    job = scheduler.submit(python(code, cwd=tmp_path))
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    scheduler.cancel([job])
    assert ends_of(scheduler, [job]) == [JobState.CANCELLED]
    assert Identity.of(int((tmp_path / "pid").read_text())) is None


def test_a_job_over_its_time_limit_has_failed(scheduler: Ray) -> None:
    assert ends_of(
        scheduler, [scheduler.submit(python("import time; time.sleep(60)", time_limit=0.3))]
    ) == [JobState.FAILED]


def test_a_worker_that_is_killed_fails_its_job_which_is_not_repeated(
    scheduler: Ray, tmp_path: Path
) -> None:
    code = "import os, time; open('log', 'a').write(f'{os.getppid()}\\n'); time.sleep(60)"
    job = scheduler.submit(python(code, cwd=tmp_path))
    wait_until(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text())
    os.kill(int((tmp_path / "log").read_text()), signal.SIGKILL)
    assert ends_of(scheduler, [job]) == [JobState.FAILED]
    time.sleep(1)
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def test_more_than_there_is_is_refused_by_name(scheduler: Ray) -> None:
    with pytest.raises(SchedulerError, match="'big' asks for 3 cores, but Ray has only 2"):
        scheduler.submit(python("pass", cpus=3, name="big"))
    with pytest.raises(SchedulerError, match="asks for 4 GPUs, but Ray has only 2"):
        scheduler.submit(python("pass", gpus=4))


def test_cores_of_a_cluster_that_is_joined_cannot_be_given() -> None:
    with pytest.raises(SchedulerError, match="cpus and gpus are those of the cluster"):
        Ray(address="auto", cpus=2)


TRIAL = """
import json, os, sys, time
x = int(sys.argv[1][2:])
open("log", "a").write(f"{x}\\n")
time.sleep(0.3)
with open(os.environ["HYPNET_TRIAL_DIR"] + "/summary.json", "w") as file:
    json.dump({"m": x}, file)
"""


@pytest.mark.usefixtures("alone")
def test_a_search_whose_driver_dies_is_resumed_by_its_results(tmp_path: Path) -> None:
    (tmp_path / "trial.py").write_text(TRIAL)
    search = {
        "command": [sys.executable, "-S", "trial.py", "{options}"],
        "style": "key=value",
        "metric": "m",
        "direction": "minimize",
        "grid": {"x": list(range(12))},
        "scheduler": {"name": "ray", "cpus": 2},
    }
    (tmp_path / "search.yaml").write_text(json.dumps(search))
    command = [*HYPNET, "search", "run", "search.yaml", "--out", "out"]
    driver = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: len(list(tmp_path.glob("out/trials/*/1/result.json"))) >= 4)
    done = {path.parent.parent.name for path in tmp_path.glob("out/trials/*/1/result.json")}
    driver.kill()
    driver.wait()
    found = subprocess.run(
        [*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["search"]["done"] == 12
    assert not any((tmp_path / "out" / "trials" / trial / "2").exists() for trial in done)
    assert (
        len((tmp_path / "log").read_text().splitlines()) <= 12 + 2
    )  # those that ran when the driver died


def test_without_ray_a_search_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        SchedulerError, match=r"Ray is not installed here: pip install 'hypnet-hpsearch\[ray\]'"
    ):
        Ray().submit(python("pass"))
    assert Ray().poll(["x"]) == {"x": JobState.LOST}
