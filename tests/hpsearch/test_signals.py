"""Signals and stopped processes: no request loses its answer, and nothing hangs."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.errors import SchedulerUnavailableError
from hypnet_core.jobs import JobSpec, JobState
from hypnet_hpsearch._signals import signals_held
from hypnet_hpsearch.execution import tracker
from hypnet_hpsearch.schedulers import Local
from hypnet_hpsearch.schedulers.local import scheduler as local
from hypnet_hpsearch.schedulers.local import wire
from hypnet_hpsearch.schedulers.local.wire import LauncherProcess
from hypnet_hpsearch.state import Attempt, Store

SLEEPING = """
with open("pids", "a") as file: file.write(f"{os.getpid()}\\n")
time.sleep(60)
"""
REQUESTS: list[tuple[type, str]] = [
    (LauncherProcess, "send"),
    (LauncherProcess, "wait"),
    (Local, "submit"),
    (Local, "poll"),
    (Local, "cancel"),
    (Store, "begin"),
    (Store, "write"),
    (Attempt, "create"),
]


class Interrupter:
    """Sends this process a signal at the n-th end of a request, before or after it."""

    def __init__(self, number: int) -> None:
        self.left = number

    def around(self, request: Callable[..., Any]) -> Callable[..., Any]:
        def interrupted(*args: Any, **keywords: Any) -> Any:
            self.count()
            found = request(*args, **keywords)
            self.count()
            return found

        return interrupted

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGTERM)


def is_running(pid: str) -> bool:
    path = Path("/proc", pid, "stat")
    try:
        return path.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("point", range(1, 29))
def test_a_signal_at_any_request_stops_the_search_in_order(
    workshop: Any, monkeypatch: pytest.MonkeyPatch, point: int
) -> None:
    workshop.body(SLEEPING)
    interrupter = Interrupter(point)
    for owner, name in REQUESTS:
        monkeypatch.setattr(owner, name, interrupter.around(getattr(owner, name)))
    file = workshop.file(grid={"x": [1, 2]}, scheduler={"name": "local", "slots": 2})
    done = workshop.command("run", file, "--out", "out")
    assert done.returncode == 143, done.stderr
    assert "Traceback" not in done.stderr
    status = json.loads(workshop.command("status", "out", "--json").stdout)["search"]
    assert (status["running"], status["failed"], status["lost"]) == (0, 0, 0)
    assert status["cancelled"] + status["missing"] == 2
    pids = workshop.path / "pids"
    assert not any(map(is_running, pids.read_text().split() if pids.exists() else []))


def test_held_signals_come_after_the_block_and_children_do_not_inherit_it() -> None:
    seen: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append("delivered"))
    try:
        with signals_held():
            with signals_held():
                signal.raise_signal(signal.SIGTERM)
                assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
            seen.append("after the inner block")
        assert seen == ["after the inner block", "delivered"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_held_signals_raise_what_their_handler_raises() -> None:
    done: list[str] = []

    def work() -> None:
        with signals_held():
            signal.raise_signal(signal.SIGINT)
            done.append("the whole block")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["the whole block"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_outside_the_main_thread_the_block_just_runs() -> None:
    done: list[str] = []

    def work() -> None:
        with signals_held():
            done.append("ran")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["ran"]


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A scheduler whose launcher is stopped, and short patience."""
    monkeypatch.setattr(wire, "_PATIENCE", 0.3)
    monkeypatch.setattr(wire, "_PING", 0.1)
    monkeypatch.setattr(local, "_BEYOND_GRACE", 0.1)
    scheduler = Local(slots=1, grace=0.1)
    running = scheduler.submit(JobSpec(argv=("sleep", "60")))
    launcher: Any = scheduler._launcher
    os.kill(launcher._process.pid, signal.SIGSTOP)
    yield scheduler, running, launcher._process.pid
    os.kill(launcher._process.pid, signal.SIGCONT)
    scheduler.cancel([running])
    scheduler.close()


def polled(scheduler: Local, job: str, state: JobState) -> None:
    end = time.monotonic() + 10
    while True:
        try:
            if scheduler.poll([job])[job] is state:
                return
        except SchedulerUnavailableError:
            assert state is not JobState.CANCELLED
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_stopped_launcher_is_reported_and_its_answer_is_not_lost(stopped: Any) -> None:
    scheduler, running, pid = stopped
    job = JobSpec(argv=("true",), key="k")
    for _ in range(2):
        with pytest.raises(SchedulerUnavailableError, match="does not answer"):
            scheduler.submit(job)
    scheduler.poll([running])  # asks whether the launcher runs
    time.sleep(0.4)
    with pytest.raises(SchedulerUnavailableError, match="does not answer"):
        scheduler.poll([running])
    os.kill(pid, signal.SIGCONT)
    name = scheduler.submit(job)
    scheduler.cancel([running])
    polled(scheduler, name, JobState.FINISHED)
    # It was started once, although it was submitted three times.
    assert len(scheduler._states) == 2


def test_a_job_that_nobody_waits_for_any_more_is_cancelled(stopped: Any) -> None:
    scheduler, running, pid = stopped
    with pytest.raises(SchedulerUnavailableError):
        scheduler.submit(JobSpec(argv=("sleep", "60")))
    os.kill(pid, signal.SIGCONT)
    scheduler.cancel([running])
    polled(scheduler, running, JobState.CANCELLED)
    end = time.monotonic() + 10
    while len(scheduler._states) < 2 or not all(one.ended for one in scheduler._states.values()):
        assert time.monotonic() < end
        scheduler.poll([running])
        time.sleep(0.02)
    assert set(scheduler._states.values()) == {JobState.CANCELLED}


def test_jobs_of_a_stopped_launcher_are_cancelled_all_the_same(stopped: Any) -> None:
    scheduler, running, _ = stopped
    scheduler.cancel([running])
    polled(scheduler, running, JobState.CANCELLED)
    assert not is_running(running.split(":")[2])


def test_a_search_with_a_stopped_launcher_warns_and_can_be_interrupted(
    workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_PATIENCE", 0.3), ("_PING", 0.1)):
        monkeypatch.setattr(wire, name, value)
    monkeypatch.setattr(local, "_BEYOND_GRACE", 0.1)
    monkeypatch.setattr(tracker, "_SILENCE", (0.2, 0.2))
    workshop.body(SLEEPING)
    pids = workshop.path / "pids"
    answered = LauncherProcess.check
    launchers: set[int] = set()

    def stop(self: LauncherProcess) -> None:
        if pids.exists():
            launchers.add(self._process.pid)
            os.kill(self._process.pid, signal.SIGSTOP)
        try:
            answered(self)
        except SchedulerUnavailableError:
            signal.raise_signal(signal.SIGINT)
            raise

    monkeypatch.setattr(LauncherProcess, "check", stop)
    file = workshop.file(grid={"x": [1]}, scheduler={"name": "local", "slots": 1, "grace": 0.1})
    done = workshop.command("run", file, "--out", "out")
    for pid in launchers:
        os.kill(pid, signal.SIGCONT)
    assert done.returncode == 130, done.stderr
    assert "the process that starts the jobs does not answer" in done.stderr
    assert not any(map(is_running, pids.read_text().split()))
