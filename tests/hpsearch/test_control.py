"""`cancel`, `retry` and signals: one process asks, others obey."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.errors import SchedulerUnavailableError
from hypnet_core.jobs import JobSpec, JobState
from hypnet_hpsearch.execution import control, tracker
from hypnet_hpsearch.schedulers import Local
from hypnet_hpsearch.state import Attempt, Store, job_event
from hypnet_hpsearch.state.locks import DriverLock
from hypnet_hpsearch.trial.records import AttemptRecord

HYPNET = [sys.executable, "-P", "-m", "hypnet_core.cli.main", "search"]

WAITING = """
if os.path.exists("slow" + options["x"]): time.sleep(60)
if os.path.exists("broken" + options["x"]): sys.exit("broken")
"""


def command(workshop: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    found: subprocess.CompletedProcess[str] = workshop.command(*arguments)
    return found


def process(workshop: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    return subprocess.run(
        [*HYPNET, *arguments],
        cwd=workshop.path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def document(workshop: Any, *arguments: str) -> dict[str, Any]:
    done = command(workshop, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def status(workshop: Any) -> dict[str, Any]:
    found: dict[str, Any] = document(workshop, "status", "out")["search"]
    return found


def claimed(attempt: Attempt) -> AttemptRecord:
    """The record of an attempt that never runs."""
    return {
        "trial": attempt.trial,
        "attempt": attempt.number,
        "options": {"x": 1},
        "argv": ["true"],
        "cwd": "/",
        "env": {},
        "summary": "summary.json",
        "metric": "score",
        "parser": "json",
    }


def wait_until(happened: Callable[[], Any], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def touch(workshop: Any, *names: str) -> None:
    for name in names:
        (workshop.path / name).touch()


@pytest.fixture
def start(workshop: Any) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts drivers as the shell does, and ends them after the test."""
    started: list[subprocess.Popen[str]] = []
    workshop.body(WAITING)

    def run(**fields: Any) -> subprocess.Popen[str]:
        file = workshop.file(
            **{"grid": {"x": [1, 2, 3, 4]}, "scheduler": {"name": "local", "slots": 2}, **fields}
        )
        arguments = [*HYPNET, "run", file, "--out", "out"]
        started.append(
            subprocess.Popen(
                arguments,
                cwd=workshop.path,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield run
    for driver in started:
        if driver.poll() is None:
            driver.terminate()
        driver.communicate(timeout=30)
    command(workshop, "cancel", "out")


def trial_with(workshop: Any, x: int) -> str:
    trials = document(workshop, "table", "out")["trials"]
    return next((trial["trial"] for trial in trials if trial["options"]["x"] == x), "")


def running(workshop: Any, *values: int) -> bool:
    return {str(value) for value in values} <= {ran["x"] for ran in workshop.ran()}


def test_a_search_is_cancelled_from_another_shell(workshop: Any, start: Any) -> None:
    touch(workshop, "slow1", "slow2", "slow3")
    driver = start()
    wait_until(lambda: running(workshop, 1, 2))
    done = json.loads(process(workshop, "cancel", "out", "--json").stdout)
    assert done["schema"] == "hypnet.search.cancel/1"
    assert done["drivers"] == 1
    assert len(done["trials"]) >= 2
    said = driver.communicate(timeout=20)[1]
    assert driver.returncode == 1
    assert said.splitlines()[-1].endswith(
        "the search was cancelled from another shell; to go on, run the same command again"
    )
    now = status(workshop)
    assert (now["running"], now["failed"], now["done"]) == (0, 0, 0)
    for name in ("slow1", "slow2", "slow3"):
        (workshop.path / name).unlink()
    assert start().wait(30) == 0
    assert status(workshop)["done"] == 4


def test_one_trial_is_cancelled_and_the_others_go_on(workshop: Any, start: Any) -> None:
    touch(workshop, "slow1")
    driver = start()
    wait_until(lambda: running(workshop, 1))
    trial = trial_with(workshop, 1)
    assert document(workshop, "cancel", "out", trial[:8])["trials"] == [trial]
    _, said = driver.communicate(timeout=30)
    assert driver.returncode == 1
    assert said.splitlines()[-1] == "3 of 4 trials done, 0 failed, 1 cancelled"
    now = status(workshop)
    assert (now["done"], now["cancelled"]) == (3, 1)
    assert sum(ran["x"] == "1" for ran in workshop.ran()) == 1


@pytest.mark.parametrize("whole", [True, False])
def test_trials_that_outlive_their_driver_are_cancelled(
    workshop: Any, start: Any, whole: bool
) -> None:
    touch(workshop, "slow1")
    driver = start(grid={"x": [1]})
    wait_until(lambda: running(workshop, 1) and status(workshop)["running"])
    driver.kill()
    driver.wait()
    assert status(workshop)["running"] == 1
    trial = trial_with(workshop, 1)
    done = document(workshop, "cancel", "out", *([] if whole else [trial]))
    assert (done["trials"], done["drivers"]) == ([trial], 0)
    now = status(workshop)
    assert (now["running"], now["cancelled"]) == (0, 1)


def test_there_may_be_nothing_to_cancel(workshop: Any, start: Any) -> None:
    assert start().wait(30) == 0
    done = command(workshop, "cancel", "out")
    assert (done.returncode, done.stdout) == (0, "")
    assert "0 trials cancelled, 0 drivers stopped" in done.stderr


def test_what_failed_is_run_again_by_a_driver_at_work(workshop: Any, start: Any) -> None:
    touch(workshop, "slow1", "broken2")
    driver = start()
    wait_until(lambda: (workshop.out / "search.json").exists() and status(workshop)["failed"] == 1)
    (workshop.path / "broken2").unlink()
    done = document(workshop, "retry", "out")
    assert done == {
        "schema": "hypnet.search.retry/1",
        "trials": [trial_with(workshop, 2)],
        "drivers": 1,
    }
    wait_until(lambda: status(workshop)["done"] == 3)
    assert driver.poll() is None
    assert sum(ran["x"] == "2" for ran in workshop.ran()) == 2
    document(workshop, "cancel", "out")


def test_what_failed_is_run_again_by_the_next_driver(workshop: Any, start: Any) -> None:
    touch(workshop, "broken2", "broken3")
    assert start().wait(30) == 1
    done = process(workshop, "retry", "out", trial_with(workshop, 3))
    assert done.returncode == 0
    assert done.stdout.split() == [trial_with(workshop, 3)]
    assert "1 trials will be run again by the next `hypnet search run`" in done.stderr
    for name in ("broken2", "broken3"):
        (workshop.path / name).unlink()
    assert start().wait(30) == 0


def test_mistakes_are_one_clear_line(workshop: Any, start: Any) -> None:
    touch(workshop, "broken2")
    start().wait(30)
    good = trial_with(workshop, 1)
    for arguments, message in [
        (("cancel", "nowhere"), "holds no search"),
        (("retry", "nowhere"), "holds no search"),
        (("cancel", "out", "zzz"), "there is no trial 'zzz'"),
        (("cancel", "out", ""), "there is no trial ''"),
        (("retry", "out", "../.."), "there is no trial '../..'"),
        (("cancel", "out", good), f"the trial {good} is not running: it is done"),
        (
            ("retry", "out", good),
            f"the trial {good} is done: only trials that have failed can be retried",
        ),
    ]:
        done = command(workshop, *arguments)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert message in done.stderr
    assert status(workshop)["done"] == 3


def test_sigterm_stops_in_order(workshop: Any, start: Any) -> None:
    touch(workshop, "slow1", "slow2")
    driver = start()
    wait_until(lambda: running(workshop, 1, 2))
    driver.send_signal(signal.SIGTERM)
    said = driver.communicate(timeout=20)[1]
    assert driver.returncode == 143
    assert "its running trials were cancelled; to go on, run the same command again" in said
    assert "Traceback" not in said
    now = status(workshop)
    assert (now["running"], now["failed"]) == (0, 0)
    assert now["cancelled"] >= 2


def test_old_requests_mean_nothing_to_a_new_driver(workshop: Any, start: Any) -> None:
    assert start(max_trials=2).wait(30) == 0
    with (workshop.out / "journal.jsonl").open("a") as file:
        for event in (
            {"event": "stop", "drivers": ["somebody-1-abc"]},
            {"event": "stop", "drivers": 7},
            {"event": "stop"},
            {"event": "cancel", "trial": "nobody", "attempt": 1},
            {"event": "cancel", "trial": trial_with(workshop, 1), "attempt": 1},
            {"event": "retry", "trial": trial_with(workshop, 1), "attempt": 1},
            {"event": "retry", "attempt": "x", "trial": []},
        ):
            file.write(json.dumps(event) + "\n")
    assert start().wait(30) == 0
    assert status(workshop)["done"] == 4
    assert len(workshop.ran()) == 4


def test_results_on_disk_that_no_journal_tells_of_are_listed(workshop: Any, start: Any) -> None:
    touch(workshop, "slow3")
    driver = start()
    wait_until(lambda: running(workshop, 1, 2, 3, 4) and status(workshop)["done"] >= 2)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    wait_until(lambda: status(workshop)["done"] == 3)
    (workshop.out / "journal.jsonl").unlink()
    assert status(workshop)["done"] == 3
    table = document(workshop, "table", "out")["trials"]
    assert [(trial["metric"], trial["options"]["x"]) for trial in table[:3]] == [
        (4.0, 4),
        (2.0, 2),
        (1.0, 1),
    ]
    csv = command(workshop, "export", "out").stdout.splitlines()
    assert sum(",done," in line for line in csv) == 3
    assert Path(table[0]["directory"], "summary.json").exists()
    assert json.loads(command(workshop, "best", "out", "--json").stdout)["trial"]["metric"] == 4.0


def test_a_job_that_may_still_wait_in_a_batch_system_is_not_called_lost(workshop: Any) -> None:
    for scheduler, started, state in [
        ("slurm", False, "queued"),
        ("slurm", True, "lost"),
        ("local", False, "lost"),
    ]:
        search = workshop.search(grid={"x": [1]}, scheduler=scheduler)
        search.directory = workshop.path / f"{scheduler}{started}"
        store = Store.create(search.directory, search.spec, 1)
        trial = search.proposer.first()
        with store.locked():
            events, attempt = store.begin(trial, "somebody-1-abc", claimed)
            assert attempt is not None
            store.write([*events, job_event(attempt, "7")])
        if started:
            attempt.errors.touch()
        assert getattr(search.status(), state) == 1


class Unavailable:
    """A scheduler that takes no jobs just now."""

    slots = 2
    poll_interval = 0.05

    def submit(self, job: JobSpec) -> str:
        raise SchedulerUnavailableError("nobody answers")

    def poll(self, ids: Iterable[str]) -> dict[str, JobState]:
        return dict.fromkeys(ids, JobState.LOST)

    def cancel(self, ids: Iterable[str]) -> None:
        raise SchedulerUnavailableError("nobody answers")


def test_what_was_never_submitted_is_cancelled_at_once(workshop: Any) -> None:
    search = workshop.search(grid={"x": [1]})
    driver = threading.Thread(target=search.run, args=(Unavailable(),))
    driver.start()
    wait_until(lambda: (workshop.out / "journal.jsonl").exists() and status(workshop)["queued"])
    done = document(workshop, "cancel", "out", trial_with(workshop, 1))
    driver.join(20)
    assert not driver.is_alive()
    assert len(done["trials"]) == 1
    assert workshop.ran() == []


class HardOfHearing(Local):
    """A scheduler that does not hear the first request to cancel."""

    deaf = True

    def cancel(self, ids: Iterable[str]) -> None:
        if self.deaf:
            self.deaf = False
            raise SchedulerUnavailableError("nobody answers")
        super().cancel(ids)


def test_a_request_to_cancel_is_kept_until_the_scheduler_has_heard_it(
    workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "_SILENCE", (0.2, 0.2))
    workshop.body(WAITING)
    touch(workshop, "slow1")
    search, scheduler = workshop.search(grid={"x": [1]}, attempts=3), HardOfHearing(slots=1)
    driver = threading.Thread(target=search.run, args=(scheduler,))
    driver.start()
    wait_until(lambda: running(workshop, 1))
    done = document(workshop, "cancel", "out", trial_with(workshop, 1))
    driver.join(20)
    assert not driver.is_alive()
    assert not scheduler.deaf
    assert len(done["trials"]) == 1
    assert (status(workshop)["cancelled"], len(workshop.ran())) == (1, 1)
    scheduler.close()


def test_what_is_cancelled_in_a_dead_drivers_place_is_not_run_again_by_one_at_work(
    workshop: Any,
) -> None:
    search = workshop.search(grid={"x": [1]})
    store, trial = Store.create(search.directory, search.spec, 1), search.proposer.first()
    with store.locked():
        events, attempt = store.begin(trial, "somebody-1-abc", claimed)
        store.write(events)
    assert attempt is not None
    at_work = DriverLock(store.directory)
    try:
        assert control.cancel(store, Local(slots=1), [trial.id]).trials == [trial.id]
    finally:
        at_work.release()
    assert store.ledger.requests() == [("cancel", trial.id, 1)]
