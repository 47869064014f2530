"""Searches from Python: what is run, what is run again, and what is said about it.

Real processes throughout.
"""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hypnet_core.errors import ComponentError, ConfigError, RunError, SchedulerError
from hypnet_core.testing.scheduler import HOSTILE
from hypnet_hpsearch import Inventory, Search, SearchProgress, SearchSpec, TrialRecord, TrialState

TRIAL = """
import json, os, sys
options = dict(argument.split("=", 1) for argument in sys.argv[1:])
out = os.environ["HYPNET_TRIAL_DIR"]
with open("ran", "a") as log:
    log.write(json.dumps(options) + "\\n")
{body}
with open(os.path.join(out, "summary.json"), "w") as file:
    json.dump({{"score": float(options["x"]), "options": options}}, file)
"""


class Listener:
    """Remembers what a driver tells."""

    def __init__(self) -> None:
        self.start: Inventory | None = None
        self.ends: list[tuple[str, TrialState]] = []
        self.warnings: list[str] = []
        self.progress: SearchProgress | None = None

    def started(self, start: Inventory) -> None:
        self.start = start

    def ended(self, record: TrialRecord, progress: Callable[[], SearchProgress]) -> None:
        self.ends.append((record.id, record.state))
        self.progress = progress()

    def working(self, progress: Callable[[], SearchProgress]) -> None:
        self.progress = progress()

    def warned(self, message: str) -> None:
        self.warnings.append(message)


