"""Reports of a finished continual-learning run: summary, table, plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hypnet_core.protocols import TaskLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

_MOST_NUMBERS = 40
"""Tasks up to which each cell of the matrix has its number."""

_MOST_LABELS = 12
"""Tasks up to which the curves have a legend."""

Scores = Sequence[Sequence[float]]
"""Row `t`: the scores of tasks `0` to `t` after task `t` was learned."""


def summarize(
    scores: Scores, tasks: Sequence[TaskLike], *, generated: int, parameters: int
) -> dict[str, Any]:
    """Summarise a run.

    Args:
        scores: Accuracies in percent, or mean squared errors.
        tasks: The tasks.
        generated: Number of generated weights.
        parameters: Number of parameters of the hypernetwork.

    Returns:
        `accuracy` (or `mse`) and `forgetting` are means over tasks; forgetting is the
        loss of score since the task was learned.
    """
    classification = tasks[0].spec.kind == "classification"
    during = [row[-1] for row in scores]
    final = list(scores[-1])
    # Positive means worse: lower accuracy, or a larger error.
    worse = [(d - f) if classification else (f - d) for d, f in zip(during, final, strict=True)]
    metric = "accuracy" if classification else "mse"
    return {
        metric: _mean(final),
        f"{metric}_during": _mean(during),
        "forgetting": _mean(worse),
        "metric": metric,
        "tasks": [task.spec.name for task in tasks],
        "during": during,
        "final": final,
        "scores": [list(row) for row in scores],
        "generated_weights": generated,
        "hypernet_parameters": parameters,
        "compression": parameters / generated,
    }


def results_table(summary: Mapping[str, Any]) -> Table:
    """Scores right after learning and at the end, per task and on average."""
    from rich.table import Table

    metric = summary["metric"]
    digits, unit = (2, " %") if metric == "accuracy" else (4, "")
    table = Table(title=f"{metric} on each task", show_footer=True)
    table.add_column("task", "average")
    table.add_column("during", f"{summary[f'{metric}_during']:.{digits}f}{unit}", justify="right")
    table.add_column("after", f"{summary[metric]:.{digits}f}{unit}", justify="right")
    for name, during, final in zip(
        summary["tasks"], summary["during"], summary["final"], strict=True
    ):
        table.add_row(name, f"{during:.{digits}f}{unit}", f"{final:.{digits}f}{unit}")
    return table


def scores_plot(scores: Scores, tasks: Sequence[TaskLike]) -> bytes:
    """The picture of `scores_figure` as PNG."""
    import io

    buffer = io.BytesIO()
    scores_figure(scores, tasks).savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def scores_figure(scores: Scores, tasks: Sequence[TaskLike]) -> Figure:
    """A picture of the scores: a matrix, and one curve per task beside it.

    Rows of the matrix are the tasks that were learned, columns those that are tested.
    Accuracies have a fixed scale from 0 to 100, so that pictures can be compared.
    """
    from matplotlib.figure import Figure

    count = len(scores)
    side = 0.6 * min(count, _MOST_NUMBERS) + 1.2
    figure = Figure(figsize=(side + 6.0, max(side, 3.2)), layout="constrained")
    matrix, curves = figure.subplots(1, 2, width_ratios=(side, 4.2))
    classification = tasks[0].spec.kind == "classification"
    _draw_matrix(matrix, scores, classification=classification)
    _draw_curves(curves, scores, tasks, classification=classification)
    return figure


def _draw_matrix(axes: Axes, scores: Scores, *, classification: bool) -> None:
    count = len(scores)
    # Tasks that were not learned yet stay blank.
    grid = [[*row, *[float("nan")] * (count - len(row))] for row in scores]
    image = axes.imshow(
        grid,
        # A dark cell is a bad one in both.
        cmap="viridis" if classification else "viridis_r",
        vmin=0.0,
        vmax=100.0 if classification else None,
    )
    for t, row in enumerate(scores if count <= _MOST_NUMBERS else []):
        for j, score in enumerate(row):
            text = f"{score:.1f}" if classification else f"{score:.2g}"
            color = _readable_on(*next(iter(image.to_rgba(np.array([score])))).tolist()[:3])
            axes.text(j, t, text, ha="center", va="center", fontsize=8, color=color)
    axes.set(xlabel="tested task", ylabel="after learning task")
    every = range(0, count, 1 if count <= _MOST_NUMBERS else 10)
    axes.set_xticks(every, [str(t + 1) for t in every])
    axes.set_yticks(every, [str(t + 1) for t in every])
    label = "test accuracy (%)" if classification else "test mean squared error"
    axes.figure.colorbar(image, ax=axes, label=label)


def _readable_on(*rgb: float) -> str:
    """Black or white, whichever has the larger contrast (luminance of WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # At 0.179 both have the contrast 4.6.
    return "white" if luminance < 0.179 else "black"


def _draw_curves(
    axes: Axes, scores: Scores, tasks: Sequence[TaskLike], *, classification: bool
) -> None:
    """The score of each task since it was learned: a falling curve is forgetting."""
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    count = len(scores)
    for j in range(count):
        color = colormaps["turbo"](0.05 + 0.9 * j / max(count - 1, 1))
        values = [row[j] for row in scores[j:]]
        axes.plot(range(j + 1, count + 1), values, "o-", color=color, label=tasks[j].spec.name)
    axes.set(xlabel="after learning task", xlim=(0.7, count + 0.3))
    axes.set_ylim(*((-2.0, 102.0) if classification else (0.0, None)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if count <= _MOST_LABELS:
        axes.legend(fontsize=8)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
