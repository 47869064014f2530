"""Folders of checkpoints: several objects together, the best kept, kills survived."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from hypnet_core.errors import CheckpointError
from hypnet_core.runs import CheckpointOptions, Checkpoints, RandomStates, Stamp
from hypnet_core.runs.packing import pack, unpack


class Loop:
    """A training loop with everything that has a state."""

    def __init__(self, folder: Path, **options: Any) -> None:
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        self.net, self.head = nn.Linear(3, 4), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(4))
        parameters = [*self.net.parameters(), *self.head.parameters()]
        self.adam = torch.optim.AdamW(parameters, lr=0.1)
        self.schedule = torch.optim.lr_scheduler.MultiStepLR(self.adam, [2, 4], gamma=0.3)
        self.generator = torch.Generator().manual_seed(5)
        self.checkpoints = Checkpoints(folder, CheckpointOptions(**options))
        self.objects: dict[str, Any] = {
            "net": self.net,
            "head": self.head,
            "adam": self.adam,
            "schedule": self.schedule,
            "generator": self.generator,
            "random": RandomStates(),
        }

    def run(self, stop: int = 6) -> list[Tensor]:
        for step in range(self.checkpoints.restore(self.objects), stop):
            x = torch.randn(8, 3, generator=self.generator)
            x += float(np.random.rand()) + random.random()  # noqa: NPY002
            self.adam.zero_grad()
            loss = self.head(self.net(x)).square().sum()
            loss.backward()
            self.adam.step()
            self.schedule.step()
            self.checkpoints.save(step + 1, self.objects, score=-loss.item())
        states = [*self.net.state_dict().values(), *self.head.state_dict().values()]
        return [state.clone() for state in states]


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_loop_resumes_at_any_step_to_identical_results(tmp_path: Path, stop: int) -> None:
    whole = Loop(tmp_path / "whole").run()
    Loop(tmp_path / "stopped").run(stop)
    torch.rand(7), np.random.rand(7), random.random()  # noqa: NPY002
    resumed = Loop(tmp_path / "stopped")
    for one, other in zip(whole, resumed.run(), strict=True):
        assert torch.equal(one, other)
    assert resumed.schedule.get_last_lr() == [pytest.approx(0.1 * 0.3**2)]


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
STATES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.dictionaries(st.sampled_from(["$tensor", "a.b", "a"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=200)
@given(STATES)
def test_a_state_without_tensors_survives(state: object) -> None:
    assert unpack(*pack("x", state)) == state


def test_tensors_arrays_and_counters_survive() -> None:
    state = {
        "a.b": torch.ones(2),
        "a": {"b": torch.zeros(3, dtype=torch.bfloat16)},
        7: (np.arange(3, dtype=np.uint32), Counter({2: 1}), math.inf),
    }
    found = unpack(*pack("x", state))
    assert torch.equal(found["a.b"], state["a.b"])  # type: ignore[arg-type]
    assert torch.equal(found["a"]["b"], state["a"]["b"])  # type: ignore[index]
    assert found[7][0].dtype == np.uint32
    assert found[7][0].tolist() == [0, 1, 2]
    assert list(found[7][1].elements()) == [2]
    assert found[7][2] == math.inf


def test_the_state_of_another_kind_of_object_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"^adam.fn.0: a function cannot be saved"):
        pack("adam", {"fn": [lambda: None]})


def saved(folder: Path, scores: list[float | None], **options: Any) -> Checkpoints:
    checkpoints = Checkpoints(folder, CheckpointOptions(**options), higher_is_better=False)
    for step, score in enumerate(scores, start=1):
        checkpoints.save(step, {"net": nn.Linear(1, 1)}, score=score)
    return checkpoints


@pytest.mark.parametrize(
    ("keep", "steps"),
    [("last", [6]), ("all", [4, 2, 5, 1, 6, 3]), ("best:2", [4, 2, 6]), ("best:9", None)],
)
def test_the_best_and_the_last_are_kept(tmp_path: Path, keep: str, steps: list[int] | None) -> None:
    """Scores are losses here. Of equals the newer is the better, none is the worst."""
    checkpoints = saved(tmp_path, [3.0, 1.0, None, 1.0, 2.0, math.nan], keep=keep)
    found = [stamp.step for stamp in checkpoints.ranked()]
    assert found == (steps or [4, 2, 5, 1, 6, 3])
    latest, best = checkpoints.latest(), checkpoints.best()
    assert latest is not None
    assert best is not None
    assert (latest.step, best.step) == (6, found[0])


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(-9, 9)), min_size=1, max_size=12),
    st.sampled_from(["last", "best:2"]),
)
def test_the_best_of_each_time_span_is_kept(found: list[tuple[float, float]], keep: str) -> None:
    stamps = [
        Stamp(Path(str(step)), step, when, score, higher_is_better=True, size=0)
        for step, (when, score) in enumerate(sorted(found, key=lambda pair: pair[0]))
    ]
    kept = CheckpointOptions(keep=keep, keep_every="1h").to_keep(stamps)
    assert stamps[-1].step in kept
    for span in {stamp.time // 3600 for stamp in stamps}:
        inside = [stamp for stamp in stamps if stamp.time // 3600 == span]
        best = max(stamp.score or 0.0 for stamp in inside)
        assert any(stamp.score == best for stamp in inside if stamp.step in kept)
    most = len({stamp.time // 3600 for stamp in stamps}) + (3 if keep == "best:2" else 1)
    assert len(kept) <= most


@pytest.mark.parametrize(
    ("options", "due"),
    [
        ({}, [True, True, True]),
        ({"every_steps": 10}, [False, True, True]),
        ({"every": "1h"}, [False, False, True]),
        ({"every": "1h", "every_steps": 10}, [False, True, True]),
    ],
)
def test_a_checkpoint_is_due_after_steps_or_time(options: dict[str, Any], due: list[bool]) -> None:
    last = Stamp(Path("x"), 5, 1000.0, None, higher_is_better=True, size=0)
    chosen = CheckpointOptions(**options)
    moments = [(14, 1001.0), (15, 1001.0), (15, 4600.0)]
    assert [chosen.is_due(step, now, last) for step, now in moments] == due


@pytest.mark.parametrize(
    "wrong", [{"keep": "best"}, {"keep": "best:0"}, {"every": "1"}, {"keep_every": "0h"}]
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CheckpointOptions(**wrong)


def test_mistakes_are_named_and_change_nothing(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore({"net": nn.Linear(1, 1)}) == 0
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        checkpoints.load("best")
    checkpoints.save(3, {"net": nn.Linear(1, 1)}, note="n")
    assert checkpoints.load().state["note"] == "n"
    net = nn.Linear(1, 1)
    before = net.weight.clone()
    with pytest.raises(CheckpointError, match=r"0003.safetensors holds no 'head'; there is: net"):
        checkpoints.restore({"net": net, "head": net})
    assert torch.equal(net.weight, before)
    with pytest.raises(CheckpointError, match=r"does not fit 'net': .*size mismatch"):
        checkpoints.restore({"net": nn.Linear(2, 1)})
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*0004"):
        checkpoints.restore({"net": net}, which=4)
    with pytest.raises(CheckpointError, match=r"which checkpoint is 'bset'.*'best'"):
        checkpoints.restore({"net": net}, which="bset")
    with pytest.raises(CheckpointError, match="'stamp' is reserved"):
        checkpoints.save(4, {"net": net}, stamp=1)
    with pytest.raises(CheckpointError, match=r"^x: a int cannot be saved: it has no state_dict"):
        checkpoints.save(4, {"x": 1})  # type: ignore[dict-item]


def test_a_folder_says_itself_when_the_next_checkpoint_is_due(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, CheckpointOptions(every_steps=3))
    due = []
    for step in range(1, 9):
        if checkpoints.is_due(step):
            checkpoints.save(step, {})
            due.append(step)
    assert due == [3, 6]
    again = Checkpoints(tmp_path, CheckpointOptions(every_steps=3))
    assert [again.is_due(step) for step in (7, 8, 9)] == [False, False, True]


def test_a_damaged_neighbour_stops_no_save(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, [1.0], keep="best:1")
    (tmp_path / "0009.safetensors").write_bytes(b"torn")
    checkpoints.save(2, {"net": nn.Linear(1, 1)}, score=0.5)
    assert [path.name for path in checkpoints.paths()] == ["0002.safetensors", "0009.safetensors"]


def test_damaged_files_are_named_and_the_others_listed(
    tmp_path: Path, in_process: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    saved(tmp_path, [2.0, 1.0], keep="all")
    (tmp_path / "0003.safetensors").write_bytes(b"torn")
    (tmp_path / "latest.json").write_text("[]")
    done = in_process("checkpoints", tmp_path)
    assert done.returncode == 0
    assert [Path(line).stem for line in done.stdout.splitlines()] == ["0002", "0001"]
    damaged, pointer = done.stderr.splitlines()
    assert "0003.safetensors is damaged" in damaged
    assert "latest.json is damaged: it names no checkpoint" in pointer
    done = in_process("checkpoints", tmp_path / "no")
    assert (done.returncode, done.stderr) == (1, f"hypnet: there is no directory {tmp_path}/no\n")
    done = in_process("run", "--from-checkpoint", tmp_path / "0001.safetensors")
    assert "0001.safetensors was not written by a run of an experiment" in done.stderr


def test_a_process_killed_while_it_saves_loses_nothing(tmp_path: Path) -> None:
    """Forked, so that no time goes into imports: 40 kills between and within saves."""
    rng = random.Random(1)
    reached = 0
    for _ in range(40):
        child = os.fork()
        if not child:
            checkpoints = Checkpoints(tmp_path, CheckpointOptions(keep="best:2"))
            net = nn.Linear(100, 100)
            step = checkpoints.restore({"net": net})
            while True:
                step += 1
                nn.init.constant_(net.weight, step)
                checkpoints.save(step, {"net": net}, score=step % 7)
        time.sleep(0.01 + 0.05 * rng.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        checkpoints, net = Checkpoints(tmp_path), nn.Linear(100, 100)
        step = checkpoints.restore({"net": net})
        assert step >= reached
        assert step == 0 or bool((net.weight == step).all())
        reached = step
    assert reached > 10, "hardly anything was saved"
    Checkpoints(tmp_path, CheckpointOptions(keep="best:2")).save(reached + 1, {}, score=0)
    assert len(list(tmp_path.iterdir())) == 4, "two of the best, the last, and the pointer"


def test_a_state_keeps_the_order_of_its_keys(tmp_path: Path) -> None:
    class Ordered:
        state: Mapping[str, Any] = {"b": 1, "a": {"z": torch.ones(1), "y": 2}}

        def state_dict(self) -> Mapping[str, Any]:
            return self.state

        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            self.state = state

    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": Ordered()})
    found = Ordered()
    checkpoints.restore({"x": found})
    assert [*found.state, *found.state["a"]] == ["b", "a", "z", "y"]
