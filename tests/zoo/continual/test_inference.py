"""Inference of tasks, and scores in each scenario, against closed forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from tests.zoo.continual.problems import clouds, problem
from torch import Tensor, nn

from hypnet_core import Split, Task, TaskSpec
from hypnet_core.errors import ConfigError
from hypnet_core.tasks import Heads, Problem
from hypnet_zoo.continual import Infer, infer
from hypnet_zoo.continual.inference import uncertainty
from hypnet_zoo.continual.scoring import Scorer

PROBABILITIES = torch.tensor([[[0.9, 0.1], [0.5, 0.5]], [[0.7, 0.3], [0.1, 0.9]]])
"""Two draws, two samples, two classes."""


def test_entropy_is_that_of_the_mean_prediction() -> None:
    found = uncertainty(PROBABILITIES.log(), "entropy", classification=True)
    mean = torch.tensor([[0.8, 0.2], [0.3, 0.7]])
    torch.testing.assert_close(found, torch.distributions.Categorical(mean).entropy())


def test_the_most_probable_prediction_has_the_least_uncertainty() -> None:
    found = uncertainty(PROBABILITIES.log(), "max_likelihood", classification=True)
    torch.testing.assert_close(found, -torch.tensor([0.8, 0.7]).log())


def test_agreement_is_the_deviation_between_draws() -> None:
    found = uncertainty(PROBABILITIES.log(), "agreement", classification=True)
    torch.testing.assert_close(found, torch.tensor([0.2, 0.4]) / 2**0.5)


def test_a_regression_is_uncertain_where_its_draws_differ() -> None:
    draws = torch.tensor([[[1.0], [0.0]], [[3.0], [0.5]]])
    found = uncertainty(draws, "entropy", classification=False)
    torch.testing.assert_close(found, torch.tensor([2.0, 0.125]).log())
    assert infer([draws, draws.flip(1)], "agreement", classification=False).tolist() == [1, 0]
    with pytest.raises(ConfigError, match="needs classes"):
        uncertainty(draws, "max_likelihood", classification=False)
    with pytest.raises(ConfigError, match="how much several draws of weights differ"):
        uncertainty(draws[:1], "entropy", classification=False)


def test_the_surest_task_wins() -> None:
    sure, unsure = torch.tensor([[[9.0, 0.0]]]), torch.tensor([[[0.1, 0.0]]])
    assert infer([unsure, sure], "entropy", classification=True).tolist() == [1]
    assert infer([sure, unsure], "max_likelihood", classification=True).tolist() == [0]


def test_entropies_are_relative_to_the_number_of_classes() -> None:
    """Of two undecided tasks, the one with ten classes would always lose."""
    two, ten = torch.zeros(1, 1, 2), torch.zeros(1, 1, 10)
    ten[..., 0] = 0.2
    assert infer([two, ten], "entropy", classification=True).tolist() == [1]


def test_only_the_steps_of_a_sequence_count() -> None:
    sure, unsure = torch.tensor([9.0, 0.0]), torch.tensor([0.0, 0.0])
    first = torch.stack([sure, unsure])[None, None]
    second = torch.stack([unsure * 2, sure])[None, None]
    counted = torch.tensor([[True, False]])
    assert infer([second, first], "entropy", classification=True, counted=counted).tolist() == [1]


class Sure:
    """A method that knows the classes of its tasks, and is sure of its own task alone.

    Its input holds the number of the task and the class.
    """

    scenarios = ("task", "domain", "class")

    def __init__(self, made: Problem) -> None:
        self.problem = made

    def begin(self, task: int) -> None: ...

    def step(self, batch: Any) -> dict[str, Tensor]:
        raise NotImplementedError

    def end(self, task: int) -> None: ...

    def predict(self, x: Tensor, task: int | None = None) -> Tensor:
        return self.predict_each(x, [task or 0])[0][0]

    def predict_each(self, x: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        found = []
        for task in tasks:
            logits = torch.nn.functional.one_hot(x[:, 1].long(), 2).float()
            found.append((logits * torch.where(x[:, :1] == task, 9.0, 0.5))[None])
        return found

    def state_dict(self) -> Mapping[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None: ...


def test_scores_follow_the_inferred_task() -> None:
    """A quarter of the samples look as if they were of the other task."""
    tasks = clouds(2, size=40, features=2)
    changed = []
    for number, task in enumerate(tasks):
        y = task.test.samples.y  # type: ignore[attr-defined]
        looks = torch.full((40,), float(number))
        looks[:10] = 1.0 - number
        task.test.samples.x.copy_(torch.stack([looks, y.float()], dim=1))  # type: ignore[attr-defined]
        changed.append(task)
    for scenario, expected in (("class", 75.0), ("domain", 100.0)):
        made = problem(changed, "single", scenario)  # type: ignore[arg-type]
        scorer = Scorer(made, Sure(made), infer="entropy", batch_size=7)
        score = scorer.score(1, changed[1].test, seen=2)
        # Under `domain` the class within the task is all that is asked.
        assert [score.value, score.inferred] == pytest.approx([expected, 75.0])
    given = problem(changed, "single")
    score = Scorer(given, Sure(given), infer="given").score(1, changed[1].test, seen=2)
    assert (score.value, score.inferred) == (100.0, None)


def test_padding_of_a_regression_does_not_count() -> None:
    """In it, the draws of the right task differ most."""
    steps = torch.tensor([[0.1, 0.1, 9.0], [0.2, 0.2, 0.0]])
    right, wrong = (torch.stack([row, -row])[:, None, :, None] for row in steps)
    counted = torch.tensor([[True, True, False]])
    criteria: tuple[Infer, ...] = ("entropy", "agreement")
    for how in criteria:
        found = infer([wrong, right], how, classification=False, counted=counted)
        assert found.tolist() == [1]
    spread = uncertainty(right, "agreement", classification=False, counted=counted)
    torch.testing.assert_close(spread, torch.tensor([2 * 0.1**2]).sqrt())


class Draws:
    """A method with two draws per task, which are right for the samples of task 0.

    Inputs are targets. At steps of padding, or at all but the last step of sequences
    with one target, its draws differ the more for the right task.
    """

    scenarios = ("task", "domain", "class")

    def __init__(self, made: Problem, lengths: Tensor, *, last: bool) -> None:
        self.problem, self.lengths, self.last = made, lengths, last

    def begin(self, task: int) -> None: ...

    def step(self, batch: Any) -> dict[str, Tensor]:
        raise NotImplementedError

    def end(self, task: int) -> None: ...

    def predict(self, x: Tensor, task: int | None = None) -> Tensor:
        return self.predict_each(x, [task or 0])[0].mean(dim=0)

    def predict_each(self, x: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        steps = torch.arange(x.shape[1])
        answers = steps == self.lengths[:, None] - 1 if self.last else steps < self.lengths[:, None]
        found = []
        for task in tasks:
            sure = answers if task == 0 else ~answers
            spread = torch.where(sure, 0.01, 5.0)[..., None]
            found.append(torch.stack([x + spread, x - spread]) + task)
        return found

    def state_dict(self) -> Mapping[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None: ...


@pytest.mark.parametrize("last", [False, True])
def test_tasks_of_sequences_are_inferred_by_the_steps_that_answer(last: bool) -> None:
    lengths = torch.tensor([1, 4, 2, 5])
    x = torch.randn(4, 5, 1, generator=torch.Generator().manual_seed(0))
    y = x[torch.arange(4), lengths - 1] if last else x
    split = Split.of(x, y, lengths=lengths)
    spec = TaskSpec(name="s", kind="regression", in_shape=(1,), out_shape=(1,), sequence=True)
    tasks = [Task(spec, split, split) for _ in range(2)]
    made = Problem(nn.Linear(1, 1), tasks, Heads(kind="single", sizes=(1, 1)), "domain")
    score = Scorer(made, Draws(made, lengths, last=last), infer="entropy").score(0, split, seen=2)
    assert score.inferred == 100.0
    assert score.value == pytest.approx(0.0, abs=1e-10)
