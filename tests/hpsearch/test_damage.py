"""Damaged records, pipes in the place of files, and programs that outlive others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hypnet_hpsearch import TrialState
from hypnet_hpsearch.cli.schemas import TableDocument
from hypnet_hpsearch.results.table import csv_of
from hypnet_hpsearch.state import Attempt, Store
from hypnet_hpsearch.state.ledger import Ledger
from hypnet_hpsearch.trial import wrapper
from hypnet_hpsearch.trial.files import last_line, read_text
from hypnet_hpsearch.trial.records import AttemptRecord

JUNK: tuple[Any, ...] = (None, "x", "nan", [], [1], {}, True, -1, 1e400)


def seen_by_everyone(workshop: Any, search: Any) -> tuple[Any, list[Any]]:
    """The status and the results, after every reader has read them."""
    status, results = search.status(), search.results()
    store = Store.glimpsed(search.directory)
    csv_of(store, search.spec)
    TableDocument.of(store, search.spec).model_dump_json()
    for arguments in (["table", "out"], ["best", "out"], ["export", "out"]):
        done = workshop.command(*arguments)
        assert done.returncode == 0, done.stderr
    return status, results


@pytest.mark.parametrize("name", ["result.json", "attempt.json"])
def test_one_damaged_record_never_hides_the_other_trials(workshop: Any, name: str) -> None:
    search = workshop.run(grid={"x": [1, 2, 3]})
    trial = min((workshop.out / "trials").iterdir())
    path, text = trial / "1" / name, (trial / "1" / name).read_text()
    record = json.loads(text)
    damaged = [json.dumps({**record, key: junk}) for key in record for junk in JUNK]
    for content in [*damaged, "", "[]", "null", "{", "7"]:
        (workshop.out / "journal.jsonl").unlink(missing_ok=True)
        path.write_text(content)
        status = search.status()
        assert status.done >= 2, content
        assert len(search.results()) == 3, content
    path.write_text(json.dumps({**record, "started": None, "state": "merry", "options": 5}))
    status, results = seen_by_everyone(workshop, search)
    assert (status.done, status.lost) == ((2, 1) if name == "result.json" else (3, 0))
    if name == "result.json":
        [lost] = [result for result in results if result.state is TrialState.LOST]
        assert (lost.trial, lost.reason) == (trial.name, "its result.json is damaged")


def test_a_damaged_event_is_counted_and_never_hides_the_others(workshop: Any) -> None:
    search = workshop.run(grid={"x": [1, 2]})
    journal = workshop.out / "journal.jsonl"
    lines = journal.read_text().splitlines()
    first: dict[str, int] = {}
    for number, line in enumerate(lines):
        first.setdefault(json.loads(line)["event"], number)
    for number in first.values():
        event = json.loads(lines[number])
        for key in event:
            for junk in JUNK:
                text = json.dumps({**event, key: junk})
                journal.write_text("\n".join([*lines[:number], text, *lines[number + 1 :]]) + "\n")
                assert search.status().done == 2, text
                store = Store.glimpsed(search.directory)
                TableDocument.of(store, search.spec).model_dump_json(warnings="error")


@pytest.mark.parametrize(
    "event",
    [
        {"event": "claim", "trial": "a", "attempt": float("inf"), "driver": "d"},
        {"event": "claim", "trial": "a", "attempt": 1, "driver": "d", "options": [1]},
        {"event": "claim", "trial": "a", "attempt": 1, "driver": "d", "options": "x"},
    ],
)
def test_events_with_impossible_values_are_damaged(event: dict[str, Any]) -> None:
    ledger = Ledger()
    ledger.add([event])
    assert (ledger.damaged, ledger.trials) == (1, {})


def test_durations_do_not_depend_on_the_clock_of_the_wall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = prepared(tmp_path, "sleep", "0.2")
    times = iter([1e9, 0.0])  # the clock is turned back while the trial runs
    monkeypatch.setattr(time, "time", lambda: next(times))
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    before = Path.cwd()
    try:
        assert wrapper.main([str(attempt.path)]) == 1
    finally:
        os.chdir(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    result: Any = attempt.result()
    assert result["ended"] < result["started"]
    assert 0.15 < result["seconds"] < 5


def prepared(directory: Path, *argv: str) -> Attempt:
    attempt = Attempt(directory / "trials", "abc", 1)
    record: AttemptRecord = {
        "trial": "abc",
        "attempt": 1,
        "options": {},
        "argv": argv,
        "cwd": str(directory),
        "env": {},
        "summary": str(attempt.run / "summary.json"),
        "metric": "score",
        "parser": "json",
    }
    attempt.create(record)
    attempt.run.mkdir()
    return attempt


@pytest.mark.parametrize("parser", ["json", "lines", "reader:read"])
def test_a_pipe_in_the_place_of_a_summary_is_refused_at_once(workshop: Any, parser: str) -> None:
    (workshop.path / "reader.py").write_text("def read(path): return {'score': path.read_text()}")
    workshop.body("os.mkfifo(os.path.join(out, 'results')); sys.exit()")
    began = time.monotonic()
    search = workshop.run(grid={"x": [1]}, summary="results", parser=parser)
    assert time.monotonic() - began < 10
    [result] = search.results()
    assert (result.state, result.reason) == (
        TrialState.FAILED,
        "its results cannot be read: it is not a regular file",
    )


def test_pipes_in_the_place_of_records_are_refused_at_once(workshop: Any) -> None:
    workshop.body(
        "for name in ('pruned.json', 'run/config.json'):\n"
        "    os.mkfifo(os.path.join(out, '..', name))\n"
        "os.unlink(os.path.join(out, '..', 'errors.txt'))\n"
        "os.mkfifo(os.path.join(out, '..', 'errors.txt'))\n"
        "sys.exit(3)"
    )
    search = workshop.run(grid={"x": [1]})
    [result] = search.results()
    assert (result.state, result.reason) == (TrialState.FAILED, "exit code 3")
    assert workshop.command("export", "out", "--trial", result.trial).returncode == 0


def test_reading_a_file_of_a_trial(tmp_path: Path) -> None:
    path = tmp_path / "errors.txt"
    path.write_bytes(b"x" * 5000 + b"\xff\n last \n\n")
    assert last_line(path) == "last"
    assert len(read_text(path, 10)) == 10
    os.mkfifo(tmp_path / "pipe")
    assert last_line(tmp_path / "pipe") == ""
    for other in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            read_text(other)


OUTLIVING = """
if os.fork():
    os.kill(os.getppid(), 9)  # the process around it
    os._exit(0)
