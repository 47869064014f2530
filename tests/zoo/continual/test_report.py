from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from PIL import Image
from rich.console import Console
from torch import nn

from hypnet_core import TaskSpec
from hypnet_core.tasks import Heads, Problem, Split, Task
from hypnet_zoo.continual import Optimizations, Train
from hypnet_zoo.continual.learning import Learning
from hypnet_zoo.continual.methods import Finetune
from hypnet_zoo.continual.report import results_table, scores_figure, scores_plot, summarize
from hypnet_zoo.continual.scoring import Score, Scorer


def tasks(kind: str, count: int) -> list[Task]:
    split = Split.of([[0.0]], [0] if kind == "classification" else [[0.0, 0.0]])
    return [
        Task(
            TaskSpec.model_validate(
                {"name": f"t{i}", "kind": kind, "in_shape": (1,), "out_shape": (2,)}
            ),
            split,
            split,
            split,
        )
        for i in range(count)
    ]


def learned(
    kind: str,
    scores: list[list[float]],
    *,
    validation: list[list[float]] | None = None,
    ahead: tuple[list[float], list[float]] = ([], []),
) -> Learning:
    """A loop after its last task, with these scores."""
    made, train = tasks(kind, len(scores)), Train()
    heads = Heads(kind="single", sizes=(2,) * len(made))
    problem = Problem(nn.Linear(1, 2), made, heads, optimizer=Optimizations(train))
    method = Finetune(problem)
    learning = Learning(
        problem,
        method,
        train,
        scorer=Scorer(problem, method, infer="given"),
        optimizations=Optimizations(train),
    )
    learning.scores["test"] = [[Score(value) for value in row] for row in scores]
    found = scores if validation is None else validation
    learning.scores["val"] = [[Score(value) for value in row] for row in found]
    learning.ahead = {"next": ahead[0], "first": ahead[1]}
    return learning


SCORES = [[90.0], [80.0, 96.0], [70.0, 98.0, 99.0]]


def test_a_summary_says_how_well_during_and_after() -> None:
    validation = [[91.0], [82.0, 97.0], [73.0, 95.0, 96.0]]
    ahead = ([60.0, 40.0], [50.0, 45.0])
    summary = summarize(learned("classification", SCORES, validation=validation, ahead=ahead))
    assert summary["during"] == [90, 96, 99]
    assert summary["final"] == [70, 98, 99]
    assert summary["accuracy"] == pytest.approx(89)
    assert summary["accuracy_during"] == pytest.approx(95)
    assert summary["validation_accuracy"] == pytest.approx(88)
    # Chaudhry et al., Lopez-Paz and Ranzato: means over the first two tasks.
    assert summary["forgetting"] == pytest.approx((90 - 70 + 96 - 98) / 2)
    assert summary["backward_transfer"] == pytest.approx((70 - 90 + 98 - 96) / 2)
    assert summary["forward_transfer"] == pytest.approx((60 - 50 + 40 - 45) / 2)  # the last two
    assert summary["anytime"] == pytest.approx((90 + 88 + 89) / 3)
    assert summary["parameters"] == summary["generated_weights"] == 4
    assert summary["compression"] == 1.0


def test_errors_forget_upwards() -> None:
    ahead = ([0.9], [1.0])
    summary = summarize(learned("regression", [[0.1], [0.4, 0.2]], ahead=ahead))
    assert summary["forgetting"] == pytest.approx(0.3)
    assert summary["backward_transfer"] == pytest.approx(-0.3)
    assert summary["forward_transfer"] == pytest.approx(0.1)
    assert summary["mse"] == summary["validation_mse"] == pytest.approx(0.3)


def test_without_validation_samples_there_is_no_validation_score() -> None:
    learning = learned("classification", SCORES)
    learning.scores["val"] = [[None] * len(row) for row in SCORES]
    summary = summarize(learning)
    assert summary["validation_accuracy"] is summary["validation_scores"] is None


def test_validation_samples_of_some_tasks_give_their_scores_but_no_mean() -> None:
    """A mean over some tasks could not be compared with one over all."""
    learning = learned("classification", SCORES)
    learning.scores["val"] = [[None], [None, Score(90.0)], [None, Score(80.0), Score(70.0)]]
    summary = summarize(learning)
    assert summary["validation_accuracy"] is None
    assert summary["validation_scores"] == [[None], [None, 90.0], [None, 80.0, 70.0]]
    assert learning.mean_score("val") == 75.0


def test_one_task_transfers_nothing() -> None:
    summary = summarize(learned("classification", [[90.0]]))
    assert summary["backward_transfer"] is summary["forward_transfer"] is None
    assert summary["forgetting"] == 0.0


@pytest.mark.parametrize(
    ("kind", "expected"), [("classification", "89.00 %"), ("regression", "89.0000")]
)
def test_the_table_has_a_row_per_task_and_the_average(kind: str, expected: str) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(results_table(summarize(learned(kind, SCORES))))
    text = console.export_text()
    assert all(name in text for name in ("t0", "t1", "t2", "average", expected))


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("count", [1, 3, 21])
def test_the_picture_is_a_picture(kind: str, count: int) -> None:
    scores = [[50.0 + i - j for j in range(i + 1)] for i in range(count)]
    with Image.open(io.BytesIO(scores_plot(scores, tasks(kind, count)))) as image:
        image.verify()
        assert image.size[0] > 200


def test_accuracies_have_a_fixed_scale_and_every_cell_a_readable_number() -> None:
    """The contrast of each number to its cell is that which WCAG 2 (AA) asks for."""
    scores = [[100.0 * (t + j) / 58 for j in range(t + 1)] for t in range(30)]
    figure = scores_figure(scores, tasks("classification", 30))
    matrix, curves = figure.axes[:2]
    (image,) = matrix.images
    assert image.get_clim() == (0.0, 100.0)
    assert [text.get_text() for text in matrix.texts] == [f"{s:.1f}" for row in scores for s in row]
    for text in matrix.texts:
        j, t = (round(place) for place in text.get_position())
        one, other = (
            luminance(color)
            for color in (image.to_rgba(np.array([scores[t][j]]))[0], to_rgba(text.get_color()))
        )
        assert (max(one, other) + 0.05) / (min(one, other) + 0.05) > 4.5
    assert curves.get_ylim() == (-2.0, 102.0)


def luminance(rgb: Any) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb[:3]]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_each_task_has_a_curve_from_when_it_was_learned() -> None:
    curves = scores_figure(SCORES, tasks("classification", 3)).axes[1]
    points = [line.get_xydata().tolist() for line in curves.get_lines()]  # type: ignore[union-attr]
    assert points == [
        [[1, 90], [2, 80], [3, 70]],
        [[2, 96], [3, 98]],
        [[3, 99]],
    ]
