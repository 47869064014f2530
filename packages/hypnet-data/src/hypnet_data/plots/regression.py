"""Figures of regression of one variable: functions, samples and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import with_defaults
from hypnet_core.protocols import SplitLike
from hypnet_data.plots.figures import SizedFigureOptions, array_of, finished, new_figure
from hypnet_data.toy.regression import Interval, RegressionTask

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values: TypeAlias = torch.Tensor | NDArray[Any] | Sequence[float]
"""Numbers `[n]` or `[n, 1]`."""

_POINTS = 500


def plot_regression(
    task: RegressionTask,
    **options: Unpack[SizedFigureOptions],
) -> Figure:
    """Draw the samples of all splits, and the function that they come from.

    Args:
        task: The task.
        **options: See `SizedFigureOptions`.

    Raises:
        ConfigError: The suffix of `path` is unknown.
        DataError: The file cannot be written.
    """
    chosen = with_defaults(SizedFigureOptions, options)
    figure, axes = _figure("The dataset", chosen["figsize"])
    _draw_function(axes, task, _range_of(task), "function", "C0")
    for name, split in task.splits.items():
        _draw_samples(axes, split, name)
    return finished(figure, chosen)


def plot_regression_predictions(
    task: RegressionTask,
    x: Values,
    y: Values,
    *,
    label: str = "prediction",
    show_train: bool = True,
    show_test: bool = True,
    **options: Unpack[SizedFigureOptions],
) -> Figure:
    """Draw the predictions of a network beside the samples that it learned from.

    Args:
        task: The task that the network learned.
        x: Inputs, in any order.
        y: Predicted values for them.
        label: Legend entry of the predictions.
        show_train: Whether training samples are drawn.
        show_test: Whether test samples are drawn.
        **options: See `SizedFigureOptions`.

    Raises:
        ConfigError: The numbers of inputs and predictions differ, or the suffix of
            `path` is unknown.
        DataError: The file cannot be written.
    """
    chosen = with_defaults(SizedFigureOptions, options)
    figure, axes = _figure("Predictions", chosen["figsize"])
    _draw_function(axes, task, _range_of(task), "function", "C0")
    for name, wanted in (("train", show_train), ("test", show_test)):
        if wanted:
            _draw_samples(axes, task.splits[name], name)
    _draw_predictions(axes, x, y, label, "C3")
    return finished(figure, chosen)


def plot_regressions(
    tasks: Sequence[RegressionTask],
    *,
    inputs: Sequence[Values] | None = None,
    predictions: Sequence[Values] | None = None,
    labels: Sequence[str] | None = None,
    function_ranges: Sequence[Interval] | None = None,
    **options: Unpack[SizedFigureOptions],
) -> Figure:
    """Draw several tasks in one figure, each in its own colour.

    The figure shows training samples, functions and predictions.

    Args:
        tasks: The tasks.
        inputs: For each task, the inputs of its predictions.
        predictions: For each task, the predicted values.
        labels: Legend entry of each task; `task 1`, `task 2`, … by default.
        function_ranges: For each task, the interval on which its function is drawn; its
            test interval by default.
        **options: See `SizedFigureOptions`.

    Raises:
        ConfigError: There is not one entry per task, or the suffix of `path` is
            unknown.
        DataError: The file cannot be written.
    """
    chosen = with_defaults(SizedFigureOptions, options)
    if (inputs is None) != (predictions is None):
        raise ConfigError("inputs and predictions go together: give both, or neither")
    per_task = {
        "inputs": inputs,
        "predictions": predictions,
        "labels": labels,
        "function_ranges": function_ranges,
    }
    for name, entries in per_task.items():
        if entries is not None and len(entries) != len(tasks):
            raise ConfigError(
                f"{name} must have one entry per task: there are {len(tasks)} tasks, but"
                f" {len(entries)} entries"
            )
    figure, axes = _figure("" if chosen["publication_style"] else "Tasks", chosen["figsize"])
    for number, task in enumerate(tasks):
        colour = f"C{number % 10}"
        label = f"task {number + 1}" if labels is None else labels[number]
        limits = task.test_interval if function_ranges is None else function_ranges[number]
        _draw_function(axes, task, limits, label, colour)
        _draw_samples(axes, task.train, None, colour)
        if inputs is not None and predictions is not None:
            _draw_predictions(
                axes, inputs[number], predictions[number], f"{label}, predicted", colour
            )
    return finished(figure, chosen)


def plot_regression_samples(
    title: str,
    x: Values,
    *,
    targets: Values | None = None,
    predictions: Values | None = None,
    **options: Unpack[SizedFigureOptions],
) -> Figure:
    """Draw samples with their targets, predictions, or both.

    Args:
        title: Title of the figure.
        x: Inputs.
        targets: The correct values for them.
        predictions: The predicted values.
        **options: See `SizedFigureOptions`.

    Raises:
        ConfigError: Neither targets nor predictions are given, their number is wrong,
            or the suffix of `path` is unknown.
        DataError: The file cannot be written.
    """
    chosen = with_defaults(SizedFigureOptions, options)
    if targets is None and predictions is None:
        raise ConfigError("there is nothing to draw: give targets, predictions, or both")
    figure, axes = _figure(title, chosen["figsize"])
    for label, values, marker in (("target", targets, "o"), ("prediction", predictions, "x")):
        if values is not None:
            axes.plot(*_pairs(x, values), marker, label=label)
    return finished(figure, chosen)


def _figure(title: str, figsize: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = new_figure(figsize)
    return figure, figure.add_subplot(xlabel="x", ylabel="y", title=title)


def _draw_function(
    axes: Axes, task: RegressionTask, limits: Interval, label: str, colour: str
) -> None:
    x = np.linspace(*limits, _POINTS)
    axes.plot(x, task.function(x), color=colour, linestyle="--", label=label)


def _draw_samples(
    axes: Axes, split: SplitLike, label: str | None, colour: str | None = None
) -> None:
    batch = next(split.batches(len(split)))
    axes.plot(
        batch.x.flatten().numpy(),
        batch.y.flatten().numpy(),
        "o",
        markersize=4,
        color=colour,
        label=label,
    )


def _draw_predictions(axes: Axes, x: Values, y: Values, label: str, colour: str) -> None:
    places, values = _pairs(x, y)
    # A line through unsorted places would run back and forth.
    order = np.argsort(places)
    axes.plot(places[order], values[order], color=colour, label=label)


def _pairs(x: Values, y: Values) -> tuple[NDArray[Any], NDArray[Any]]:
    places, values = (array_of(numbers).reshape(-1) for numbers in (x, y))
    if len(places) != len(values):
        raise ConfigError(f"there are {len(places)} inputs, but {len(values)} values for them")
    return places, values


def _range_of(task: RegressionTask) -> Interval:
    """The smallest interval that holds all samples."""
    intervals = [
        *task.train_intervals,
        task.test_interval,
        *([task.validation_interval] if task.validation_interval else []),
    ]
    return min(low for low, _ in intervals), max(high for _, high in intervals)