os.setsid()
time.sleep(0.5)
"""


@pytest.mark.parametrize("complete", [True, False])
def test_a_program_that_outlives_the_process_around_it_is_not_repeated(
    tmp_path: Path, complete: bool
) -> None:
    program = f"import os, time\n{OUTLIVING}\nopen({str(tmp_path / 'ran')!r}, 'a').write('x')\n"
    summary = tmp_path / "trials" / "abc" / "1" / "run" / "summary.json"
    content = '{"score": 7, "other": 8}' if complete else '{"score"'
    program += f"open({str(summary)!r}, 'w').write({content!r})"
    attempt = prepared(tmp_path, sys.executable, "-c", program)
    pid = os.posix_spawn(sys.executable, wrapper.command(attempt.path), os.environ, setsid=True)
    os.waitpid(pid, 0)
    assert attempt.conclude("it was killed", outlived=True) is None  # the command still runs
    end = time.monotonic() + 10
    while attempt.is_alive():
        assert time.monotonic() < end
        time.sleep(0.02)
    result: Any = attempt.conclude("it was killed", outlived=True)
    if complete:
        assert (result["state"], result["metric"]) == ("done", 7.0)
        assert result["numbers"] == {"score": 7.0, "other": 8.0}
        assert result["reason"] == "the process around it was killed, its summary is complete"
    else:
        assert (result["state"], result["reason"]) == ("lost", "it was killed")
    assert attempt.result() == result


def test_the_summary_of_a_trial_that_was_given_up_does_not_count(tmp_path: Path) -> None:
    attempt = prepared(tmp_path, "true")
    (attempt.run / "summary.json").write_text('{"score": 7}')
    attempt.prune("pruned at step 3", 0.5)
    result: Any = attempt.conclude("it was killed", outlived=True)
    assert result["state"] == "pruned"


def test_a_search_whose_processes_are_all_killed_takes_what_its_programs_finish(
    workshop: Any,
) -> None:
    workshop.body(
        "if options['x'] == '1' and not os.path.exists('killed'):\n"
        "    open('killed', 'w').close()\n"
        "    parents = [os.getppid()]\n"
        "    stat = open(f'/proc/{parents[0]}/stat').read().rpartition(')')[2].split()\n"
        "    os.setsid()\n"
        "    for pid in (int(stat[1]), parents[0]): os.kill(pid, 9)\n"  # launcher and wrapper
        "    time.sleep(0.5)"
    )
    search = workshop.run(grid={"x": [1]})
    assert [ran["x"] for ran in workshop.ran()] == ["1"]
    [result] = search.results()
    assert (result.state, result.metric, result.attempt) == (TrialState.DONE, 1.0, 1)
    shutil.rmtree(workshop.out / "drivers")
    (workshop.out / "journal.jsonl").unlink()
    assert search.status().done == 1
