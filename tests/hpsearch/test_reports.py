"""Intermediate results: a trial writes them, and a driver reads whatever is there."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnet_hpsearch import report
from hypnet_hpsearch.trial.files import REPORTS
from hypnet_hpsearch.trial.reports import Reports


def test_what_is_reported_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPNET_TRIAL_DIR", str(tmp_path))
    reports = Reports(tmp_path / REPORTS)
    assert reports.news() == []
    report(0, 0.5)
    report(1, 2)
    assert reports.news() == [(0, 0.5), (1, 2.0)]
    report(2, math.inf)
    assert reports.news() == [(2, math.inf)]
    assert reports.news() == []


def test_outside_a_search_a_report_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYPNET_TRIAL_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    report(0, 1.0)
    assert not list(tmp_path.iterdir())


def test_a_torn_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "r"
    reports = Reports(path)
    path.write_text('{"step": 1, "value": 2}\n{"step": 2, "va')
    assert reports.news() == [(1, 2.0)]
    with path.open("a") as file:
        file.write('lue": 3}\n')
    assert reports.news() == [(2, 3.0)]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"garbage",
        b"\xff\xfe",
        b"[1, 2]",
        b"null",
        b'{"step": 1}',
        b'{"value": 1}',
        b'{"step": -1, "value": 1}',
        b'{"step": 1.5, "value": 1}',
        b'{"step": true, "value": 1}',
        b'{"step": 1, "value": true}',
        b'{"step": 1, "value": "high"}',
        b'{"step": 1, "value": null}',
        b'{"step": 1, "value": [1]}',
        b'{"step": Infinity, "value": 1}',
        b'{"step": NaN, "value": 1}',
        b'{"step": 1, "value": 1' + b"0" * 400 + b"}",
        b'{"a":' * 100_000,
        b"x" * 3_000_000,
    ],
)
def test_nonsense_is_passed_over(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "r"
    path.write_bytes(b'{"step": 1, "value": 2}\n' + line + b'\n{"step": 3, "value": 4}\n')
    found = Reports(path).news()
    assert (found[0], found[-1]) == ((1, 2.0), (3, 4.0))
    assert len(found) == 2


def test_what_is_no_file_is_no_report(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name in ("pipe", "directory", "loop", "endless", "nowhere"):
        assert Reports(tmp_path / name).news() == []


@given(st.lists(st.tuples(st.integers(0, 10**9), st.floats(allow_nan=False))))
def test_any_key_may_hold_the_value(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[int, float]]
) -> None:
    path = tmp_path_factory.mktemp("x") / "metrics.jsonl"
    path.write_text(
        "".join(
            json.dumps({"step": step, "loss": 1, "val/acc": value}) + "\n" for step, value in values
        )
    )
    assert Reports(path, "val/acc").news() == values
