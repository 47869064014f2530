from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from PIL import Image
from rich.console import Console

from hypnet_core import TaskSpec
from hypnet_core.tasks import Split, Task
from hypnet_zoo.experiments._hypercl.report import (
    results_table,
    scores_figure,
    scores_plot,
    summarize,
)


def tasks(kind: str, count: int) -> list[Task]:
    split = Split.of([[0.0]], [0] if kind == "classification" else [[0.0, 0.0]])
    return [
        Task(
            TaskSpec.model_validate(
                {"name": f"t{i}", "kind": kind, "in_shape": (1,), "out_shape": (2,)}
            ),
            split,
            split,
        )
        for i in range(count)
    ]


SCORES = [[90.0], [80.0, 96.0], [70.0, 98.0, 99.0]]


def test_a_summary_says_how_well_during_and_after() -> None:
    summary = summarize(SCORES, tasks("classification", 3), generated=100, parameters=120)
    assert summary["during"] == [90, 96, 99]
    assert summary["final"] == [70, 98, 99]
    assert summary["accuracy"] == pytest.approx(89)
    assert summary["accuracy_during"] == pytest.approx(95)
    assert summary["forgetting"] == pytest.approx(6)
    assert summary["compression"] == pytest.approx(1.2)


def test_errors_forget_upwards() -> None:
    summary = summarize([[0.1], [0.4, 0.2]], tasks("regression", 2), generated=1, parameters=1)
    assert summary["forgetting"] == pytest.approx(0.15)
    assert summary["mse"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("kind", "expected"), [("classification", "89.00 %"), ("regression", "89.0000")]
)
def test_the_table_has_a_row_per_task_and_the_average(kind: str, expected: str) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(results_table(summarize(SCORES, tasks(kind, 3), generated=1, parameters=1)))
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
