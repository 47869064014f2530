"""Checks for methods of continual learning.

They learn two small tasks. Hints: `options` (options to check it under), `steps`
(training steps of each task, 12 by default), `learns` (the least accuracy in percent
that it must reach on the task that it has just learned, 90 by default).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hypnet_core.errors import HypnetError
from hypnet_core.protocols import BatchLike, Method, TaskLike, WeightsPerTask
from hypnet_core.runs.checkpoint import load_checkpoint, save_checkpoint
from hypnet_core.runs.packing import pack, unpack
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import HeadKind, Heads, Problem, Scenario, Split, Task, mean_prediction
from hypnet_core.testing.kit import Check, NotApplicableError, Subject, expect

_HEADS: dict[str, HeadKind] = {"task": "multi", "domain": "single", "class": "growing"}
_SIZE = 48
"""Samples of each task: as many training steps see them all."""


def _tasks() -> list[Task]:
    """Two tasks of two classes each, clouds of points that a line can separate."""
    made = []
    for number in range(2):
        generator = torch.Generator().manual_seed(number)
        y = torch.arange(_SIZE) % 2
        centres = torch.tensor([[2.0, 0.0, 1.0], [-2.0, 0.0, -1.0]]).roll(number, dims=1)
        x = centres[y] + 0.3 * torch.randn(_SIZE, 3, generator=generator)
        x[:, number] += 4.0 * number
        spec = TaskSpec(
            name=f"cloud_{number}", kind="classification", in_shape=(3,), out_shape=(2,)
        )
        split = Split.of(x, y, first_id=number * _SIZE)
        made.append(Task(spec, split, split, split))
    return made


def _all(task: TaskLike) -> BatchLike:
    return next(iter(task.test.batches(_SIZE)))


def _problem(tasks: list[Task], scenario: Scenario) -> Problem:
    heads = Heads(kind=_HEADS[scenario], sizes=tuple(task.spec.classes for task in tasks))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, heads.out_features))

    def adam(parameters: Any, *, groups: Any = None) -> torch.optim.Optimizer:
        del groups  # one learning rate for all
        return torch.optim.Adam([p for p in parameters.values() if p.requires_grad], lr=0.02)

    return Problem(module, tasks, heads, scenario, adam)


def _method(subject: Subject, tasks: list[Task], scenario: Scenario) -> Method:
    options = {**subject.hint("options", {}), **subject.options}
    method: Method = subject.build(_problem(tasks, scenario), **options)
    return method


def _scenarios(subject: Subject) -> list[Scenario]:
    known: tuple[Scenario, ...] = ("task", "domain", "class")
    offered = subject.entry.load().scenarios
    return [scenario for scenario in known if scenario in offered]


def _batches(subject: Subject, task: Task, number: int) -> Iterator[BatchLike]:
    generator = torch.Generator().manual_seed(number)
    count = 0
    while True:
        for batch in task.train.batches(16, shuffle=True, generator=generator):
            if count == subject.hint("steps", 12):
                return
            count += 1
            yield batch


def _learn(subject: Subject, method: Method, tasks: list[Task], *, first: int = 0) -> None:
    for number, task in enumerate(tasks):
        if number >= first:
            torch.manual_seed(number)
            method.begin(number)
            for batch in _batches(subject, task, number):
                method.step(batch)
            method.end(number)


def _answers(method: Method, tasks: list[Task], scenario: Scenario, seen: int) -> list[Tensor]:
    """Predictions for all tasks so far, with and without their number."""
    with torch.no_grad():
        found = [method.predict(_all(t).x, i) for i, t in enumerate(tasks[:seen])]
        if scenario != "task" and not isinstance(method, WeightsPerTask):
            found += [method.predict(_all(task).x) for task in tasks[:seen]]
    return found


def it_names_its_scenarios(subject: Subject) -> None:
    """Its attribute `scenarios` names some of `task`, `domain` and `class`."""
    offered = list(getattr(subject.entry.load(), "scenarios", ()))
    unknown = [name for name in offered if name not in _HEADS]
    expect(offered, "it has no attribute `scenarios`, or an empty one")
    expect(not unknown, f"there are no scenarios {unknown}")


def it_has_the_methods_of_a_method(subject: Subject) -> None:
    """It has the methods of the protocol `Method`."""
    method = _method(subject, _tasks(), _scenarios(subject)[0])
    expect(isinstance(method, Method), "it lacks begin, step, end, predict or a state")


def it_learns_the_task_at_hand(subject: Subject) -> None:
    """It predicts the task that it has just learned, in each of its scenarios."""
    least = float(subject.hint("learns", 90.0))
    for scenario in _scenarios(subject):
        tasks = _tasks()
        method = _method(subject, tasks, scenario)
        for number, task in enumerate(tasks):
            torch.manual_seed(number)
            method.begin(number)
            # Twice the steps of the other checks: this one wants success.
            for _ in range(4):
                for batch in _batches(subject, task, number):
                    method.step(batch)
            method.end(number)
            batch = _all(task)
            with torch.no_grad():
                right = method.predict(batch.x, number).argmax(dim=1) == batch.y
            accuracy = 100.0 * float(right.float().mean())
            expect(
                accuracy >= least,
                f"scenario {scenario}: {accuracy:.1f} % on task {number + 1}, expected {least} %",
            )


def its_losses_are_finite_scalars(subject: Subject) -> None:
    """A step returns finite scalars without a graph, `loss` among them."""
    for scenario in _scenarios(subject):
        tasks = _tasks()
        method = _method(subject, tasks, scenario)
        for number, task in enumerate(tasks):
            method.begin(number)
            for batch in _batches(subject, task, number):
                losses = method.step(batch)
                expect("loss" in losses, f"a step returns {sorted(losses)}, without `loss`")
                for name, value in losses.items():
                    expect(
                        value.ndim == 0 and not value.requires_grad and math.isfinite(value),
                        f"scenario {scenario}: {name} is {value}",
                    )
            method.end(number)


def predictions_have_one_row_per_sample(subject: Subject) -> None:
    """Predictions have the classes of the task, or without one those of all tasks."""
    for scenario in _scenarios(subject):
        tasks = _tasks()
        method = _method(subject, tasks, scenario)
        _learn(subject, method, tasks)
        classes = [2, 2] if scenario == "task" else [2, 2, *[4 if scenario == "class" else 2] * 2]
        for answer, wanted in zip(_answers(method, tasks, scenario, 2), classes, strict=False):
            expect(
                isinstance(answer, Tensor),
                f"scenario {scenario}: predictions are a {type(answer).__name__}, no tensor",
            )
            expect(
                tuple(answer.shape) == (_SIZE, wanted),
                f"scenario {scenario}: predictions are {list(answer.shape)}, expected"
                f" {[_SIZE, wanted]}",
            )


def predictions_are_finite(subject: Subject) -> None:
    """No prediction is NaN; minus infinity stands for a class that is impossible."""
    for scenario in _scenarios(subject):
        tasks = _tasks()
        method = _method(subject, tasks, scenario)
        _learn(subject, method, tasks)
        for answer in _answers(method, tasks, scenario, 2):
            bad = ~answer.amax(dim=1).isfinite()
            expect(
                not bool(bad.any()),
                f"scenario {scenario}: predictions for {int(bad.sum())} of {len(answer)} samples"
                " are infinite or NaN",
            )


def predicting_changes_nothing(subject: Subject) -> None:
    """Predictions are the same when they are asked for again, and the state too."""
    for scenario in _scenarios(subject):
        tasks = _tasks()
        method = _method(subject, tasks, scenario)
        _learn(subject, method, tasks)
        before = _frozen(method)
        first = _answers(method, tasks, scenario, 2)
        second = _answers(method, tasks, scenario, 2)
        expect(
            all(torch.equal(a, b) for a, b in zip(first, second, strict=True)),
            f"scenario {scenario}: the same inputs give other predictions",
        )
        _expect_equal(before, _frozen(method), f"scenario {scenario}: predicting")


def it_continues_from_its_state(subject: Subject) -> None:
    """Saved to a file in the middle of a task and loaded, it ends the same."""
    for scenario in _scenarios(subject):
        tasks = _tasks()
        whole = _method(subject, tasks, scenario)
        _learn(subject, whole, tasks[:1])
        torch.manual_seed(7)
        whole.begin(1)
        batches = list(_batches(subject, tasks[1], 1))
        for batch in batches[: len(batches) // 2]:
            whole.step(batch)
        state = _from_file(whole)
        random = torch.get_rng_state()
        again = _method(subject, _tasks(), scenario)
        again.load_state_dict(state)
        ends = []
        for method in (whole, again):
            torch.set_rng_state(random)
            for batch in batches[len(batches) // 2 :]:
                method.step(batch)
            method.end(1)
            ends.append((_answers(method, tasks, scenario, 2), _frozen(method)))
        expect(
            all(torch.equal(a, b) for a, b in zip(ends[0][0], ends[1][0], strict=True)),
            f"scenario {scenario}: after loading its state it learns something else",
        )
        _expect_equal(ends[0][1], ends[1][1], f"scenario {scenario}: saving and loading")


def inference_gives_each_task_its_weights(subject: Subject) -> None:
    """The outputs by the weights of each task are those of `predict` for that task."""
    for scenario in _scenarios(subject):
        tasks = _tasks()
        method = _method(subject, tasks, scenario)
        if not isinstance(method, WeightsPerTask):
            raise NotApplicableError("all tasks share its weights")
        _learn(subject, method, tasks)
        x = _all(tasks[0]).x
        with torch.no_grad():
            found = method.predict_each(x, [0, 1])
            expect(len(found) == 2, f"predict_each gives {len(found)} outputs for 2 tasks")
            for number, task in enumerate(tasks):
                mean = mean_prediction(found[number], task.spec)
                answer = method.predict(x, number)
                # As probabilities: logits may differ by a constant.
                expect(
                    torch.allclose(mean.softmax(-1), answer.softmax(-1), atol=1e-4),
                    f"scenario {scenario}: predict_each differs from predict for task {number + 1}",
                )


def losses_that_are_not_finite_do_not_pass(subject: Subject) -> None:
    """Inputs that are NaN give a loss that is NaN, or an error by name; no number."""
    tasks = _tasks()
    method = _method(subject, tasks, _scenarios(subject)[0])
    method.begin(0)
    batch = _all(tasks[0])
    batch.x.fill_(float("nan"))
    try:
        losses = method.step(batch)
    except HypnetError:
        return
    loss = float(losses["loss"].detach())
    expect(not math.isfinite(loss), f"the loss of NaN is {loss}")


def _from_file(method: Method) -> Any:
    """The state of a method, as a checkpoint gives it back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "method.safetensors")
        tensors, rest = pack("method", method.state_dict())
        save_checkpoint(path, tensors, {"method": rest})
        found = load_checkpoint(path)
    return unpack(found.tensors, found.state["method"])


def _frozen(method: Method) -> tuple[dict[str, Tensor], Any]:
    tensors, rest = pack("method", method.state_dict())
    return {name: tensor.clone() for name, tensor in tensors.items()}, rest


def _expect_equal(before: Any, after: Any, story: str) -> None:
    expect(before[1] == after[1], f"{story} changes its state")
    expect(before[0].keys() == after[0].keys(), f"{story} changes the tensors of its state")
    changed = [
        name for name, tensor in before[0].items() if not torch.equal(tensor, after[0][name])
    ]
    expect(not changed, f"{story} changes {', '.join(changed[:3])}")


CHECKS: tuple[Check, ...] = (
    it_names_its_scenarios,
    it_has_the_methods_of_a_method,
    it_learns_the_task_at_hand,
    its_losses_are_finite_scalars,
    predictions_have_one_row_per_sample,
    predictions_are_finite,
    predicting_changes_nothing,
    it_continues_from_its_state,
    inference_gives_each_task_its_weights,
    losses_that_are_not_finite_do_not_pass,
)
