"""Reports of a finished continual-learning run: summary, table, plot."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hypnet_core.protocols import ReportsSizes, TaskLike
from hypnet_zoo.continual import measures
from hypnet_zoo.continual.learning import Learning
from hypnet_zoo.continual.measures import Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

_MOST_NUMBERS = 40
"""Tasks up to which each cell of the matrix has its number."""

_MOST_LABELS = 12
"""Tasks up to which the curves have a legend."""


def summarize(learning: Learning) -> dict[str, Any]:
    """Summarise what was learned, as `summary.json` holds it.

    `accuracy` (or `mse`) is the mean test score at the end, `validation_accuracy` that
    on validation samples, on which searches select: `None` if a task has none.
    """
    tests = [[score.value for score in row if score] for row in learning.scores["test"]]
    vals = [[score and score.value for score in row] for row in learning.scores["val"]]
    better = learning.higher_is_better
    metric = "accuracy" if better else "mse"
    during = [row[-1] for row in tests]
    validated = [value for value in vals[-1] if value is not None]
    ahead = learning.ahead
    inferred = [score.inferred for score in learning.scores["test"][-1] if score]
    return {
        metric: measures.mean(tests[-1]),
        f"{metric}_during": measures.mean(during),
        f"validation_{metric}": (
            measures.mean(validated) if len(validated) == len(learning.tasks) else None
        ),
        "forgetting": measures.forgetting(tests, higher_is_better=better),
        "backward_transfer": measures.backward_transfer(tests, higher_is_better=better),
        "forward_transfer": measures.forward_transfer(
            ahead["next"], ahead["first"], higher_is_better=better
        ),
        "anytime": measures.anytime(tests),
        "inferred": measures.mean([share for share in inferred if share is not None])
        if any(share is not None for share in inferred)
        else None,
        "metric": metric,
        "scenario": learning.problem.scenario,
        "tasks": [task.spec.name for task in learning.tasks],
        "during": during,
        "final": tests[-1],
        "scores": tests,
        "validation_scores": vals if validated else None,
        **_sizes(learning),
    }


def _sizes(learning: Learning) -> dict[str, Any]:
    method = learning.method
    if not isinstance(method, ReportsSizes):
        return {}
    # After all that learning, a size that a method leaves out is no reason to fail.
    sizes = method.sizes() or {}
    parameters, generated = sizes.get("parameters"), sizes.get("generated")
    return {
        "parameters": parameters,
        "generated_weights": generated,
        "compression": parameters / generated if generated and parameters is not None else None,
        "memory_bytes": sizes.get("memory_bytes"),
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
    table.caption = _caption(summary, digits, unit)
    table.min_width = len(table.caption)  # in one line
    return table


def _caption(summary: Mapping[str, Any], digits: int, unit: str) -> str:
    """The other measures, in one line."""
    metric = summary["metric"]
    named = {
        "validation": summary[f"validation_{metric}"],
        "forgetting": summary["forgetting"],
        "tasks inferred": summary["inferred"],
    }
    return ", ".join(
        f"{name} {value:.{digits}f}{unit}" for name, value in named.items() if value is not None
    )


def results_text(summary: Mapping[str, Any]) -> str:
    """The table of `results_table` as plain text."""
    import io

    from rich.console import Console

    console = Console(file=io.StringIO(), width=100, color_system=None)
    with console.capture() as captured:
        console.print(results_table(summary))
    return captured.get().rstrip()


def scores_plot(scores: Scores, tasks: Sequence[TaskLike]) -> bytes:
    """The picture of `scores_figure` as PNG."""
    return png_of(scores_figure(scores, tasks))


def png_of(figure: Figure) -> bytes:
    """A picture as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
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
