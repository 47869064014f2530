from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from PIL import Image

from hypnet_core.errors import ConfigError, DataError, HypnetError
from hypnet_data import toy_regression
from hypnet_data.plots import (
    plot_regression,
    plot_regression_predictions,
    plot_regression_samples,
    plot_regressions,
)
from hypnet_data.toy import RegressionTask


@pytest.fixture
def task() -> RegressionTask:
    return toy_regression(std=0.1, validation_interval=(-5, 5), validation_size=7)


def test_a_dataset_shows_the_samples_of_all_splits_and_the_function(task: RegressionTask) -> None:
    axes = plot_regression(task).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == {"function", "train", "test", "val"}
    for name, split in task.splits.items():
        batch = next(split.batches(len(split)))
        assert np.array_equal(lines[name].get_xdata(), batch.x[:, 0].numpy())
        assert np.array_equal(lines[name].get_ydata(), batch.y[:, 0].numpy())
    x = np.asarray(lines["function"].get_xdata())
    assert (x.min(), x.max()) == (-10, 10)
    assert np.allclose(np.asarray(lines["function"].get_ydata()), np.sin(x))
    legend = axes.get_legend()
    assert legend is not None
    assert {text.get_text() for text in legend.get_texts()} == set(lines)


def test_predictions_are_drawn_from_left_to_right_whatever_their_order(
    task: RegressionTask,
) -> None:
    x = torch.tensor([[3.0], [1.0], [2.0]], requires_grad=True)
    axes = plot_regression_predictions(task, x, x * 10, label="network").axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == {"function", "train", "test", "network"}
    assert np.asarray(lines["network"].get_xdata()).tolist() == [1, 2, 3]
    assert np.asarray(lines["network"].get_ydata()).tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("show_train", "show_test"), [(True, False), (False, True), (False, False)]
)
def test_samples_beside_predictions_are_shown_as_asked(
    task: RegressionTask, show_train: bool, show_test: bool
) -> None:
    axes = plot_regression_predictions(
        task, [0, 1], [0, 1], show_train=show_train, show_test=show_test
    ).axes[0]
    labels = {line.get_label() for line in axes.lines}
    assert ("train" in labels, "test" in labels) == (show_train, show_test)


def test_several_tasks_have_a_colour_and_a_label_each() -> None:
    tasks = [toy_regression(function=name) for name in ("sine", "absolute", "identity")]
    x = [[0.0, 1.0]] * 3
    axes = plot_regressions(
        tasks,
        inputs=x,
        predictions=x,
        labels=["a", "b", "c"],
        function_ranges=[(0, 1), (0, 2), (0, 3)],
    ).axes[0]
    by_label = {str(line.get_label()): line for line in axes.lines}
    assert {"a", "b", "c", "a, predicted", "b, predicted", "c, predicted"} <= set(by_label)
    assert len({by_label[name].get_color() for name in "abc"}) == 3
    assert by_label["a"].get_color() == by_label["a, predicted"].get_color()
    assert [np.asarray(by_label[name].get_xdata()).max() for name in "abc"] == [1, 2, 3]
    assert plot_regressions(tasks[:1]).axes[0].lines[0].get_label() == "task 1"


def test_publication_style_is_larger_and_has_no_title() -> None:
    plain = plot_regressions([toy_regression()]).axes[0]
    for_print = plot_regressions([toy_regression()], publication_style=True).axes[0]
    assert plain.get_title()
    assert not for_print.get_title()
    assert for_print.lines[0].get_linewidth() > plain.lines[0].get_linewidth()
    assert float(for_print.xaxis.label.get_fontsize()) > float(plain.xaxis.label.get_fontsize())
    assert not for_print.spines["top"].get_visible()


def test_samples_are_drawn_with_targets_predictions_or_both() -> None:
    figure = plot_regression_samples(
        "Some", [1, 2], targets=torch.tensor([[3.0], [4.0]]), predictions=[5, 6]
    )
    axes = figure.axes[0]
    assert axes.get_title() == "Some"
    assert [(line.get_label(), np.asarray(line.get_ydata()).tolist()) for line in axes.lines] == [
        ("target", [3, 4]),
        ("prediction", [5, 6]),
    ]
    assert len(plot_regression_samples("Some", [1], targets=[2]).axes[0].lines) == 1
    with pytest.raises(ConfigError, match="nothing to draw"):
        plot_regression_samples("None", [1])


def test_a_figure_is_saved_as_png_pdf_or_svg(task: RegressionTask, tmp_path: Path) -> None:
    for ending in ("png", "pdf", "svg", "PNG"):
        plot_regression(task, path=tmp_path / f"figure.{ending}", figsize=(4, 3))
    with Image.open(tmp_path / "figure.png") as image:
        assert image.size == (400, 300)
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF-")
    assert ET.parse(tmp_path / "figure.svg").getroot().tag.endswith("svg")


def test_a_figure_is_not_saved_unless_asked_for(
    task: RegressionTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plot_regression(task)
    assert list(tmp_path.iterdir()) == []


def test_another_ending_is_an_error_that_names_those_that_there_are(
    task: RegressionTask, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"saved as png, pdf, svg.*figure\.bmp has none"):
        plot_regression(task, path=tmp_path / "figure.bmp")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        plot_regression(task, path=tmp_path / "file" / "figure.png")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": [[1.0]]}, "inputs and predictions go together"),
        (
            {"labels": ["a", "b"]},
            "labels must have one entry per task: there are 1 tasks, but 2 entries",
        ),
        ({"inputs": [[1.0]], "predictions": [[1.0, 2.0]]}, "there are 1 inputs, but 2 values"),
    ],
)
def test_what_does_not_fit_together_is_an_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plot_regressions([toy_regression()], **options)


def test_drawing_needs_no_display_and_never_imports_pyplot() -> None:
    """One process for functions and for images, as each takes seconds to start."""
    code = """
import sys
from hypnet_data import digits, toy_regression
from hypnet_data.plots import plot_regression, plot_samples

assert "matplotlib" not in sys.modules
plot_regression(toy_regression())
task = digits()
plot_samples(task.spec, next(task.test.batches(2)).x)
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={"MPLBACKEND": "TkAgg", "PATH": ""},
        timeout=60,
    )


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(HypnetError) as caught:
        plot_regression(toy_regression())
    assert (
        str(caught.value)
        == "plots need matplotlib: install hypnet-data with its extra, hypnet-data[plots]"
    )
