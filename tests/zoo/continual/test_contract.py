"""Mistakes of users and methods are errors of one line that names them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tests.zoo.continual.problems import clouds
from torch import Tensor, nn

from hypnet_core.errors import ConfigError, DataError, DivergedError, HypnetError, SpecError
from hypnet_core.plugins import HypernetChoice
from hypnet_core.protocols import Callback
from hypnet_core.tasks import Problem, Scenario
from hypnet_zoo.continual import learn
from hypnet_zoo.continual.methods import Finetune, Hypernet, LwF, Masking, Replay

X = np.ones((3, 2))
HMLP = HypernetChoice.of("hmlp")
SHORT = {"iterations": 4, "batch_size": 16, "validate_every": 0}


def message(error: type[HypnetError], tasks: Any, method: Any, **options: Any) -> str:
    """The message of the error that learning raises, which is one line."""
    with pytest.raises(error) as caught:
        learn(tasks, method, train=SHORT, device="cpu", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def stepping(result: Any) -> type[Finetune]:
    """A method whose steps give something."""

    class Steps(Finetune):
        def step(self, batch: Any) -> dict[str, Tensor]:
            super().step(batch)
            return result  # type: ignore[no-any-return]

    return Steps


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (None, 'the method Steps: step gives None: expected losses by name, such as {"loss"'),
        (torch.zeros(()), "step gives a tensor of shape []: expected losses by name"),
        ({"error": torch.zeros(())}, "step gives {'error': tensor(0.)}: expected losses by name"),
        ({"loss": 0.3}, "step gives 0.3 as 'loss': expected a tensor of one number"),
        (
            {"loss": torch.zeros(()), "penalty": torch.zeros(3)},
            "step gives a tensor of shape [3] as 'penalty'",
        ),
    ],
)
def test_a_step_must_give_its_losses_by_name(result: Any, expected: str) -> None:
    assert expected in message(SpecError, clouds(2), stepping(result))


def predicting(change: Any) -> type[Finetune]:
    """A method whose predictions are changed."""

    class Predicts(Finetune):
        def predict(self, x: Tensor, task: int | None = None) -> Tensor:
            return change(super().predict(x, task))  # type: ignore[no-any-return]

    return Predicts


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda found: found[:-1], "predictions for 60 samples have shape [59, 2], expected"),
        (lambda found: found[:, :1], "predictions for 60 samples have shape [60, 1], expected"),
        (lambda found: found[0], "predictions for 60 samples have shape [2], expected"),
        (lambda found: found.tolist(), "predictions are [["),
    ],
)
@pytest.mark.parametrize("scenario", ["task", "domain", "class"])
def test_predictions_must_be_one_row_per_sample(
    change: Any, expected: str, scenario: Scenario
) -> None:
    found = message(SpecError, clouds(2), predicting(change), scenario=scenario)
    # Before the first task is learned, the second is asked for where that is possible.
    number = 1 if scenario == "class" else 2
    assert found.startswith(f"the method Predicts, task {number}: {expected}")


def test_the_classes_of_all_tasks_so_far_are_asked_for_without_a_task() -> None:
    """Those of later tasks would compete, too."""

    class All(Finetune):
        def predict(self, x: Tensor, task: int | None = None) -> Tensor:
            outputs: Tensor = self.model(x)
            return outputs

    found = message(SpecError, clouds(2), All, scenario="class")
    assert found == (
        "the method All, task 1: predictions for 60 samples have shape [60, 4], expected [60, 2]"
    )


def spoilt(found: Tensor, value: float) -> Tensor:
    """The same predictions, but one number."""
    found = found.clone()
    found[-1, 0] = value
    return found


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_prediction_that_is_not_finite_is_no_score(value: float) -> None:
    method = predicting(lambda found: spoilt(found, value))
    x = torch.randn(40, 3)
    numbers = [{"train": (x, x[:, :2]), "test": (x, x[:, :2])}] * 2
    for tasks in (clouds(2), numbers):
        found = message(DivergedError, tasks, method)
        assert found == "the method Predicts, task 2: predictions are infinite or NaN"


def test_an_impossible_class_may_have_a_logit_of_minus_infinity() -> None:
    method = predicting(lambda found: found.where(found == found.amax(1, True), -torch.inf))
    tasks = clouds(2)
    assert learn(tasks, method, train=SHORT, device="cpu").accuracies.shape == (2, 2)
    x = torch.randn(40, 3)
    numbers = [{"train": (x, x[:, :2]), "test": (x, x[:, :2])}]
    message(DivergedError, numbers, predicting(lambda found: spoilt(found, -torch.inf)))


class Each(Hypernet):
    """Gives outputs for some of the tasks alone, or other ones."""

    change: Any

    def predict_each(self, x: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        found: list[Tensor] = type(self).change(super().predict_each(x, tasks))
        return found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda each: each[:-1], "predict_each gives 0 outputs for 1 tasks"),
        (lambda each: [one[..., :1] for one in each], "have shape [2, 1], expected [2, 2]"),
        (lambda each: [one[0] for one in each], "have shape [2], expected [2, 2]"),
    ],
)
def test_outputs_by_the_weights_of_each_task_are_checked_too(change: Any, expected: str) -> None:
    method = type("Changed", (Each,), {"change": staticmethod(change)})
    chosen = functools.partial(method, hnet=HMLP)
    found = message(SpecError, clouds(2), chosen, scenario="class")
    assert found.startswith("the method Changed, task 1: ")
    assert expected in found


class Elsewhere(Hypernet):
    """Infers a task that there is not."""

    def infer_task(self, x: Tensor) -> Tensor:
        return torch.full((len(x),), 7)


def test_an_inferred_task_is_one_that_was_begun() -> None:
    chosen = functools.partial(Elsewhere, hnet=HMLP)
    found = message(SpecError, clouds(2), chosen, scenario="class")
    assert "infer_task must give one number from 0 to 0 for each of 2 samples" in found


def nothing() -> None:
    """A function that takes no problem."""


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (nn.Linear(2, 2), "expected a name, class or function, got Linear(in_features=2"),
        (nn.Linear(2, 2), ": networks are given as module="),
        (None, "method: expected a name, class or function, got None"),
        (nothing, "must take a Problem: too many positional arguments"),
        (
            lambda _: nn.Linear(2, 2),
            "<lambda> makes a Linear, which has no scenarios, begin, step, end, predict",
        ),
    ],
)
def test_something_that_is_no_method_is_named(method: Any, expected: str) -> None:
    assert expected in message(ConfigError, clouds(2), method)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"scenario": "clas"}, "scenario: there is no 'clas'; did you mean 'class'"),
        ({"heads": "muti"}, "heads: there is no 'muti'; did you mean 'multi'?"),
        ({"heads": "foo"}, "heads: there is no 'foo'; there is: growing, multi, single"),
        ({"infer": "entropie"}, "infer: there is no 'entropie'; did you mean 'entropy'?"),
        ({"callbacks": [object()]}, "callbacks: a object has no begin_run: derive from"),
        ({"module": 3}, "module: expected a network or its name, got 3"),
        ({"module": nothing}, "must take the shape of inputs and the number of outputs"),
    ],
)
def test_a_wrong_argument_is_named(options: Any, expected: str) -> None:
    assert expected in message(ConfigError, clouds(2), "hypernet", **options)


def test_a_function_with_options_is_a_method_by_the_name_of_its_class() -> None:
    chosen = functools.partial(Replay, budget=1)
    found = message(ConfigError, clouds(2), chosen, scenario="class")
    assert "1 samples are less than one for each of 4" in found


def made_by(problem: Problem) -> Hypernet:
    return Hypernet(problem, hnet=HMLP)


def test_a_function_that_makes_weights_per_task_infers_tasks() -> None:
    result = learn(clouds(2), made_by, scenario="class", train=SHORT, device="cpu")
    assert result.summary["inferred"] is not None


def test_regressions_are_told_that_inference_needs_draws() -> None:
    """Without a word about a criterion that nobody has chosen."""
    x = torch.randn(40, 3)
    numbers = [{"train": (x, x), "test": (x, x)}] * 2
    found = message(ConfigError, numbers, {"name": "hypernet", "hnet": "hmlp"}, scenario="domain")
    assert (
        "the task of a regression is inferred by how much several draws of weights differ" in found
    )
    assert "entropy" not in found
    ensemble = {"name": "separate", "members": 2}
    learn(numbers, ensemble, scenario="domain", train=SHORT, device="cpu")
    growing = message(ConfigError, numbers, "ewc", heads="growing")
    assert "heads=growing: regressions have no classes that compete" in growing


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            [{"train": (np.ones((4, 2)), [0, 1, 0, 1]), "test": (np.ones((0, 2)), [])}],
            "task_1, test",
        ),
        ([{"train": (np.ones((4, 2)), [0, 1]), "test": (np.ones((4, 2)), [0])}], "task_1, train: "),
        ({"train": 1, "test": 2}, "expected a list of tasks, got one task: put it into a list"),
        (clouds(1)[0], "expected a list of tasks, got one task: put it into a list"),
        (7, "tasks: expected a list of tasks, got 7"),
    ],
)
def test_tasks_that_are_none_are_named(given: Any, expected: str) -> None:
    assert expected in message(DataError, given, "finetune")


def test_what_is_tried_beforehand_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    """Neither in the log, nor in the results."""
    chunked = {"name": "hypernet", "hnet": {"name": "chunked_hmlp", "chunk_size": 10_000}}
    module = {"name": "mlp", "hidden": (8,)}
    options: Any = {"train": SHORT, "device": "cpu", "module": module}
    tried = learn(clouds(2), chunked, infer="given", **options)
    plain = learn(clouds(2), chunked, scenario="class", **options)
    grouped = {**SHORT, "groups": {"theta": {"lr": 1e-3}}}
    again = learn(clouds(2), chunked, **{**options, "train": grouped})
    said = [record.message for record in caplog.records]
    assert len(said) == 3
    assert all("chunk_size 10000 exceeds" in line for line in said)
    assert again.summary == tried.summary
    assert plain.summary["inferred"] is not None


def test_a_size_that_a_method_leaves_out_is_no_reason_to_fail() -> None:
    class Few(Finetune):
        def sizes(self) -> dict[str, int]:
            return {"parameters": 3}

    summary = learn(clouds(1), Few, train=SHORT, device="cpu").summary
    assert summary["parameters"] == 3
    assert summary["compression"] is summary["memory_bytes"] is None


def partial_of(method: Any, **options: Any) -> Any:
    """A partial whose options a type checker would refuse."""
    return functools.partial(method, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed: expected a whole number from 0 to"),
        ({"seed": 1.5}, "seed: expected a whole number"),
        ({"device": None}, "device: expected a name such as"),
        ({"directory": 5}, "directory: expected a path, got 5"),
        ({"callbacks": Callback}, "callbacks: expected a list of callbacks"),
        ({"module": nn.Linear}, "module: Linear is a class of torch"),
        ({"module": lambda i, o: None}, "module: a function that makes a network gave a NoneType"),
        ({"method": partial_of(Replay, selection="foo")}, "selection"),
        ({"method": partial_of(Replay, budgt=5)}, "did you mean 'budget'"),
        ({"method": partial_of(LwF, temperature=0.0)}, "temperature"),
        ({"method": partial_of(Masking, gated=2.0)}, "gated"),
    ],
)
def test_wrong_arguments_of_learn_are_one_line(arguments: Any, message: str) -> None:
    method = arguments.pop("method", "finetune")
    with pytest.raises(HypnetError, match=message) as caught:
        learn(clouds(2), method, train={"iterations": 2}, **{"device": "cpu", **arguments})
    assert "\n" not in str(caught.value)


def test_options_of_partials_are_those_of_mappings() -> None:
    """A mapping inside a partial becomes what the option is."""
    options: Any = {"train": {"iterations": 6}, "device": "cpu"}
    hnet = {"name": "hmlp", "hidden": (6,)}
    first = learn(clouds(2), partial_of(Hypernet, hnet=hnet, protect={"beta": 0.7}), **options)
    named = {"name": "hypernet", "hnet": hnet, "protect": {"beta": 0.7}}
    assert first.summary == learn(clouds(2), named, **options).summary


class NoSizes(Finetune):
    """Tells no sizes."""

    def sizes(self) -> Any:
        return None


class NoScenarios(Finetune):
    """Tells no scenarios."""

    scenarios = None  # type: ignore[assignment]


def test_methods_that_tell_nothing_about_themselves() -> None:
    options: Any = {"train": {"iterations": 2}, "device": "cpu"}
    assert learn(clouds(2), NoSizes, **options).summary["parameters"] is None
    with pytest.raises(ConfigError, match="the scenarios of NoScenarios are None"):
        learn(clouds(2), partial_of(NoScenarios), **options)
