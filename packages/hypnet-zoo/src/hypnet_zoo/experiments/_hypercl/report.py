"""Reports of a finished continual-learning run: summary, table, plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypnet_core.protocols import TaskLike
from hypnet_core.runs import write_atomic

if TYPE_CHECKING:
    from rich.table import Table

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


def save_scores_plot(path: Path, scores: Scores, tasks: Sequence[TaskLike]) -> None:
    """Plot (PNG) the score of each task (columns) after each task was learned (rows).

    Raises:
        RunError: The file cannot be written.
    """
    import io

    from matplotlib.figure import Figure

    count = len(scores)
    classification = tasks[0].spec.kind == "classification"
    # Tasks that were not learned yet stay blank.
    grid = [[*row, *[float("nan")] * (count - len(row))] for row in scores]
    figure = Figure(figsize=(1.8 + 0.55 * count, 1.4 + 0.45 * count), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(grid, cmap="viridis" if classification else "viridis_r")
    # More numbers would not be legible.
    if count <= 20:
        for t, row in enumerate(scores):
            for j, score in enumerate(row):
                axes.text(
                    j,
                    t,
                    f"{score:.1f}" if classification else f"{score:.2g}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white",
                )
    axes.set(xlabel="task", ylabel="after learning task", xticks=range(count), yticks=range(count))
    axes.set_xticklabels([str(t + 1) for t in range(count)])
    axes.set_yticklabels([str(t + 1) for t in range(count)])
    figure.colorbar(
        image, label="test accuracy (%)" if classification else "test mean squared error"
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_atomic(path, buffer.getvalue())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
