"""Drivers, workers and launchers are killed, and journals are torn.

At the end every trial has exactly one result, and the right one.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hypnet_hpsearch import Search, SearchSpec, TrialState
from hypnet_hpsearch.execution.display import Lines
from hypnet_hpsearch.schedulers.local.processes import Identity
from hypnet_hpsearch.state.store import Store

TRIAL = """
import json, os, sys, time
options = dict(argument.split("=", 1) for argument in sys.argv[1:])
log = os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(log, f"begin {options['x']}\\n".encode())
time.sleep(float(options["sleep"]))
with open(os.path.join(os.environ["HYPNET_TRIAL_DIR"], "summary.json"), "w") as file:
    json.dump({"score": int(options["x"]) ** 2}, file)
os.write(log, f"end {options['x']}\\n".encode())
"""


class Driver:
    """A driver in a process of its own: a fork of this one, which saves the imports."""

    def __init__(self, fields: dict[str, Any], out: Path) -> None:
        reader, writer = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            drive(fields, out, writer)
        os.close(writer)
        self._said = os.fdopen(reader)

    def poll(self) -> int | None:
        if self.returncode is None and self._has_ended():
            self.communicate()
        return self.returncode

    def _has_ended(self) -> bool:
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def communicate(self, timeout: float = 60) -> str:
        """All of its output, after its end."""
        end = time.monotonic() + timeout
        while self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
            assert time.monotonic() < end, "the driver does not end"
            time.sleep(0.005)
        with self._said:
            return self._said.read()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def drive(fields: dict[str, Any], out: Path, writer: int) -> None:
    """Be a driver; never returns."""
    code = 1
    try:
        os.setsid()
        # What a killed driver leaves in the user's cache must not reach other tests.
        os.environ["XDG_CACHE_HOME"] = str(out.parent)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
        logger = logging.getLogger("hypnet")
        logger.handlers, logger.propagate = [logging.StreamHandler(sys.stdout)], False
        logger.setLevel(logging.INFO)
        Search(SearchSpec(**fields), out).run(observer=Lines())
        code = 0
    except KeyboardInterrupt:
        code = 130
    finally:
        if code == 1:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(code)


class Chaos:
    """A search whose drivers are processes of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.out = path / "out"
        (path / "trial.py").write_text(TRIAL)
        self.fields: dict[str, Any] = {}

    def plan(self, trials: int, sleep: float = 0.01, slots: int = 2, **fields: Any) -> None:
        self.fields = {
            "name": "chaos",
            "command": [sys.executable, "-S", "trial.py", "{options}"],
            "style": "key=value",
            "metric": "score",
            "direction": "minimize",
            "base": {"sleep": sleep},
            "grid": {"x": list(range(trials))},
            "scheduler": {"name": "local", "slots": slots},
            "cwd": str(self.path),
            **fields,
        }

    @property
    def search(self) -> Search:
        return Search(SearchSpec(**self.fields), self.out)

    def drive(self) -> Driver:
        return Driver(self.fields, self.out)

    def log(self) -> Counter[str]:
        path = self.path / "log"
        return Counter(path.read_text().splitlines() if path.exists() else [])

    def workers(self) -> list[int]:
        """Processes of attempts that live."""
        store = Store(self.out)
        store.refresh()
        jobs = [store.ledger.trials[trial].job.rpartition(":")[0] for trial in store.ledger.running]
        return [
            found.pid for found in map(Identity.parse, jobs) if found is not None and found.alive
        ]

    def done(self) -> int:
        return self.search.status().done

    def check(self, trials: int) -> None:
        """Each trial has exactly one result, and it is right."""
        search = self.search
        results = search.results()
        assert Counter(result.state for result in results) == {TrialState.DONE: trials}
        assert [(result.metric, result.options["x"]) for result in results] == [
            (x**2, x) for x in range(trials)
        ]
        for result in results:
            found = [
                json.loads(path.read_text())
                for path in (self.out / "trials" / result.trial).glob("*/result.json")
            ]
            assert [one["metric"] for one in found if one["state"] == "done"] == [result.metric]
        assert (self.out / "results.csv").read_text().count("\n") == trials + 1


@pytest.fixture
def chaos(tmp_path: Path) -> Chaos:
    return Chaos(tmp_path)


def finish(driver: Driver, code: int = 0) -> str:
    said = driver.communicate()
    assert driver.returncode == code, said
    return said


