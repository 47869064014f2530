"""One loop for all methods: resumption, callbacks, early stopping, bad input."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.zoo.continual.problems import clouds
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from hypnet_core import Split, Task
from hypnet_core.errors import CheckpointError, ConfigError, DataError, DivergedError
from hypnet_core.plugins import Kind, registry
from hypnet_core.protocols import Callback, LearningState
from hypnet_core.runs import CheckpointOptions
from hypnet_core.tasks import Augmentation, Problem, Scenario
from hypnet_zoo.continual import as_tasks, learn
from hypnet_zoo.continual.data import with_validation
from hypnet_zoo.continual.methods import Finetune

SHORT = {"iterations": 12, "batch_size": 16, "validate_every": 5, "lr": 0.01, "patience": 3}
MODULE = {"name": "mlp", "hidden": (8,), "batch_norm": True}
OPTIONS: Mapping[str, Any] = {
    "hypernet": {"hnet": {"name": "hmlp", "hidden": (6,)}},
    "replay": {"budget": 20},
    "generative_replay": {"hidden": (8,), "latent": 2, "decoder": {"name": "hmlp"}},
    "generative_inference": {
        "hnet": {"name": "hmlp", "hidden": (6,)},
        "hidden": (8,),
        "latent": 2,
        "decoder": {"name": "hmlp"},
    },
}
METHODS = [entry.name for entry in registry().entries(Kind.METHOD) if entry.plugin == "zoo"]


def chosen(name: str) -> Any:
    return {"name": name, **OPTIONS.get(name, {})}


class Stop(Callback):
    """Interrupts learning after some steps, as Ctrl-C would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def end_step(self, state: LearningState, /) -> None:
        if state.step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("stop", [17, 31])
