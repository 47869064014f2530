"""The process that makes one attempt at a trial."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hypnet_hpsearch.state.attempts import Attempt
from hypnet_hpsearch.trial import wrapper as trial
from hypnet_hpsearch.trial.files import take_lock, write_once
from hypnet_hpsearch.trial.records import AttemptRecord, ResultRecord

WRITE = (
    "import os, pathlib; pathlib.Path(os.environ['HYPNET_TRIAL_DIR'],"
    " 'summary.json').write_bytes({!r})"
)


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def prepared(
    directory: Path, *argv: str, metric: str = "score", cwd: Path | None = None
) -> Attempt:
    attempt = Attempt(directory / "trials", "abc", 1)
    content: AttemptRecord = {
        "trial": "abc",
        "attempt": 1,
        "options": {},
        "argv": argv,
        "cwd": str(cwd or directory),
        "env": {"HYPNET_TRIAL_DIR": str(attempt.run)},
        "summary": str(attempt.run / "summary.json"),
        "metric": metric,
        "parser": "json",
    }
    assert attempt.create(content)
    return attempt


def must(result: ResultRecord | None) -> ResultRecord:
    assert result is not None
    return result


def start(attempt: Attempt) -> subprocess.Popen[bytes]:
    with attempt.errors.open("wb") as errors:
        return subprocess.Popen(trial.command(attempt.path), stderr=errors, start_new_session=True)


def result_of(directory: Path, *argv: str, **fields: Any) -> ResultRecord:
    attempt = prepared(directory, *argv, **fields)
    code = start(attempt).wait()
    result = attempt.result()
    assert result is not None, attempt.errors.read_text()
    assert code == (0 if result["state"] == "done" else 1)
    assert not attempt.is_alive()
    assert sorted(path.name for path in attempt.path.iterdir()) == [
        "attempt.json",
        "errors.txt",
        "result.json",
        "run",
    ]
    return result


def summarised(directory: Path, summary: bytes, metric: str = "score") -> ResultRecord:
    return result_of(directory, sys.executable, "-c", WRITE.format(summary), metric=metric)


def test_a_trial_that_writes_its_metric_is_done(tmp_path: Path) -> None:
    before = time.time()
    result = summarised(tmp_path, b'{"score": 0.25}')
    assert (result["state"], result["metric"], result["reason"], result["exit_code"]) == (
        "done",
        0.25,
        None,
        0,
    )
    assert (result["trial"], result["attempt"], result["host"]) == ("abc", 1, os.uname().nodename)
    assert before <= result["started"] <= result["ended"] <= time.time()


@pytest.mark.parametrize(
    ("summary", "metric", "value"),
    [
        (b'{"a": {"b": [], "c": 3}}', "a.c", 3.0),
        (b'{"a.c": 1, "a": {"c": 2}}', "a.c", 1.0),
        (b'{"score": -1e308, "x": NaN}', "score", -1e308),
        (b'{"score": 100000000000000000000000}', "score", 1e23),
    ],
)
def test_the_metric_is_a_key_or_a_path_of_keys(
    tmp_path: Path, summary: bytes, metric: str, value: float
) -> None:
    assert summarised(tmp_path, summary, metric)["metric"] == value


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (b"NaN", "nan"),
        (b"Infinity", "inf"),
        (b"-Infinity", "-inf"),
        (b"1e999", "inf"),
        (b"9" * 400, "inf"),
    ],
)
def test_a_metric_that_is_no_finite_number_is_a_result_all_the_same(
    tmp_path: Path, number: bytes, text: str
) -> None:
    result = summarised(tmp_path, b'{"score": ' + number + b"}")
    assert (result["state"], result["metric"]) == ("done", text)


@pytest.mark.parametrize(
    ("summary", "reason"),
    [
        (b"", "its summary.json cannot be read as JSON"),
        (b"accuracy 0.5", "its summary.json cannot be read as JSON"),
        (b'{"score": 1', "its summary.json cannot be read as JSON"),
        (b"\xff\xfe", "its summary.json cannot be read as JSON"),
        (b"[" * 100_000, "its summary.json cannot be read as JSON"),
        (b"[1]", "its summary.json holds no JSON object"),
        (b"null", "its summary.json holds no JSON object"),
        (b"{}", "its summary.json has no metric 'score'; it has nothing"),
        (b'{"loss": 1, "acc": 2}', "its summary.json has no metric 'score'; it has 'loss', 'acc'"),
        (b'{"score": "0.5"}', "its metric 'score' is not a number but \"0.5\""),
        (b'{"score": null}', "its metric 'score' is not a number but null"),
        (b'{"score": true}', "its metric 'score' is not a number but true"),
        (b'{"score": [1]}', "its metric 'score' is not a number but [1]"),
    ],
)
def test_a_summary_without_the_metric_fails_the_trial_and_says_why(
    tmp_path: Path, summary: bytes, reason: str
) -> None:
    result = summarised(tmp_path, summary)
    assert (result["state"], result["metric"], result["exit_code"]) == ("failed", None, 0)
    assert result["reason"] is not None
    assert result["reason"].startswith(reason)
    assert len(result["reason"]) <= 300


def test_a_trial_without_a_summary_has_failed(tmp_path: Path) -> None:
    expected = tmp_path / "trials" / "abc" / "1" / "run" / "summary.json"
    assert result_of(tmp_path, "true")["reason"] == (
        f"it wrote no summary.json (expected at {expected})"
    )


def test_an_exit_code_fails_the_trial_even_with_a_summary(tmp_path: Path) -> None:
    code = WRITE.format(b'{"score": 1}') + "; import sys; sys.exit('out of\\nluck\\n\\n')"
    result = result_of(tmp_path, sys.executable, "-c", code)
    assert (result["state"], result["metric"], result["exit_code"]) == ("failed", None, 1)
    assert result["reason"] == "exit code 1: luck"


def test_a_signal_is_named(tmp_path: Path) -> None:
    result = result_of(tmp_path, sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    assert (result["exit_code"], result["reason"]) == (-9, "killed by SIGKILL")


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    assert (
        result_of(tmp_path, "no such program")["reason"]
        == "cannot start 'no such program': No such file or directory"
    )


def test_a_working_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    result = result_of(tmp_path, "true", cwd=tmp_path / "gone")
    assert result["reason"] == f"cannot start 'true' in {tmp_path}/gone: No such file or directory"


def test_an_argument_list_that_is_too_long_is_named(tmp_path: Path) -> None:
    reason = result_of(tmp_path, "true", "x" * 3_000_000)["reason"]
    assert "Argument list too long" in str(reason)


def test_a_trial_runs_where_it_should_and_with_a_default_broken_pipe(tmp_path: Path) -> None:
    code = (
        "import os, signal, json; assert os.path.isdir(os.environ['HYPNET_TRIAL_DIR']); assert not"
        f" os.read(0, 1);assert os.getcwd() == {str(tmp_path)!r};" + WRITE.format(b'{"score": 1}')
    )
    assert result_of(tmp_path, sys.executable, "-c", code)["state"] == "done"
    piped = (
        "import os, subprocess; assert subprocess.run('sh -c \"kill -PIPE $$\"',"
        " shell=True).returncode"
    )
    again = tmp_path / "again"
    again.mkdir()
    assert result_of(again, sys.executable, "-c", piped)["exit_code"] == 0


def test_a_request_to_end_is_passed_on_and_noted(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    attempt = prepared(
        tmp_path, sys.executable, "-c", f"import time; open({str(ready)!r}, 'w'); time.sleep(60)"
    )
    process = start(attempt)
    wait_until(ready.exists)
    assert attempt.is_alive()
    assert attempt.conclude("?") is None
    process.terminate()
    assert process.wait() == 1
    result = attempt.result()
    assert result is not None
    assert (result["state"], result["reason"]) == ("failed", "ended from outside by SIGTERM")


def test_a_trial_that_finishes_its_work_on_request_is_done(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = f"""
import signal, sys, time
def stop(*_):
    {WRITE.format(b'{"score": 1}')}
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
open({str(ready)!r}, "w")
time.sleep(60)
"""
    attempt = prepared(tmp_path, sys.executable, "-c", code)
    process = start(attempt)
    wait_until(ready.exists)
    process.terminate()
    assert process.wait() == 0
    assert must(attempt.result())["state"] == "done"


def test_an_attempt_whose_process_was_killed_lives_as_long_as_its_command(tmp_path: Path) -> None:
    ready, go = tmp_path / "ready", tmp_path / "go"
    code = (
        f"import os, time; open({str(ready)!r}, 'w')\nwhile not os.path.exists({str(go)!r}):"
        " time.sleep(0.01)"
    )
    attempt = prepared(tmp_path, sys.executable, "-c", code)
    process = start(attempt)
    wait_until(ready.exists)
    process.kill()
    process.wait()
    assert attempt.is_alive()
    assert attempt.conclude("killed") is None
    go.touch()
    wait_until(lambda: not attempt.is_alive())
    assert must(attempt.conclude("killed"))["state"] == "lost"


def test_an_attempt_that_was_given_up_is_not_made_any_more(tmp_path: Path) -> None:
    attempt = prepared(tmp_path, "touch", str(tmp_path / "ran"))
    lost = attempt.conclude("its driver was killed")
    assert lost is not None
    assert (lost["state"], lost["reason"]) == ("lost", "its driver was killed")
    assert start(attempt).wait() == 75
    assert attempt.result() == lost
    assert not (tmp_path / "ran").exists()


def test_an_attempt_is_made_once_even_if_it_is_started_twice(tmp_path: Path) -> None:
    counter = tmp_path / "count"
    code = (
        f"import time; print('x', file=open({str(counter)!r}, 'a')); time.sleep(0.3);"
        + WRITE.format(b'{"score": 1}')
    )
    attempt = prepared(tmp_path, sys.executable, "-c", code)
    processes = [start(attempt) for _ in range(3)]
    assert sorted(process.wait() for process in processes) == [0, 75, 75]
    assert counter.read_text() == "x\n"


def test_somebody_who_only_looks_does_not_stop_an_attempt(tmp_path: Path) -> None:
    attempt = prepared(tmp_path, sys.executable, "-c", WRITE.format(b'{"score": 1}'))
    with (attempt.path / "attempt.json").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_EX)
        process = start(attempt)
        time.sleep(0.3)
    assert process.wait() == 0


def test_an_attempt_that_was_never_written_down_is_lost(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "trials", "abc", 1)
    attempt.path.mkdir(parents=True)
    assert not attempt.is_alive()
    assert must(attempt.conclude("its driver was killed"))["state"] == "lost"


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"state": "merry"}',
        b'{"state": "running", "metric": null}',
        b'{"state": ["done"]}',
        b'{"state": "done", "metric": "much"}',
        b'{"state": "done", "metric": [1]}',
        b'{"state": "failed", "ended": "yesterday"}',
        b'{"state": "failed", "reason": {}}',
    ],
)
def test_a_damaged_result_counts_as_lost(tmp_path: Path, garbage: bytes) -> None:
    attempt = prepared(tmp_path, "true")
    (attempt.path / "result.json").write_bytes(garbage)
    assert attempt.result() is None
    result = attempt.conclude("?")
    assert result is not None
    assert (result["state"], result["reason"]) == ("lost", "its result.json is damaged")


def test_the_first_result_stays(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    assert write_once(path, "first")
    assert not write_once(path, "second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    found = subprocess.run(
        trial.command(tmp_path / "gone"), capture_output=True, text=True, check=False
    )
    assert found.returncode == 74
    assert found.stderr.startswith("hypnet: ")
    assert found.stderr.count("\n") == 1
    (tmp_path / "attempt.json").write_text(json.dumps([]))
    assert (
        subprocess.run(trial.command(tmp_path), capture_output=True, check=False).returncode == 74
    )


def test_the_wrapper_imports_nothing_heavy() -> None:
    code = "import sys; from hypnet_hpsearch.trial import wrapper as trial; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"pydantic", "torch", "numpy", "typer", "rich", "hypnet_core", "subprocess"} & set(
        modules
    )


def test_sigkill_of_everything_leaves_an_attempt_that_is_dead(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    attempt = prepared(
        tmp_path, sys.executable, "-c", f"import time; open({str(ready)!r}, 'w'); time.sleep(60)"
    )
    process = start(attempt)
    wait_until(ready.exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not attempt.is_alive())
    assert must(attempt.conclude("it was killed"))["reason"] == "it was killed"


def test_the_lock_can_be_had_on_nfs_too(tmp_path: Path) -> None:
    """There, nobody is given a lock who has opened the file only to read."""
    (tmp_path / "attempt.json").write_text("{}")
    lock = take_lock(tmp_path)
    assert lock is not None
    assert fcntl.fcntl(lock, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
    os.close(lock)


def test_the_cores_are_given_back_before_the_result_is_written(tmp_path: Path) -> None:
    attempt = prepared(tmp_path, sys.executable, "-c", WRITE.format(b'{"score": 1}'))
    code = (
        "import pathlib, sys; from hypnet_hpsearch.trial import wrapper as trial; place ="
        " pathlib.Path(sys.argv[1]);seen = []; trial.main([place], lambda: seen.append(((place /"
        " 'run/summary.json').exists(), (place / 'result.json').exists())));print(seen)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, attempt.path], capture_output=True, text=True, check=True
    )
    assert found.stdout == "[(True, False)]\n"
    assert attempt.result() is not None
