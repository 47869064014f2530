"""The scheduler `local`: slots, GPUs, limits, and jobs that outlive their driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.errors import SchedulerError
from hypnet_core.jobs import JobSpec, JobState
from hypnet_hpsearch.schedulers import Local
from hypnet_hpsearch.schedulers.local.processes import Identity

MakeLocal = Callable[..., Local]


class Remembering(Local):
    """Knows what it was given, so that a test can end it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.submitted: list[str] = []

    def submit(self, job: JobSpec) -> str:
        self.submitted.append(super().submit(job))
        return self.submitted[-1]


def wait_until(happened: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def python(code: str, **fields: object) -> JobSpec:
    return JobSpec.model_validate(
        {"argv": [sys.executable, "-S", "-c", textwrap.dedent(code)], **fields}
    )


def end_of(scheduler: Local, *jobs: str) -> list[JobState]:
    wait_until(lambda: all(state.ended for state in scheduler.poll(jobs).values()))
    return [scheduler.poll(jobs)[job] for job in jobs]


@pytest.fixture
def local() -> Iterator[MakeLocal]:
    """Makes schedulers whose jobs are ended at the end of the test."""
    made: list[Remembering] = []

    def make(**options: Any) -> Local:
        made.append(Remembering(**{"grace": 2.0, **options}))
        return made[-1]

    yield make
    for scheduler in made:
        scheduler.cancel(scheduler.submitted)
        end_of(scheduler, *scheduler.submitted)
        scheduler.close()


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with three GPUs, as far as nvidia-smi says."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\nfor i in 0 1 2; do echo "GPU $i: Pretended (UUID: GPU-$i)"; done\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def running_at_once(scheduler: Local, directory: Path, jobs: int, **fields: object) -> int:
    """The largest number of jobs that ever ran together."""
    code = f"""
        import os, time
        open({str(directory)!r} + f"/{{os.getpid()}}", "w").close()
        seen = [name for name in os.listdir({str(directory)!r}) if name.isdigit()]
        open({str(directory)!r} + f"/{{os.getpid()}}.seen", "w").write(str(len(seen)))
        time.sleep(0.05)
        os.unlink({str(directory)!r} + f"/{{os.getpid()}}")
    """
    ids = [scheduler.submit(python(code, **fields)) for _ in range(jobs)]
    assert set(end_of(scheduler, *ids)) == {JobState.FINISHED}
    return max(int(path.read_text()) for path in directory.glob("*.seen"))


@pytest.mark.parametrize(("slots", "cpus", "most"), [(1, 1, 1), (3, 1, 3), (4, 2, 2), (3, 2, 1)])
def test_jobs_never_take_more_slots_than_there_are(
    local: MakeLocal, tmp_path: Path, slots: int, cpus: int, most: int
) -> None:
    assert running_at_once(local(slots=slots), tmp_path, 8, cpus=cpus) <= most


def test_jobs_wait_their_turn_in_the_order_of_submission(local: MakeLocal, tmp_path: Path) -> None:
    scheduler = local(slots=1)
    log = tmp_path / "log"
    jobs = [
        scheduler.submit(
            python(f"import time; time.sleep(0.02); print({number}, flush=True)", stdout=log)
        )
        for number in range(5)
    ]
    states = scheduler.poll(jobs)
    assert JobState.QUEUED in states.values()
    end_of(scheduler, *jobs)
    assert log.read_text().split() == ["0", "1", "2", "3", "4"]


def test_a_queued_job_can_be_cancelled_and_never_starts(local: MakeLocal, tmp_path: Path) -> None:
    scheduler = local(slots=1)
    first = scheduler.submit(python("import time; time.sleep(60)"))
    second = scheduler.submit(python(f"open({str(tmp_path / 'ran')!r}, 'w')"))
    scheduler.cancel([second])
    assert end_of(scheduler, second) == [JobState.CANCELLED]
    assert scheduler.poll([first])[first] is JobState.RUNNING
    scheduler.cancel([first])
    assert end_of(scheduler, first) == [JobState.CANCELLED]
    assert not (tmp_path / "ran").exists()


def test_a_job_that_ignores_the_request_to_end_is_ended_by_force(
    local: MakeLocal, tmp_path: Path
) -> None:
    scheduler = local(grace=0.1)
    code = f"""
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open({str(tmp_path / "deaf")!r}, "w")
        time.sleep(60)
    """
    job = scheduler.submit(python(code))
    wait_until((tmp_path / "deaf").exists)
    assert scheduler.poll([job])[job] is JobState.RUNNING
    scheduler.cancel([job])
    assert end_of(scheduler, job) == [JobState.CANCELLED]


def test_a_job_over_its_time_limit_has_failed(local: MakeLocal) -> None:
    scheduler = local()
    began = time.monotonic()
    job = scheduler.submit(python("import time; time.sleep(60)", time_limit=0.2))
    assert end_of(scheduler, job) == [JobState.FAILED]
    assert 0.2 <= time.monotonic() - began < 10


def test_the_time_limit_does_not_count_the_waiting(local: MakeLocal) -> None:
    scheduler = local(slots=1)
    first = scheduler.submit(python("import time; time.sleep(0.6)"))
    second = scheduler.submit(python("pass", time_limit=0.5))
    assert end_of(scheduler, first, second) == [JobState.FINISHED, JobState.FINISHED]


def test_what_a_job_leaves_behind_is_ended_with_it(local: MakeLocal, tmp_path: Path) -> None:
    scheduler = local()
    code = f"""
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
    """
    job = scheduler.submit(python(code))
    assert end_of(scheduler, job) == [JobState.FINISHED]
    child = int((tmp_path / "pid").read_text())
    wait_until(lambda: Identity.of(child) is None)


def test_threads_follow_the_cores_unless_the_job_says_otherwise(
    local: MakeLocal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    scheduler = local(slots=2)
    code = "import os; print(os.environ['OMP_NUM_THREADS'])"
    paths = [tmp_path / "two", tmp_path / "seven"]
    jobs = [
        scheduler.submit(python(code, cpus=2, stdout=paths[0])),
        scheduler.submit(python(code, cpus=2, stdout=paths[1], env={"OMP_NUM_THREADS": "7"})),
    ]
    end_of(scheduler, *jobs)
    assert [path.read_text().strip() for path in paths] == ["2", "7"]


def test_more_cores_than_slots_are_refused_by_name(local: MakeLocal) -> None:
    with pytest.raises(SchedulerError, match="'big' asks for 3 cores, but there are only 2 slots"):
        local(slots=2).submit(python("pass", cpus=3, name="big"))


def test_a_gpu_where_there_is_none_is_refused_clearly(
    local: MakeLocal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(
        SchedulerError, match="asks for 1 GPU, but nvidia-smi finds none on this machine"
    ):
        local().submit(python("pass", gpus=1))
    with pytest.raises(
        SchedulerError, match="this machine has no GPU 0; nvidia-smi finds no GPU here"
    ):
        Local(gpus=("0",))


@pytest.mark.usefixtures("smi")
def test_an_unknown_gpu_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(SchedulerError, match="this machine has no GPU 7; there is: 0, 1, 2"):
        Local(gpus=("0", "7"))


@pytest.mark.usefixtures("smi")
def test_more_gpus_than_there_are_are_refused(local: MakeLocal) -> None:
    with pytest.raises(SchedulerError, match="asks for 3 GPUs, but there are only 2"):
        local(gpus=("0", "1")).submit(python("pass", gpus=3))


@pytest.mark.usefixtures("smi")
def test_each_job_sees_its_own_gpus_only(local: MakeLocal, tmp_path: Path) -> None:
    scheduler = local(slots=8, gpus=(0, 2))
    show = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep(0.3)"
    paths = [tmp_path / str(number) for number in range(4)]
    jobs = [scheduler.submit(python(show, gpus=1, stdout=path)) for path in paths]
    wait_until(lambda: list(scheduler.poll(jobs).values()).count(JobState.RUNNING) == 2)
    assert sorted(scheduler.poll(jobs).values()) == [JobState.QUEUED] * 2 + [JobState.RUNNING] * 2
    end_of(scheduler, *jobs)
    seen = [path.read_text().strip() for path in paths]
    assert sorted(seen[:2]) == ["0", "2"]
    assert sorted(seen) == ["0", "0", "2", "2"]
    both = scheduler.submit(python(show, gpus=2, stdout=tmp_path / "both"))
    end_of(scheduler, both)
    assert (tmp_path / "both").read_text().strip() == "0,2"


@pytest.mark.usefixtures("smi")
def test_several_jobs_share_a_gpu_if_asked_and_spread_first(
    local: MakeLocal, tmp_path: Path
) -> None:
    scheduler = local(slots=8, gpus=("0", "1"), jobs_per_gpu=2)
    show = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep(0.5)"
    paths = [tmp_path / str(number) for number in range(5)]
    jobs = [scheduler.submit(python(show, gpus=1, stdout=path)) for path in paths]
    wait_until(lambda: list(scheduler.poll(jobs).values()).count(JobState.RUNNING) == 4)
    assert scheduler.poll(jobs)[jobs[4]] is JobState.QUEUED
    end_of(scheduler, *jobs)
    seen = [path.read_text().strip() for path in paths]
    assert sorted(seen[:2]) == ["0", "1"]
    assert sorted(seen[:4]) == ["0", "0", "1", "1"]


@pytest.mark.usefixtures("smi")
def test_two_drivers_do_not_give_away_the_same_gpu(local: MakeLocal, tmp_path: Path) -> None:
    first, second = local(slots=4, gpus=("1",)), local(slots=4, gpus=("1",))
    holding = first.submit(python("import time; time.sleep(60)", gpus=1))
    wait_until(lambda: first.poll([holding])[holding] is JobState.RUNNING)
    waiting = second.submit(python("pass", gpus=1))
    time.sleep(0.7)
    assert second.poll([waiting])[waiting] is JobState.QUEUED
    first.cancel([holding])
    assert end_of(second, waiting) == [JobState.FINISHED]


@pytest.mark.usefixtures("smi")
def test_a_listed_environment_limits_the_gpus(
    local: MakeLocal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    scheduler = local(slots=2)
    job = scheduler.submit(
        python(
            "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])", gpus=1, stdout=tmp_path / "seen"
        )
    )
    end_of(scheduler, job)
    assert (tmp_path / "seen").read_text().strip() == "2"
    with pytest.raises(SchedulerError, match="there are only 1"):
        scheduler.submit(python("pass", gpus=2))


DRIVER = """
import sys, time
from hypnet_core.jobs import JobSpec
from hypnet_hpsearch.schedulers import Local
scheduler = Local(slots=1)
code = (
    "import time; open('started', 'w').close(); time.sleep(0.5); open('ended', 'w').close();"
    " time.sleep(float('" + sys.argv[2] + "'))"
)
running = scheduler.submit(JobSpec(argv=(sys.executable, "-S", "-c", code), cwd=sys.argv[1]))
never = (sys.executable, "-S", "-c", "open('never', 'w')")
waiting = scheduler.submit(JobSpec(argv=never, cwd=sys.argv[1]))
print(running, waiting, scheduler._launcher._process.pid, flush=True)
time.sleep(600)
"""


def killed_driver(directory: Path, *, launcher_too: bool, sleep: str = "60") -> tuple[str, str]:
    """The ids of a running and of a waiting job whose driver was killed."""
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(directory), sleep],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert driver.stdout is not None
    running, waiting, launcher = driver.stdout.readline().split()
    wait_until((directory / "started").exists)
    driver.kill()
    if launcher_too:
        os.kill(int(launcher), signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    return running, waiting


@pytest.mark.parametrize("launcher_too", [False, True])
def test_a_job_outlives_its_driver_and_is_known_to_the_next(
    local: MakeLocal, tmp_path: Path, launcher_too: bool
) -> None:
    running, waiting = killed_driver(tmp_path, launcher_too=launcher_too)
    scheduler = local(slots=1)
    assert scheduler.poll([running])[running] is JobState.RUNNING
    wait_until(lambda: scheduler.poll([waiting])[waiting] is JobState.LOST)
    wait_until((tmp_path / "ended").exists)
    scheduler.cancel([running])
    assert end_of(scheduler, running) == [JobState.LOST]
    assert not (tmp_path / "never").exists()


def test_a_job_of_an_earlier_driver_keeps_its_slot(local: MakeLocal, tmp_path: Path) -> None:
    running, _ = killed_driver(tmp_path, launcher_too=False)
    scheduler = local(slots=1)
    assert scheduler.poll([running])[running] is JobState.RUNNING
    mine = scheduler.submit(python("pass"))
    time.sleep(0.2)
    assert scheduler.poll([running, mine]) == {running: JobState.RUNNING, mine: JobState.QUEUED}
    scheduler.cancel([running])
    wait_until(lambda: scheduler.poll([running])[running] is JobState.LOST)
    assert end_of(scheduler, mine) == [JobState.FINISHED]


def test_a_recycled_process_id_is_not_taken_for_the_job(local: MakeLocal) -> None:
    mine = Identity.of(os.getpid())
    assert mine is not None
    earlier = mine._replace(start=str(int(mine.start) - 1))
    assert mine.alive
    assert not earlier.alive
    scheduler = local()
    job = f"{earlier}:1"
    assert scheduler.poll([job])[job] is JobState.LOST
    scheduler.cancel([job])  # would end this very process if it were mistaken
    assert Identity.parse(str(mine)) == mine


def test_jobs_of_another_machine_or_boot_are_lost_here(local: MakeLocal) -> None:
    mine = Identity.of(os.getpid())
    assert mine is not None
    strangers = [
        f"{mine._replace(host='elsewhere')}:1",
        f"{mine._replace(boot='00000000')}:1",
        f"{mine}:many",
        str(mine),
        "1:2:3",
    ]
    assert set(local().poll(strangers).values()) == {JobState.LOST}


def test_a_killed_launcher_takes_no_running_job_with_it(local: MakeLocal, tmp_path: Path) -> None:
    scheduler = local(slots=2)
    job = scheduler.submit(
        python(f"import time; time.sleep(0.5); open({str(tmp_path / 'ended')!r}, 'w')")
    )
    wait_until(lambda: scheduler.poll([job])[job] is JobState.RUNNING)
    assert scheduler._launcher is not None
    launcher = scheduler._launcher._process
    os.kill(launcher.pid, signal.SIGKILL)
    wait_until(lambda: launcher.poll() is not None)
    assert scheduler.poll([job])[job] is JobState.RUNNING
    other = scheduler.submit(python("pass"))
    assert end_of(scheduler, other) == [JobState.FINISHED]
    wait_until((tmp_path / "ended").exists)
    assert end_of(scheduler, job) == [JobState.LOST]


def test_a_waiting_job_that_is_killed_gives_no_slot_back_twice(
    local: MakeLocal, tmp_path: Path
) -> None:
    scheduler = local(slots=1)
    first = scheduler.submit(python("import time; time.sleep(0.3)"))
    waiting = scheduler.submit(python("pass"))
    os.kill(int(waiting.split(":")[2]), signal.SIGKILL)
    assert end_of(scheduler, first, waiting) == [JobState.FINISHED, JobState.FAILED]
    assert running_at_once(scheduler, tmp_path, 4) == 1


def test_an_output_file_that_cannot_be_opened_fails_the_job_and_says_why(
    local: MakeLocal, tmp_path: Path
) -> None:
    scheduler = local()
    job = scheduler.submit(python("pass", stdout=tmp_path / "no" / "out", stderr=tmp_path / "err"))
    assert end_of(scheduler, job) == [JobState.FAILED]
    assert "No such file or directory" in (tmp_path / "err").read_text()


def test_closing_leaves_running_jobs_alone(tmp_path: Path) -> None:
    scheduler = Local()
    job = scheduler.submit(
        python(f"import time; time.sleep(0.3); open({str(tmp_path / 'ended')!r}, 'w')")
    )
    wait_until(lambda: scheduler.poll([job])[job] is JobState.RUNNING)
    scheduler.close()
    scheduler.close()
    wait_until((tmp_path / "ended").exists)
