"""The journal: many writers, torn lines, files that were cut."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from hypnet_core.errors import RunError
from hypnet_hpsearch import TrialState
from hypnet_hpsearch.state.journal import Journal
from hypnet_hpsearch.state.ledger import Ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def append(journal: Journal, *numbers: int) -> None:
    with journal.locked():
        journal.append({"n": number} for number in numbers)


def numbers(journal: Journal) -> list[int]:
    return [event["n"] for event in journal.news()[1]]


def test_a_journal_that_is_not_there_is_empty(path: Path) -> None:
    assert Journal(path).news() == (False, [])


def test_events_are_read_once_each_in_their_order(path: Path) -> None:
    journal, reader = Journal(path), Journal(path)
    append(journal, 1, 2)
    assert numbers(reader) == [1, 2]
    append(journal, 3)
    assert numbers(reader) == [3]
    assert numbers(reader) == []
    assert numbers(Journal(path)) == [1, 2, 3]


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_torn_line_is_passed_over_and_the_next_event_is_not_glued_to_it(
    path: Path, cut: int
) -> None:
    journal = Journal(path)
    append(journal, 1, 2)
    os.truncate(path, path.stat().st_size - cut)
    again = Journal(path)
    append(again, 3)
    assert numbers(again) == ([1, 2, 3] if cut == 1 else [1, 3])
    assert again.damaged == (0 if cut == 1 else 1)


def test_a_line_that_is_being_written_is_not_read_yet(path: Path) -> None:
    path.write_text('{"n": 1}\n{"n": 2')
    journal = Journal(path)
    assert numbers(journal) == [1]
    with path.open("a") as file:
        file.write("}\n")
    assert numbers(journal) == [2]


@pytest.mark.parametrize(
    "garbage", [b"\xff\xfe\x00", b"null", b"[1]", b"{" * 100_000, b"nonsense", b'{"n": 1']
)
def test_garbage_is_passed_over_and_counted(path: Path, garbage: bytes) -> None:
    path.write_bytes(b'{"n": 1}\n' + garbage + b'\n\n{"n": 2}\n')
    journal = Journal(path)
    assert numbers(journal) == [1, 2]
    assert journal.damaged == 1


def test_a_journal_that_was_cut_is_read_anew(path: Path) -> None:
    journal, reader = Journal(path), Journal(path)
    append(journal, 1, 2, 3)
    reader.news()
    path.write_text('{"n": 1}\n')
    assert reader.news() == (True, [{"n": 1}])
    path.unlink()
    assert reader.news() == (True, [])
    assert reader.news() == (False, [])


def test_a_journal_that_was_cut_and_has_grown_again_is_read_anew(path: Path) -> None:
    reader = Journal(path)
    append(reader, 1, 2)
    reader.news()
    path.write_text("".join(f'{{"n": {number}}}\n' for number in range(10, 20)))
    restarted, events = reader.news()
    assert restarted
    assert [event["n"] for event in events] == list(range(10, 20))


def many(path: Path, first: int) -> None:
    journal = Journal(path)
    for number in range(first, first + 100):
        with journal.locked():
            journal.append([{"n": number, "fill": "x" * random.randrange(200)}])


def test_several_processes_write_without_losing_anything(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=many, args=(path, 1000 * number)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    journal = Journal(path)
    assert sorted(numbers(journal)) == sorted(
        1000 * writer + number for writer in range(4) for number in range(100)
    )
    assert journal.damaged == 0


def test_the_lock_ends_with_the_process_that_holds_it(path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from hypnet_hpsearch.state.journal import Journal\n"
        "with Journal(Path(sys.argv[1])).locked(): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    append(Journal(path), 1)
    assert numbers(Journal(path)) == [1]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "no" / "journal.jsonl")
    with (
        pytest.raises(RunError, match=r"cannot write .*journal.jsonl.lock: No such file"),
        journal.locked(),
    ):
        pass
    with pytest.raises(RunError, match=r"cannot write .*journal.jsonl: No such file"):
        journal.append([{"n": 1}])


CLAIM = {"event": "claim", "trial": "t", "attempt": 1, "driver": "d", "options": {"a": 1}}
DONE = {"event": "end", "trial": "t", "attempt": 1, "state": "done", "metric": 0.5, "seconds": 2.0}
FAILED = {
    "event": "end",
    "trial": "t",
    "attempt": 1,
    "state": "failed",
    "metric": None,
    "reason": "why",
}


def test_a_result_is_final() -> None:
    ledger = Ledger()
    ledger.add(
        [CLAIM, DONE, {**FAILED, "attempt": 2}, {**CLAIM, "attempt": 3}, {**DONE, "metric": 9.0}]
    )
    record = ledger.trials["t"]
    assert (record.state, record.attempt, record.metric, record.options) == (
        TrialState.DONE,
        1,
        0.5,
        {"a": 1},
    )
    assert [ended.id for ended in ledger.ended()] == ["t"]
    assert ledger.ended() == []


def test_an_earlier_attempt_has_nothing_to_say_any_more() -> None:
    ledger = Ledger()
    ledger.add([CLAIM, FAILED, {**CLAIM, "attempt": 2}, DONE])
    assert ledger.trials["t"].state is TrialState.RUNNING
    assert ledger.running == {"t"}


def test_of_two_ends_of_one_attempt_the_first_counts() -> None:
    ledger = Ledger()
    ledger.add([CLAIM, FAILED, {**FAILED, "state": "lost"}, CLAIM])
    assert ledger.trials["t"].state is TrialState.FAILED
    assert len(ledger.ended()) == 1


def test_events_that_make_no_sense_are_counted() -> None:
    ledger = Ledger()
    ledger.add([{}, {"event": "claim"}, {**CLAIM, "event": "dance"}, {**CLAIM, "attempt": "x"}])
    assert ledger.damaged == 4
    assert ledger.trials == {}
    ledger.add([CLAIM, {**DONE, "state": "merry"}, {**DONE, "metric": "good"}])
    assert ledger.damaged == 6


def test_events_about_a_trial_whose_claim_was_lost_are_left_to_the_disk() -> None:
    ledger = Ledger()
    ledger.add([DONE, {**CLAIM, "event": "job", "job": "1"}])
    assert (ledger.trials, ledger.damaged) == ({}, 0)


def test_odd_metrics_come_back_from_their_text() -> None:
    ledger = Ledger()
    ledger.add(json.loads(json.dumps([CLAIM, {**DONE, "metric": "-inf"}])))
    assert ledger.trials["t"].metric == float("-inf")
    assert ledger.trials["t"].score is None
