"""Callbacks, logs and results: what they see, hold and tell."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.zoo.continual.problems import clouds
from torch import Tensor

from hypnet_core import Task
from hypnet_core.protocols import Callback, LearningState
from hypnet_core.runs import CheckpointOptions, Checkpoints
from hypnet_zoo.continual import Train, learn
from hypnet_zoo.continual.arguments import chosen_method, maker_of
from hypnet_zoo.continual.assembly import assemble
from hypnet_zoo.continual.callbacks import Metrics, Timing, Validation
from hypnet_zoo.continual.learning import Learning
from hypnet_zoo.continual.methods import Finetune

SHORT: dict[str, Any] = {"iterations": 12, "batch_size": 16, "validate_every": 0, "lr": 0.01}


class Epochs(Callback):
    """Notes the epoch of each step, and stops at one."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop = stop
        self.found: dict[int, int] = {}

    def end_step(self, state: LearningState, /) -> None:
        self.found[state.step] = state.epoch
        if state.step == self.stop:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stop", [5, 6, 7, 8, 9])
def test_epochs_go_on_after_an_interruption(tmp_path: Path, stop: int) -> None:
    """A pass has four steps, and each of them is a place to stop at."""
    options: dict[str, Any] = {"train": SHORT, "device": "cpu"}
    whole, cut, rest = Epochs(), Epochs(stop), Epochs()
    learn(clouds(1), "finetune", callbacks=[whole], **options)
    every = CheckpointOptions(every_steps=1)
    kept: dict[str, Any] = {"directory": tmp_path, "checkpoint": every}
    with pytest.raises(KeyboardInterrupt):
        learn(clouds(1), "finetune", callbacks=[cut], **kept, **options)
    learn(clouds(1), "finetune", callbacks=[rest], **kept, **options)
    assert min(rest.found) == stop
    assert {**cut.found, **rest.found} == whole.found
    assert [whole.found[step] for step in (1, 4, 5, 8, 9)] == [0, 0, 1, 1, 2]


class Early(Callback):
    """Has a state, and a name with which another one begins."""

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def state_dict(self) -> Mapping[str, Any]:
        return {"value": self.value}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        self.value = state["value"]


class EarlyBird(Early):
    """Begins with the name of another one."""


def learning_of(tasks: Any, method: Any = "finetune", **train: Any) -> Learning:
    """A loop before its first step."""
    return assemble(
        tasks,
        maker_of(chosen_method(method)),
        lambda shape, count: torch.nn.Linear(shape[0], count),
        train=Train(**{**SHORT, **train}),
        seed=0,
        device=torch.device("cpu"),
    ).learning


@pytest.mark.parametrize("reverse", [False, True])
def test_states_of_callbacks_are_told_apart_by_their_class(reverse: bool) -> None:
    before, after = learning_of(clouds(1)), learning_of(clouds(1))
    before.callbacks = [EarlyBird(1), Early(2), Early(3)]
    after.callbacks = (
        [Early(), Early(), EarlyBird()] if reverse else [EarlyBird(), Early(), Early()]
    )
    before.method.begin(0)
    after.load_state_dict(before.state_dict())
    found = [callback.value for callback in after.callbacks if isinstance(callback, Early)]
    assert found == ([2, 3, 1] if reverse else [1, 2, 3])


def test_scores_are_logged_for_the_task_that_they_are_of() -> None:
    """The first of two tasks has no validation samples, and none are held out."""
    first, second = clouds(2)
    learning = learning_of([Task(first.spec, first.train, first.test), second], hold_out=0.0)
    rows: list[tuple[Any, set[str]]] = []
    metrics = Metrics(
        learning, every=100, log=lambda _, found, task=None: rows.append((task, set(found)))
    )
    learning.callbacks = [metrics]
    learning.run()
    validated = [task for task, names in rows if "validation_accuracy" in names]
    assert validated == [1]
    assert [len(row) for row in learning.scores["val"]] == [1, 2]
    assert learning.scores["val"][1][0] is None


def test_a_result_has_no_number_where_a_task_has_no_validation_samples() -> None:
    first, second = clouds(2)
    tasks = [Task(first.spec, first.train, first.test), second]
    found = learn(tasks, "finetune", train={**SHORT, "hold_out": 0.0}, device="cpu")
    assert np.isnan(found.validation).tolist() == [[True, True], [True, False]]
    assert found.summary["validation_accuracy"] is None


class Stuck(Finetune):
    """Never improves."""

    def step(self, batch: Any) -> dict[str, Tensor]:
        del batch
        return {"loss": torch.zeros(())}


