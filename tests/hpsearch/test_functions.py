"""Searches over functions of Python: forks, results, callbacks and displays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hypnet_core.errors import ConfigError
from hypnet_hpsearch import (
    Inventory,
    RangeSpec,
    Search,
    SearchProgress,
    TrialRecord,
    TrialState,
    Watcher,
    report,
    search,
)
from hypnet_hpsearch.execution.display import Notebook

SPACE: dict[str, Any] = {"x": [1, 2, 3], "shift": 2}


def loss(x: float, shift: float) -> float:
    return (x - shift) ** 2


def quietly(function: Callable[..., Any], space: Any, directory: Path, **more: Any) -> Any:
    return search(function, space, directory=directory / "s", progress=False, **more)


def test_a_function_is_searched_and_its_results_are_plain(tmp_path: Path) -> None:
    found = quietly(loss, SPACE, tmp_path)
    assert (found[0].options["x"], found[0].metric) == (2, 0.0)
    assert (len(found), found[1].metric, found.status.done) == (3, 1.0, 3)
    assert found.best == found[0]
    columns = found.columns()
    assert (columns["x"][0], columns["shift"], columns["value"]) == (2, [2, 2, 2], [0, 1, 1])
    assert columns["state"] == ["done"] * 3
    assert "<td>done</td>" in found._repr_html_()
    assert repr(found) == f"<3 results of a search in {tmp_path / 's'}>"


def test_functions_of_any_kind_and_any_part_of_a_search(tmp_path: Path) -> None:
    pytest.importorskip("optuna", minversion="5", reason="pip install 'hypnet-hpsearch[optuna]'")
    seen: list[int] = []

    def noisy(lr: float, width: int, seed: int) -> dict[str, float]:
        seen.append(seed)  # in the fork alone
        return {"accuracy": lr + seed / 100, "size": width, "extra": 1.0}

    found = quietly(
        noisy,
        {"lr": {"low": 0.0, "high": 1.0}, "width": RangeSpec(low=1, high=4, integer=True)},
        tmp_path,
        metrics={"accuracy": "max", "size": "min"},
        sampler="nsga_ii",
        seeds=2,
        max_trials=8,
        slots=2,
    )
    assert (len(found), found.status.done, seen) == (4, 8, [])
    assert found.front
    assert all(row.seeds is not None for row in found)


def test_what_has_finished_is_not_called_again(tmp_path: Path) -> None:
    def counted(x: int) -> int:
        with (tmp_path / "calls").open("a") as file:
            file.write("x")
        return x

    quietly(counted, {"x": [1, 2]}, tmp_path)
    assert len(quietly(counted, {"x": [1, 2, 3]}, tmp_path)) == 3
    assert (tmp_path / "calls").read_text() == "xxx"


def test_failures_and_crashes_are_trials_that_failed(tmp_path: Path) -> None:
    def fragile(x: int) -> Any:
        sys.stdout.write(f"here is {x}\n")
        if x == 1:
            raise ValueError("no ones")
        if x == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return "text" if x == 3 else x

    found = quietly(fragile, {"x": [1, 2, 3, 4]}, tmp_path)
    rows = {row.options["x"]: row for row in found}
    assert (rows[4].state, rows[4].metric) == (TrialState.DONE, 4.0)
    assert (rows[1].state, rows[1].reason) == (TrialState.FAILED, "ValueError: no ones")
    assert (rows[2].state, rows[2].attempt) == (TrialState.LOST, 5)
    assert str(rows[3].reason).startswith("its metric 'value' is not a number")
    errors = Path(str(rows[1].errors)).read_text()
    assert "Traceback" in errors
    assert errors.splitlines()[-1] == "ValueError: no ones"
    assert (Path(rows[4].directory).parent / "output.txt").read_text() == "here is 4\n"


def test_a_time_limit_ends_a_call(tmp_path: Path) -> None:
    found = quietly(_sleep, {"x": [60]}, tmp_path,
                    resources={"time_limit": 0.2})  # fmt: skip
    assert found[0].reason == "over its time limit of 0:00:00.200000"


def _sleep(x: float) -> float:
    time.sleep(x)
    return x


def test_reports_reach_a_pruner(tmp_path: Path) -> None:
    pytest.importorskip("optuna", minversion="5", reason="pip install 'hypnet-hpsearch[optuna]'")

    def reporting(x: float) -> float:
        report(0, x)
        time.sleep(20 if x > 0.5 else 0)
        return x

    found = quietly(
        reporting,
        {"x": {"low": 0.0, "high": 1.0}},
        tmp_path,
        sampler={"name": "random_sampler", "seed": 1},
        pruner={"name": "threshold", "upper": 0.5},
        max_trials=6,
        slots=2,
    )
    for row in found:
        assert (row.state is TrialState.PRUNED) == (row.options["x"] > 0.5)


class Listener(Watcher):
    """Notes the events that it cares for."""

    def __init__(self) -> None:
        self.ends: list[tuple[Any, int]] = []
        self.total = 0

    def started(self, inventory: Inventory) -> None:
        self.total = inventory.total

    def ended(self, record: TrialRecord, progress: Callable[[], SearchProgress]) -> None:
        self.ends.append((record.options["x"], progress().counts[TrialState.DONE]))


def test_callbacks_see_the_events_they_care_for(tmp_path: Path) -> None:
    listeners = [Listener(), Listener()]
    quietly(loss, SPACE, tmp_path, callbacks=listeners)
    for listener in listeners:
        assert listener.total == 3
        assert sorted(x for x, _ in listener.ends) == [1, 2, 3]
        assert listener.ends[-1][1] == 3


def test_a_changed_function_is_another_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for body in ("return x", "return -x", "return x"):
        (tmp_path / "script.py").write_text(
            "from hypnet_hpsearch import search\n"
            f"def cost(x):\n    open('calls', 'a').write('x')\n    {body}\n"
            "found = search(cost, {'x': [1, 2]}, progress=False)\n"
            "print(found.best.metric)\n"
        )
        subprocess.run([sys.executable, "script.py"], check=True, cwd=tmp_path)
    assert len(list((tmp_path / "searches").iterdir())) == 2
    assert (tmp_path / "calls").read_text() == "xxxx"
    with pytest.raises(ConfigError, match="give a directory"):
        search(eval("lambda x: x"), {"x": [1]})


def test_an_interrupted_call_leaves_nothing_running(tmp_path: Path) -> None:
    def slow(x: int) -> int:
        (tmp_path / f"pid{x}").write_text(str(os.getpid()))
        time.sleep(60)
        return x

    class Interrupter(Watcher):
        def working(self, progress: Callable[[], SearchProgress]) -> None:
            if len(list(tmp_path.glob("pid*"))) == 2:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        quietly(slow, {"x": [1, 2, 3]}, tmp_path, slots=2, callbacks=[Interrupter()])
    for path in tmp_path.glob("pid*"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)


def test_the_commands_work_on_its_directory(tmp_path: Path, in_process: Any) -> None:
    quietly(loss, SPACE, tmp_path)
    done = in_process("search", "best", "s", cwd=tmp_path)
    assert done.stdout.startswith("value\t0.0\n")


def test_a_notebook_shows_a_table_that_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, table: Any) -> None:
            shown.append(table._repr_html_())

    def display(table: Any, *, display_id: bool) -> Handle:
        assert display_id
        shown.append(table._repr_html_())
        return Handle()

    module: Any = ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    found = quietly(loss, SPACE, tmp_path, callbacks=[Notebook()])
    assert isinstance(found.search, Search)
    assert shown
    assert len(set(shown)) == len(shown)
    assert "<th>running</th>" in shown[0]
    assert "<td>0</td><td>0</td><td>3</td><td>0</td><td>3</td>" in shown[-1]