class Bench:
    """A directory with a trial program, and searches over it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.body("")

    def body(self, body: str) -> None:
        (self.path / "trial.py").write_text(TRIAL.format(body=body))

    def search(self, **fields: Any) -> Search:
        least = {
            "name": "x",
            "command": [sys.executable, "-S", "trial.py", "{options}"],
            "style": "key=value",
            "metric": "score",
            "direction": "maximize",
            "grid": {"x": [1, 2, 3, 4]},
            "cwd": self.path,
        }
        return Search(SearchSpec(**{**least, **fields}), self.path / "out")

    def run(self, **fields: Any) -> tuple[Search, Listener]:
        search, listener = self.search(**fields), Listener()
        search.run(observer=listener)
        return search, listener

    def ran(self) -> list[dict[str, str]]:
        path = self.path / "ran"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_every_trial_is_run_once_and_the_best_is_found(bench: Bench) -> None:
    search, listener = bench.run()
    assert sorted(ran["x"] for ran in bench.ran()) == ["1", "2", "3", "4"]
    assert listener.start == Inventory(
        total=4,
        done=0,
        failed=0,
        interrupted=0,
        running=0,
        missing=4,
        damaged=0,
        searched=("x",),
        directory=str(bench.path / "out"),
    )
    assert Counter(state for _, state in listener.ends) == {TrialState.DONE: 4}
    status = search.status()
    assert (status.total, status.done, status.missing, status.failed, status.running) == (
        4,
        4,
        0,
        0,
        0,
    )
    assert [result.metric for result in search.results()] == [4, 3, 2, 1]
    best = search.best()
    assert (best.options, best.metric) == ({"x": 4}, 4.0)
    assert json.loads(Path(best.directory, "summary.json").read_text())["score"] == 4


def test_small_is_good_if_the_search_says_so(bench: Bench) -> None:
    search, _ = bench.run(direction="minimize")
    assert [result.metric for result in search.results()] == [1, 2, 3, 4]
    assert search.best().metric == 1


def test_a_finished_search_runs_nothing_again(bench: Bench) -> None:
    bench.run()
    search, listener = bench.run()
    assert len(bench.ran()) == 4
    assert listener.start == Inventory(
        total=4,
        done=4,
        failed=0,
        interrupted=0,
        running=0,
        missing=0,
        damaged=0,
        searched=("x",),
        directory=str(bench.path / "out"),
    )
    assert listener.ends == []
    assert search.status().done == 4


def test_starting_again_runs_what_is_missing_or_failed(bench: Bench) -> None:
    bench.body("if options['x'] in '24' and not os.path.exists('fixed'): sys.exit('not yet')")
    search, listener = bench.run(max_trials=3)
    assert search.status().failed == 1
    assert [result.reason for result in search.results() if result.state == "failed"] == [
        "exit code 1: not yet"
    ]
    (bench.path / "fixed").touch()
    search, listener = bench.run()
    assert listener.start == Inventory(
        total=4,
        done=2,
        failed=1,
        interrupted=0,
        running=0,
        missing=1,
        damaged=0,
        searched=("x",),
        directory=str(bench.path / "out"),
    )
    assert search.status().done == 4
    assert Counter(ran["x"] for ran in bench.ran()) == {"1": 1, "2": 2, "3": 1, "4": 1}


def test_a_failed_trial_is_tried_as_often_as_asked_each_time(bench: Bench) -> None:
    bench.body("if options['x'] == '2': sys.exit(3)")
    for start in (1, 2):
        search, _ = bench.run(attempts=3)
        assert Counter(ran["x"] for ran in bench.ran())["2"] == 3 * start
    failed = next(result for result in search.results() if result.state == "failed")
    assert (failed.attempt, failed.reason, failed.metric) == (6, "exit code 3", None)
    assert search.status().failed == 1


def test_a_second_attempt_may_succeed(bench: Bench) -> None:
    bench.body(
        "if not os.path.exists('t' + options['x']):\n    open('t' + options['x'], 'w').close();"
        " sys.exit(1)"
    )
    search, listener = bench.run(attempts=2)
    assert search.status().done == 4
    assert Counter(state for _, state in listener.ends) == {
        TrialState.FAILED: 4,
        TrialState.DONE: 4,
    }
    assert {result.attempt for result in search.results()} == {2}


def test_a_trial_whose_process_is_killed_is_tried_again(bench: Bench) -> None:
    bench.body(
        "if not os.path.exists('t' + options['x']):\n    open('t' + options['x'], 'w').close();"
        " os.killpg(0, 9)"
    )
    search, listener = bench.run()
    assert search.status().done == 4
    assert Counter(state for _, state in listener.ends) == {TrialState.LOST: 4, TrialState.DONE: 4}


def test_a_trial_that_is_always_killed_is_given_up(bench: Bench) -> None:
    bench.body("if options['x'] == '2': os.killpg(0, 9)")
    search, _ = bench.run()
    assert (search.status().done, search.status().lost) == (3, 1)
    assert Counter(ran["x"] for ran in bench.ran())["2"] == 5


def test_hostile_values_reach_the_trial_unchanged(bench: Bench) -> None:
    texts = [text for text in HOSTILE if text]
    search, _ = bench.run(grid={"x": [1], "text": texts})
    assert search.status().done == len(texts)
    assert sorted(ran["text"] for ran in bench.ran()) == sorted(texts)
    with (search.directory / "results.csv").open(newline="") as file:
        assert sorted(row["text"] for row in csv.DictReader(file)) == sorted(texts)


def test_a_trial_over_its_time_limit_has_failed_and_says_so(bench: Bench) -> None:
    bench.body("import time; time.sleep(60 if options['x'] == '1' else 0)")
    search, _ = bench.run(grid={"x": [1, 2]}, resources={"time_limit": 0.5})
    assert search.status().done == 1
    assert [result.reason for result in search.results() if result.state == "failed"] == [
        "over its time limit of 0:00:00.500000"
    ]


@pytest.mark.parametrize("times", [{}, {"ended": 7.5}, {"started": None, "ended": 7.5}])
def test_a_record_without_times_is_not_over_its_time_limit(
    bench: Bench, times: dict[str, Any]
) -> None:
    record = {"state": "failed", "metric": None, "reason": "ended from outside", **times}
    bench.body(
        f"with open(os.path.join(out, '..', 'result.json'), 'w') as file:"
        f"\n    json.dump({record!r}, file)"
    )
    search, _ = bench.run(grid={"x": [1]}, resources={"time_limit": 60})
    result = search.results()[0]
    assert (result.state, result.reason) == (TrialState.FAILED, "ended from outside")
    assert result.seconds is None


def test_seeds_are_options_and_columns(bench: Bench) -> None:
    search, _ = bench.run(grid={"x": [1, 2]}, seeds=2)
    assert sorted((ran["x"], ran["seed"]) for ran in bench.ran()) == [
        ("1", "0"),
        ("1", "1"),
        ("2", "0"),
        ("2", "1"),
    ]
    assert (
        (search.directory / "results.csv")
        .read_text()
        .startswith("trial,state,metric,x,seed,seconds,")
    )


def test_the_csv_holds_every_trial_that_ended_best_first(bench: Bench) -> None:
    bench.body("if options['x'] == '2': sys.exit(3)")
    search, _ = bench.run()
    with (search.directory / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["x"], row["state"], row["metric"], row["reason"]) for row in rows] == [
        ("4", "done", "4.0", ""),
        ("3", "done", "3.0", ""),
        ("1", "done", "1.0", ""),
        ("2", "failed", "", "exit code 3"),
    ]
    assert all(Path(row["directory"]).is_dir() for row in rows)


def test_a_metric_that_is_no_number_is_a_result_that_is_never_best(bench: Bench) -> None:
    search, _ = bench.run(grid={"x": ["nan", "inf", "-inf", 1]})
    status = search.status()
    assert (status.done, status.without_number, status.failed) == (4, 3, 0)
    assert search.best().metric == 1.0
    assert sorted(str(result.metric) for result in search.results()) == [
        "-inf",
        "1.0",
        "inf",
        "nan",
    ]
    _, listener = bench.run(grid={"x": ["nan", "inf", "-inf", 1]})
    assert listener.ends == []


def test_of_equal_trials_everybody_names_the_same(bench: Bench) -> None:
    bench.body("options['x'] = 1")
    search, listener = bench.run(grid={"x": list(range(8))})
    status = search.status()
    assert status.best == search.best() == search.results()[0]
    assert listener.progress is not None
    assert listener.progress.best is not None
    assert (
        listener.progress.best.id
        == search.best().trial
        == min(result.trial for result in search.results())
    )


def test_a_search_without_a_number_has_no_best(bench: Bench) -> None:
    search, _ = bench.run(grid={"x": ["nan"]})
    with pytest.raises(RunError, match="no trial has a number for a result yet"):
        search.best()


def test_a_metric_that_trials_do_not_report_is_named(bench: Bench) -> None:
    search, _ = bench.run(metric="accuracy")
    assert search.status().failed == 4
    assert {result.reason for result in search.results()} == {
        "its summary.json has no metric 'accuracy'; it has 'score', 'options'"
    }


def test_another_search_in_the_same_directory_is_refused(bench: Bench) -> None:
    bench.run()
    before = (bench.path / "out" / "search.json").read_bytes()
    with pytest.raises(
        RunError, match=r"out holds another search, which differs in metric: choose another"
    ):
        bench.run(grid={"x": [1, 5]}, metric="other")
    assert (bench.path / "out" / "search.json").read_bytes() == before


def test_what_is_not_the_searchs_identity_may_change(bench: Bench) -> None:
    bench.run(max_trials=1)
    search, listener = bench.run(attempts=3, resources={"memory": "1GiB"}, name="renamed")
    assert listener.start is not None
    assert (listener.start.done, listener.start.missing) == (1, 3)
    assert search.status().name == "renamed"


def test_trials_that_are_asked_for_no_more_still_count(bench: Bench) -> None:
    bench.run(max_trials=3)
    assert bench.search(max_trials=1).run().total == 3
    bench.body("if options['x'] == '4': sys.exit('broken')")
    search, listener = bench.run(
        grid={"x": [1, 2, 3, 4]}, max_trials=2, order="shuffled", order_seed=1
    )
    others = {result.options["x"] for result in search.results()} - {1, 2, 3}
    status = search.status()
    assert others == {4}, "the order is not one that asks for another trial"
    assert (status.total, status.done, status.failed, status.missing) == (4, 3, 1, 0)
    assert listener.progress is not None
    assert listener.progress.total == 4


def test_a_directory_with_something_else_is_refused(bench: Bench) -> None:
    (bench.path / "out").mkdir()
    (bench.path / "out" / "thesis.tex").touch()
    with pytest.raises(RunError, match="is not empty and holds no search"):
        bench.run()


@pytest.mark.parametrize("garbage", ["", "{", "[]", '{"format": 1}', '{"format": 99, "spec": {}}'])
def test_a_damaged_search_file_is_named(bench: Bench, garbage: str) -> None:
    bench.run()
    (bench.path / "out" / "search.json").write_text(garbage)
    with pytest.raises(RunError, match=r"search.json"):
        bench.run()


def test_a_status_needs_a_search(bench: Bench) -> None:
    with pytest.raises(RunError, match=r"holds no search: there is no search\.json"):
        bench.search().status()


def test_an_unknown_scheduler_or_option_is_named(bench: Bench) -> None:
    with pytest.raises(
        ComponentError, match=r"there is no scheduler 'locall'; did you mean 'local'"
    ):
        bench.run(scheduler="locall")
    with pytest.raises(ConfigError, match=r"slot"):
        bench.run(scheduler={"name": "local", "slot": 3})
    with pytest.raises(ConfigError, match="'scheduler' has no 'name'"):
        bench.run(scheduler={"slots": 3})
    assert not (bench.path / "out").exists()


def test_what_the_scheduler_refuses_is_said_and_can_be_run_later(bench: Bench) -> None:
    with pytest.raises(SchedulerError, match="asks for 64 cores, but there are only 2 slots"):
        bench.run(resources={"cpus": 64}, scheduler={"name": "local", "slots": 2})
    search, _ = bench.run()
    assert search.status().done == 4


def test_conditions_restrict_what_is_run(bench: Bench) -> None:
    search, _ = bench.run(
        grid={"x": [1, 2], "y": [1, 2, 3]}, conditions=[{"when": {"x": 2}, "then": {"y": 1}}]
    )
    assert sorted((ran["x"], ran["y"]) for ran in bench.ran()) == [
        ("1", "1"),
        ("1", "2"),
        ("1", "3"),
        ("2", "1"),
    ]
    assert search.status().total == 4


def test_a_lost_journal_is_found_again_on_disk(bench: Bench) -> None:
    bench.run()
    (bench.path / "out" / "journal.jsonl").unlink()
    assert bench.search().status().done == 4
    search, listener = bench.run()
    assert listener.start is not None
    assert (listener.start.done, listener.start.missing) == (4, 0)
    assert len(bench.ran()) == 4
    assert {tuple(result.options.items()) for result in search.results()} == {
        (("x", x),) for x in (1, 2, 3, 4)
    }


def test_every_way_to_tear_the_journal_ends_with_the_same_results(bench: Bench) -> None:
    bench.body(
        "if options['x'] == '2' and not os.path.exists('second'):\n    open('second', 'w').close();"
        " sys.exit(1)"
    )
    search, _ = bench.run(attempts=2)
    wanted = search.results()
    journal = bench.path / "out" / "journal.jsonl"
    whole = journal.read_bytes()
    for size in range(0, len(whole), 97):
        journal.write_bytes(whole[:size])
        again, _ = bench.run()
        assert [(r.trial, r.state, r.metric, r.options) for r in again.results()] == [
            (r.trial, r.state, r.metric, r.options) for r in wanted
        ]
    assert len(bench.ran()) == 5


def test_garbage_in_the_journal_is_counted_and_passed_over(bench: Bench) -> None:
    bench.run()
    journal = bench.path / "out" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[2] = b'\xff{"half\n'
    lines.insert(5, b'{"event": "dance", "trial": "x", "attempt": 1}\n')
    journal.write_bytes(b"".join(lines))
    search, listener = bench.run()
    assert listener.start is not None
    assert listener.start.damaged == 2
    assert search.status().done == 4
    assert len(bench.ran()) == 4


def test_a_trial_that_writes_a_wrong_result_is_lost_and_ends_the_search(bench: Bench) -> None:
    bench.body(
        "if options['x'] == '2':\n"
        "    json.dump({'state': 'merry'}, open(os.path.join(out, '..', 'result.json'), 'w'))"
    )
    # Lost trials are tried again, but not without end.
    search, _ = bench.run()
    states = sorted(row.state.value for row in search.results())
    assert states == ["done", "done", "done", "lost"]
    lost = next(row for row in search.results() if row.state is TrialState.LOST)
    assert lost.reason == "its result.json is damaged"


def test_a_long_search_keeps_its_progress(bench: Bench) -> None:
    _, listener = bench.run(grid={"x": list(range(30))})
    assert listener.progress is not None
    assert (listener.progress.total, listener.progress.counts[TrialState.DONE]) == (30, 30)
    assert listener.progress.best is not None
    assert listener.progress.best.metric == 29


def test_never_more_jobs_than_asked_for(bench: Bench) -> None:
    bench.body("open('r' + options['x'], 'w').close(); import time; time.sleep(0.05)")
    search = bench.search(grid={"x": list(range(6))}, scheduler={"name": "local", "slots": 4})
    most: list[int] = []

    class Counting(Listener):
        def ended(self, record: TrialRecord, progress: Callable[[], SearchProgress]) -> None:
            most.append(progress().counts[TrialState.RUNNING])

    search.run(observer=Counting(), max_jobs=1)
    assert search.status().done == 6
    assert max(most) <= 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system needs root: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_is_one_line_and_loses_nothing(bench: Bench, small_disk: Path) -> None:
    search = Search(bench.search(grid={"x": list(range(200))}).spec, small_disk / "out")
    with pytest.raises(RunError, match="No space left on device"):
        search.run()
    done = {result.trial: result.metric for result in search.results() if result.state == "done"}
    assert done
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    listener = Listener()
    search.run(observer=listener)
    assert listener.start is not None
    assert listener.start.done >= len(done)
    assert search.status().done == 200
    assert {result.trial: result.metric for result in search.results()}.items() >= done.items()


def test_a_directory_that_cannot_be_written_is_one_line(bench: Bench, small_disk: Path) -> None:
    search = Search(bench.search(max_trials=1).spec, small_disk / "out")
    search.run()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(RunError, match=r"^cannot (write|make) .*Read-only file system$"):
        Search(bench.search().spec, small_disk / "out").run()
    with pytest.raises(RunError, match=r"^cannot (write|make) .*Read-only file system$"):
        Search(bench.search().spec, small_disk / "new").run()
    assert search.status().done == 1
    assert search.best().metric == 1.0


def test_results_are_numbers_and_texts_in_json(bench: Bench) -> None:
    search, _ = bench.run(grid={"x": ["nan"]})
    document = json.loads(search.results()[0].model_dump_json())
    assert document["metric"] == "NaN"
    assert math.isnan(search.results()[0].metric or 0)