def test_a_run_that_is_interrupted_within_a_task_ends_the_same(
    tmp_path: Path, name: str, stop: int
) -> None:
    """Step 17 is in the second of three tasks, 31 in the third."""
    options: dict[str, Any] = {
        "module": MODULE,
        "train": {**SHORT, "schedule": {"name": "StepLR", "options": {"step_size": 2}}},
        "checkpoint": CheckpointOptions(every_steps=4),
        "device": "cpu",
    }
    whole = learn(clouds(3), chosen(name), directory=tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        learn(
            clouds(3), chosen(name), directory=tmp_path / "cut", callbacks=[Stop(stop)], **options
        )
    resumed = learn(clouds(3), chosen(name), directory=tmp_path / "cut", **options)
    assert resumed.summary == whole.summary
    x = clouds(3)[0].test.all().x  # type: ignore[attr-defined]
    for task in range(3):
        assert torch.equal(resumed.method.predict(x, task), whole.method.predict(x, task))


def test_the_callers_random_numbers_do_not_move() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    learn(clouds(2), "finetune", train=SHORT, module=MODULE, device="cpu")
    assert torch.equal(torch.rand(3), expected)


def test_arrays_and_torch_datasets_are_tasks() -> None:
    x, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    arrays = {"train": (x, y), "test": (x[:10], y[:10]), "val": (x[:5], y[:5])}
    dataset = TensorDataset(torch.from_numpy(x).float(), torch.from_numpy(y))
    tasks = as_tasks([arrays, (dataset, (x, y)), clouds(1)[0]])
    assert [task.spec.in_shape for task in tasks] == [(3,), (3,), (4,)]
    assert [len(task.train) for task in tasks] == [40, 40, 60]
    assert tasks[0].val is not None
    assert tasks[1].spec.classes == 2
    result = learn([arrays, (dataset, (x, y))], "finetune", train=SHORT, device="cpu")
    assert result.accuracies.shape == (2, 2)
    assert np.isnan(result.accuracies[0, 1])
    numbers = learn([{"train": (x, x), "test": (x, x)}], "joint", train=SHORT, device="cpu")
    assert numbers.scores[0, 0] < 1.5
    with pytest.raises(ConfigError, match="regressions: their scores are in `scores`"):
        _ = numbers.accuracies


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "there are no tasks to learn"),
        ([(np.zeros((3, 2)), np.zeros(3))], 'task_1 has no test samples: give {"train"'),
        ([{"train": (np.zeros((3, 2)), [0, 1, 0])}], "task_1 has the parts"),
        ([7], "task_1 is 7: give"),
        ([("a", "b")], "task_1, train: expected a pair of arrays"),
    ],
)
def test_something_else_is_named(given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_tasks(given)


class Recorder(Callback):
    """Writes down what happens."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def begin_run(self, _: LearningState, /) -> None:
        self.events.append("run")

    def begin_task(self, state: LearningState, /) -> None:
        self.events.append(f"task {state.task}")

    def begin_epoch(self, state: LearningState, /) -> None:
        self.events.append(f"epoch {state.epoch}")

    def end_step(self, state: LearningState, /) -> None:
        assert set(state.losses) >= {"loss"}
        self.events.append(f"step {state.step} {state.task_step}")

    def end_epoch(self, _: LearningState, /) -> None:
        self.events.append("end epoch")

    def end_steps(self, state: LearningState, /) -> None:
        self.events.append(f"end steps {state.ends_task}")

    def end_task(self, _: LearningState, /) -> None:
        self.events.append("end task")

    def end_run(self, _: LearningState, /) -> None:
        self.events.append("end run")


def test_callbacks_see_begin_and_end_of_everything() -> None:
    """54 training samples in batches of 30 are two steps a pass."""
    seen = Recorder()
    train = {"epochs": 1, "batch_size": 30, "validate_every": 0}
    learn(clouds(2), "finetune", train=train, callbacks=[seen], device="cpu")
    task = ["epoch 0", "step {} 1", "end epoch", "step {} 2", "end steps True", "end task"]
    # A pass ends before the step of its last batch does.
    task[2:4] = ["end epoch", "step {} 2"]
    expected = ["run"]
    for number in range(2):
        expected += [f"task {number}", "epoch 0", f"step {2 * number + 1} 1", "end epoch"]
        expected += [f"step {2 * number + 2} 2", "end steps True", "end task"]
    assert seen.events == [*expected, "end run"]


def test_validation_samples_are_held_out_and_are_no_training_samples() -> None:
    seen: list[Task] = []

    class Look(Finetune):
        def begin(self, task: int) -> None:
            seen.append(self.problem.tasks[task])  # type: ignore[arg-type]
            super().begin(task)

    given = [Task(task.spec, task.train, task.test) for task in clouds(1)]
    learn(given, Look, train={**SHORT, "hold_out": 0.25}, device="cpu")
    (task,) = seen
    assert task.val is not None
    assert (len(task.train), len(task.val)) == (45, 15)
    assert not set(task.train.ids.tolist()) & set(task.val.ids.tolist())
    again = learn(given, "finetune", train={**SHORT, "hold_out": 0.0}, device="cpu")
    assert again.summary["validation_accuracy"] is None
    assert np.isnan(again.validation).all()


def test_held_out_samples_are_not_augmented() -> None:
    class Jitter(Augmentation):
        def __call__(self, x: Tensor, _: torch.Generator | None = None, /) -> Tensor:
            return x + 100.0

    (task,) = clouds(1)
    x, y = task.test.samples.x, task.test.samples.y  # type: ignore[attr-defined]
    train = Split.of(x, y, transforms=[Jitter()])
    (found,) = with_validation([Task(task.spec, train, task.test)], 0.5, 0)
    assert found.val is not None
    assert next(iter(found.train.batches(30))).x.mean() > 50
    assert next(iter(found.val.batches(30))).x.abs().max() < 50


def test_early_stopping_restores_the_best_and_ends_the_task() -> None:
    steps: list[int] = []

    class Worse(Finetune):
        """Gets worse from step 6 on."""

        def step(self, batch: Any) -> dict[str, Tensor]:
            losses = super().step(batch)
            steps.append(len(steps) + 1)
            if len(steps) > 5:
                with torch.no_grad():
                    for parameter in self.problem.module.parameters():
                        parameter.mul_(-1.0)
            return losses

    result = learn(clouds(1), Worse, train={**SHORT, "iterations": 100, "lr": 0.05}, device="cpu")
    assert len(steps) < 100
    assert result.accuracies[0, 0] > 90


class NaN(Finetune):
    """A method whose losses are not numbers from the third step on."""

    def step(self, batch: Any) -> dict[str, Tensor]:
        losses = super().step(batch)
        self.count = getattr(self, "count", 0) + 1
        return losses if self.count < 3 else {"loss": torch.tensor(float("nan"))}


class Broken(Finetune):
    """A method that spoils its parameters at the end of a task."""

    def end(self, task: int) -> None:
        with torch.no_grad():
            next(self.problem.module.parameters()).fill_(float("inf"))


def test_a_method_that_is_not_finite_is_named_with_the_step() -> None:
    with pytest.raises(DivergedError, match="the loss became nan in task 1, step 5"):
        learn(clouds(2), NaN, train=SHORT, device="cpu")
    with pytest.raises(DivergedError, match=r"network\.module\..* became infinite or NaN in task"):
        learn(clouds(2), Broken, train=SHORT, device="cpu")


@pytest.mark.parametrize(
    ("method", "scenario", "options", "message"),
    [
        ("masking", "class", {}, "the method masking cannot do that; these can: .*replay"),
        ("finetune", "task", {"infer": "entropy"}, "method finetune has one network for all tasks"),
        ("hypernet", "class", {"infer": "given"}, "infer=given: in the scenario class the task of"),
        ("hypernet", "class", {"infer": "method"}, "has no way of its own to infer tasks"),
        ("separate", "class", {"infer": "agreement"}, "infer=agreement compares several draws"),
        ("finetune", "domain", {"heads": "multi"}, "heads=multi: in the scenario domain"),
        ("finetune", "class", {"heads": "single"}, "heads=single: one head for all tasks"),
        ({"name": "replay", "budget": 3}, "class", {}, "3 samples are less than one for each of 4"),
        ("hypernett", "task", {}, "did you mean 'hypernet'"),
        (
            "finetune",
            "task",
            {"train": {"lrr": 1}},
            "lrr: there is no such option; did you mean .*'lr'",
        ),
    ],
)
def test_a_scenario_that_cannot_be_is_one_line(
    method: Any, scenario: Scenario, options: Any, message: str
) -> None:
    with pytest.raises(Exception, match=message) as caught:
        learn(clouds(2), method, scenario=scenario, **{"train": SHORT, "device": "cpu", **options})
    assert "\n" not in str(caught.value)


def test_tasks_that_do_not_fit_together_are_named() -> None:
    x = np.zeros((9, 4), dtype=np.float32)
    regression = {"train": (x, x), "test": (x, x)}
    with pytest.raises(ConfigError, match="all tasks need inputs of one kind and shape"):
        learn([clouds(1)[0], regression], "finetune", device="cpu")
    twice = [clouds(1)[0], clouds(1)[0]]
    with pytest.raises(DataError, match="class 0 appears in t0 and in t0"):
        learn(twice, "finetune", scenario="class", device="cpu")
    with pytest.raises(ConfigError, match="scenario=class: task_1 is a regression"):
        learn([regression], "finetune", scenario="class", device="cpu")
    unequal = [clouds(1)[0], clouds(1, classes=3)[0]]
    with pytest.raises(ConfigError, match="scenario=domain: all tasks need the same outputs"):
        learn(unequal, "finetune", scenario="domain", device="cpu")


def test_unequal_numbers_of_classes_are_learned_in_each_scenario_that_can() -> None:
    tasks = [clouds(1)[0], *clouds(3, classes=3)[2:]]
    labels = [(0, 1), (2, 3, 4)]
    tasks = [
        Task(task.spec.model_copy(update={"labels": own}), task.train, task.test)
        for task, own in zip(tasks, labels, strict=True)
    ]
    train = {"iterations": 80, "lr": 0.02}
    scenarios: tuple[Scenario, ...] = ("task", "class")
    for scenario in scenarios:
        for name in ("joint", "hypernet", "separate"):
            result = learn(
                tasks,
                chosen(name),
                scenario=scenario,
                train=train,
                device="cpu",
            )
            bound = 90 if scenario == "task" or name == "joint" else 60
            assert result.accuracies[-1].min() > bound, (scenario, name)


def test_checkpoints_of_something_else_are_refused(tmp_path: Path) -> None:
    learn(clouds(2), "finetune", train=SHORT, directory=tmp_path, device="cpu")
    with pytest.raises(CheckpointError, match=r"holds checkpoints of something else: .*lr"):
        learn(clouds(2), "finetune", train={**SHORT, "lr": 0.5}, directory=tmp_path, device="cpu")
    with pytest.raises(ConfigError, match="give a directory"):
        learn(clouds(2), "finetune", checkpoint=CheckpointOptions(), device="cpu")


def test_a_finished_directory_gives_its_results_again(tmp_path: Path) -> None:
    options: Any = {"train": SHORT, "directory": tmp_path, "device": "cpu"}
    first = learn(clouds(2), "finetune", **options)
    again = learn(clouds(2), "finetune", **options)
    assert again.summary == first.summary


def test_a_module_of_ones_own_is_trained_in_place() -> None:
    first = nn.Linear(4, 8)
    module = nn.Sequential(first, nn.ReLU(), nn.Linear(8, 4))
    before = first.weight.detach().clone()
    learn(clouds(2), "finetune", module=module, train=SHORT, device="cpu")
    assert not torch.equal(before, first.weight)
    with pytest.raises(ConfigError, match="the network has 4 outputs, but the tasks need 6"):
        learn(clouds(3), "finetune", module=module, train=SHORT, device="cpu")


def test_a_strangers_method_needs_nothing_of_ours() -> None:
    class Mean:
        """Answers with the nearest class mean; trains nothing."""

        scenarios = ("task", "class")

        def __init__(self, problem: Problem) -> None:
            self.problem = problem
            self.means = torch.zeros(problem.heads.out_features, 4)
            self.counts = torch.zeros(problem.heads.out_features)
            self.task = 0

        def begin(self, task: int) -> None:
            self.task = task

        def step(self, batch: Any) -> dict[str, Tensor]:
            units = batch.y + self.problem.heads.units(self.task).start
            for unit in units.unique().tolist():
                rows = batch.x[units == unit]
                self.counts[unit] += len(rows)
                self.means[unit] += (rows - self.means[unit]).sum(0) / self.counts[unit]
            return {"loss": torch.zeros(())}

        def end(self, task: int) -> None:
            pass

        def predict(self, x: Tensor, task: int | None = None) -> Tensor:
            outputs = -torch.cdist(x, self.means)
            return self.problem.answer(outputs, task, seen=self.task + 1)

        def state_dict(self) -> dict[str, Any]:
            return {"means": self.means, "counts": self.counts, "task": self.task}

        def load_state_dict(self, state: Mapping[str, Any], /) -> None:
            self.means, self.counts, self.task = state["means"], state["counts"], state["task"]

    result = learn(clouds(3), Mean, scenario="class", train=SHORT, device="cpu")
    assert result.summary["accuracy"] > 95
    assert "parameters" not in result.summary