def wait_until(happened: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def kill(driver: Driver, *, launcher_too: bool = False) -> None:
    children = Path(f"/proc/{driver.pid}/task/{driver.pid}/children")
    launchers = (
        [int(pid) for pid in children.read_text().split()]
        if launcher_too and children.exists()
        else []
    )
    for pid in launchers:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()


@pytest.mark.parametrize("launcher_too", [False, True])
def test_a_killed_driver_loses_nothing_and_repeats_nothing(
    chaos: Chaos, launcher_too: bool
) -> None:
    chaos.plan(6, sleep=0.4)
    driver = chaos.drive()
    wait_until(lambda: chaos.log()["end 0"] and chaos.log().total() >= 6)
    kill(driver, launcher_too=launcher_too)

    said = finish(chaos.drive())
    chaos.check(6)
    assert chaos.log() == {f"{what} {x}": 1 for x in range(6) for what in ("begin", "end")}
    assert "to run:" in said


def test_trials_that_end_while_no_driver_looks_are_taken_in(chaos: Chaos) -> None:
    chaos.plan(4, sleep=0.3)
    driver = chaos.drive()
    wait_until(lambda: chaos.log()["begin 1"])
    kill(driver)
    wait_until(lambda: not chaos.workers())
    assert chaos.done() == 2
    said = finish(chaos.drive())
    assert "4 trials, 2 done; to run: 2 (0 not begun, 0 failed, 2 interrupted)" in said
    assert chaos.log() == {f"{what} {x}": 1 for x in range(4) for what in ("begin", "end")}


def test_two_drivers_at_once_never_run_a_trial_twice(chaos: Chaos) -> None:
    chaos.plan(60, sleep=0.02)
    drivers = [chaos.drive() for _ in range(3)]
    for driver in drivers:
        finish(driver)
    chaos.check(60)
    assert chaos.log() == {f"{what} {x}": 1 for x in range(60) for what in ("begin", "end")}


def test_a_driver_takes_over_from_one_that_is_killed_beside_it(chaos: Chaos) -> None:
    chaos.plan(20, sleep=0.1)
    first = chaos.drive()
    wait_until(lambda: chaos.log()["begin 0"])
    second = chaos.drive()
    wait_until(lambda: chaos.log().total() > 12)
    kill(first)
    finish(second)
    chaos.check(20)
    assert chaos.log() == {f"{what} {x}": 1 for x in range(20) for what in ("begin", "end")}


def test_ctrl_c_ends_the_running_trials_and_the_next_start_goes_on(chaos: Chaos) -> None:
    chaos.plan(4, sleep=0.4)
    driver = chaos.drive()
    wait_until(lambda: chaos.log()["begin 0"] and chaos.log()["begin 1"])
    driver.send_signal(signal.SIGINT)
    finish(driver, 130)
    assert not chaos.workers()
    assert chaos.search.status().cancelled >= 2
    assert chaos.log()["end 0"] == 0
    said = finish(chaos.drive())
    assert "0 done; to run: 4" in said
    chaos.check(4)


def test_a_killed_worker_is_run_again(chaos: Chaos) -> None:
    chaos.plan(6, sleep=0.2)
    driver = chaos.drive()
    wait_until(lambda: chaos.log()["begin 0"])
    for pid in chaos.workers():
        os.kill(pid, signal.SIGKILL)
    finish(driver)
    chaos.check(6)


def test_a_status_from_another_shell_counts_what_runs(chaos: Chaos) -> None:
    chaos.plan(8, sleep=0.25)
    driver = chaos.drive()
    wait_until(lambda: chaos.log()["end 1"] and chaos.done() and chaos.search.status().running)
    status = chaos.search.status()
    assert status.total == 8
    assert status.done >= 1
    assert status.running >= 1
    assert status.done + status.running + status.queued + status.missing == 8
    assert status.running <= 4  # two, and two whose results are being written
    kill(driver)
    finish(chaos.drive())


def test_the_csv_is_kept_up_to_date_while_the_search_runs(chaos: Chaos) -> None:
    chaos.plan(
        3, sleep=0.1, slots=1, grid={"x": [0, 1, 2], "sleep": [0.05, 60]}, base={}, max_trials=6
    )
    driver = chaos.drive()
    path = chaos.out / "results.csv"
    wait_until(lambda: path.exists() and ",done," in path.read_text())
    assert driver.poll() is None
    driver.send_signal(signal.SIGINT)
    finish(driver, 130)


def test_a_journal_that_is_torn_while_drivers_work_is_mended(chaos: Chaos) -> None:
    chaos.plan(60, sleep=0.03)
    drivers = [chaos.drive() for _ in range(2)]
    journal = chaos.out / "journal.jsonl"
    generator = random.Random(1)
    wait_until(lambda: chaos.log().total() > 10)
    for _ in range(5):
        size = journal.stat().st_size
        os.truncate(journal, max(0, size - generator.randrange(1, 2000)))
        time.sleep(0.15)
    for driver in drivers:
        finish(driver)
    finish(chaos.drive())
    chaos.check(60)
    log = chaos.log()
    assert all(log[f"end {x}"] == 1 for x in range(60)), log.most_common(3)


def test_two_hundred_trials_survive_everything(chaos: Chaos) -> None:
    """25 drivers are killed, workers and launchers too, and the journal is torn."""
    chaos.plan(200, sleep=0.005)
    generator = random.Random(0)
    journal = chaos.out / "journal.jsonl"
    for kills in range(25):
        driver = chaos.drive()
        time.sleep(generator.uniform(0.02, 0.25))
        if chaos.out.joinpath("search.json").exists():
            for pid in chaos.workers():
                with suppress(ProcessLookupError):
                    os.kill(pid, generator.choice([0, signal.SIGKILL, signal.SIGTERM]))
        if journal.exists() and kills % 3 == 0:
            os.truncate(journal, max(0, journal.stat().st_size - generator.randrange(300)))
        kill(driver, launcher_too=bool(generator.randrange(2)))
        if journal.exists() and kills % 4 == 0:
            os.truncate(journal, max(0, journal.stat().st_size - generator.randrange(300)))
    finish(chaos.drive())
    chaos.check(200)
