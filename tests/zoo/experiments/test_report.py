from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from hypnet_core import TaskSpec
from hypnet_core.tasks import Split, Task
from hypnet_zoo.experiments._hypercl.report import results_table, save_scores_plot, summarize


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
def test_the_picture_is_a_picture(tmp_path: Path, kind: str, count: int) -> None:
    scores = [[50.0 + i - j for j in range(i + 1)] for i in range(count)]
    save_scores_plot(tmp_path / "scores.png", scores, tasks(kind, count))
    with Image.open(tmp_path / "scores.png") as image:
        image.verify()
        assert image.size[0] > 200