def test_the_step_at_which_a_task_is_stopped_is_logged() -> None:
    """Validations are at steps 7, 14 and 21; the third one is the second in vain."""
    learning = learning_of(clouds(1), Stuck, iterations=60, validate_every=7, patience=2)
    logged: dict[int, list[str]] = {}
    said: list[str] = []

    def log(step: int, found: Mapping[str, float], task: int | None = None) -> None:
        logged.setdefault(step, []).extend(found)

    learning.callbacks = [
        Validation(learning, log=log, say=said.append),
        Metrics(learning, every=10, log=log),
    ]
    learning.run()
    assert sorted(logged) == [7, 10, 14, 20, 21]
    assert {"validation", "loss", "test_accuracy"} <= set(logged[21])
    assert said == ["task 1: stopped early at step 21"]


def test_a_result_tells_what_the_command_says(caplog: pytest.LogCaptureFixture) -> None:
    given = [Task(task.spec, task.train, task.test) for task in clouds(2)]
    train = {**SHORT, "iterations": 60, "validate_every": 7, "patience": 2}
    with caplog.at_level(logging.INFO, logger="hypnet.learn"):
        found = learn(given, Stuck, train=train, device="cpu")
    held_out, *stops = found.notes
    assert held_out == (
        "no validation samples: 6 of 60 training samples of t0 are held out, and likewise of 1 more"
        " tasks (train.hold_out)"
    )
    assert stops == [f"task {task}: stopped early at step 21" for task in (1, 2)]
    assert [record.message for record in caplog.records] == list(found.notes)
    lines = str(found).splitlines()
    assert lines[0].strip() == "accuracy on each task"
    assert lines[-4:-1] == list(found.notes)
    assert lines[-1].endswith(" ms per training step")
    assert repr(found) == str(found)


def test_stops_are_told_after_an_interruption_too(tmp_path: Path) -> None:
    train = {**SHORT, "iterations": 60, "validate_every": 7, "patience": 2}
    kept: dict[str, Any] = {"directory": tmp_path, "train": train, "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        learn(clouds(2), Stuck, callbacks=[Epochs(30)], **kept)
    found = learn(clouds(2), Stuck, **kept)
    assert found.notes == tuple(f"task {task}: stopped early at step 21" for task in (1, 2))


@pytest.mark.parametrize(
    ("patience", "expected"),
    [(3, False), (4, True)],
)
def test_early_stopping_that_comes_too_late_says_so(patience: int, expected: bool) -> None:
    """The fourth validation, of three in vain, is the last that can stop a task."""
    train = {**SHORT, "iterations": 45, "validate_every": 10, "patience": patience}
    notes = learn(clouds(1), "finetune", train=train, device="cpu").notes
    said = (
        "train.patience=4 stops no task early: that takes 50 steps, with a validation every 10, but"
        " tasks have 45"
    )
    assert (said in notes) == expected


class Slow(Finetune):
    """Takes its time."""

    def step(self, batch: Any) -> dict[str, Tensor]:
        time.sleep(0.01)
        return super().step(batch)


def test_the_time_of_a_step_is_that_of_the_method() -> None:
    class Slower(Callback):
        def end_step(self, _: LearningState, /) -> None:
            time.sleep(0.02)

    found = learn(clouds(1), Slow, train=SHORT, callbacks=[Slower()], device="cpu")
    assert found.seconds_per_step is not None
    assert 0.01 <= found.seconds_per_step < 0.02


def test_elsewhere_than_on_a_cpu_one_step_in_ten_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these waits for the device before and after, and no other step does."""
    waits: list[torch.device] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waits.append)
    timing, learning = Timing(torch.device("cuda")), learning_of(clouds(1))
    for _ in range(9):
        timing.begin_step(learning)
        timing.end_step(learning)
    assert timing.per_step is None
    assert waits == []
    for _ in range(13):
        timing.begin_step(learning)
        timing.end_step(learning)
    assert waits == [torch.device("cuda")] * 4
    assert timing.steps == 22
    assert timing.per_step is not None


@pytest.mark.parametrize("hold_out", [0.2, 0.0])
def test_checkpoints_are_never_scored_by_test_samples(tmp_path: Path, hold_out: float) -> None:
    given = [Task(task.spec, task.train, task.test) for task in clouds(2)]
    train = {**SHORT, "hold_out": hold_out}
    found = learn(given, "finetune", train=train, directory=tmp_path, device="cpu")
    stamp = Checkpoints(tmp_path).latest()
    assert stamp is not None
    assert stamp.score == found.summary["validation_accuracy"]
    assert (stamp.score is None) == (hold_out == 0.0)
