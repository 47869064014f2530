"""The figure that shows a dataset best: what `hypnet data plot` draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import TaskLike
from hypnet_data.plots.figures import array_of, finished, new_figure
from hypnet_data.plots.mixtures import plot_classification_map, plot_gaussians
from hypnet_data.plots.regression import plot_dataset, plot_datasets
from hypnet_data.plots.samples import check_grid, plot_samples
from hypnet_data.toy.gaussian import MixtureTask, inputs
from hypnet_data.toy.regression import RegressionTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TASKS, _SAMPLES = 12, 32


def plot_any(
    built: TaskLike | Sequence[TaskLike],
    *,
    split: str = "train",
    count: int = _SAMPLES,
    publication_style: bool = False,
    path: Path | None = None,
) -> Figure:
    """A dataset of any kind: some images of a task or of each task of a sequence, functions with their samples, or mixtures.

    Args:
        built: A task, or a sequence of tasks, of which the first twelve are drawn.
        split: Where images and points come from: `train`, `val` or `test`. They are
            drawn as they are without augmentation, the first ones of a shuffled pass
            with seed 0.
        count: How many samples of a task.
        publication_style: Whether for print: large letters, thick lines, no titles.
        path: Where to save the figure (PNG, PDF or SVG, by its ending); not at all by
            default.

    Raises:
        ConfigError: There is no such split, samples cannot be drawn, or the ending of
            `path` is another.
        DataError: The file cannot be written.
    """
    if count < 1:
        raise ConfigError(f"count must be at least 1, got {count}")
    if isinstance(built, TaskLike):
        return _one(built, split, count, publication_style=publication_style, path=path)
    tasks = list(built)
    regressions = [task for task in tasks if isinstance(task, RegressionTask)]
    mixtures = [
        task for task in tasks if isinstance(task, MixtureTask) and task.spec.in_shape == (2,)
    ]
    if len(regressions) == len(tasks):
        return plot_datasets(regressions, publication_style=publication_style, path=path)
    if len(mixtures) == len(tasks):
        return plot_gaussians(mixtures, publication_style=publication_style, path=path)
    return _rows(
        tasks[:_TASKS], split, min(count, 10), publication_style=publication_style, path=path
    )


def _one(
    task: TaskLike, split: str, count: int, *, publication_style: bool, path: Path | None
) -> Figure:
    if isinstance(task, RegressionTask):
        return plot_dataset(task, publication_style=publication_style, path=path)
    if isinstance(task, MixtureTask) and task.spec.in_shape == (2,):
        if task.spec.kind == "regression":
            return plot_gaussians([task], publication_style=publication_style, path=path)
        return plot_classification_map(
            task, samples=inputs(task.train), publication_style=publication_style, path=path
        )
    if len(task.spec.in_shape) == 3:
        check_grid(min(count, len_of(task, split)))  # before they are read
    x, y = _some(task, split, len_of(task, split) if task.spec.in_shape == (2,) else count)
    title = f"{task.spec.name}, {split}"
    return plot_samples(
        task.spec, x, targets=y, title=title, publication_style=publication_style, path=path
    )


def _rows(
    tasks: Sequence[TaskLike], split: str, count: int, *, publication_style: bool, path: Path | None
) -> Figure:
    """A row of images per task."""
    figure = new_figure((1.2 * count, 1.5 * len(tasks)))
    for row, (task, part) in enumerate(
        zip(tasks, figure.subfigures(len(tasks), 1, squeeze=False)[:, 0], strict=True)
    ):
        spec = task.spec
        if len(spec.in_shape) != 3 or spec.in_shape[0] not in {1, 3}:
            raise ConfigError(
                "only images of one or three channels can be drawn task by task, not"
                f" {list(spec.in_shape)}"
            )
        x, y = _some(task, split, count)
        one = plot_samples(spec, x, targets=y, columns=count)
        for number, drawn in enumerate(one.axes):
            axes = part.add_subplot(1, count, number + 1)
            axes.imshow(
                drawn.images[0].get_array(), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
            )
            axes.set_axis_off()
            axes.set_title(drawn.get_title(), fontsize=9)
        if not publication_style:
            part.suptitle(f"task {row + 1}: {spec.name}", fontsize=10)
    return finished(figure, path)


def len_of(task: TaskLike, split: str) -> int:
    """Number of samples of a split.

    Raises:
        ConfigError: There is no such split.
    """
    found = getattr(task, split) if split in {"train", "val", "test"} else None
    if found is None:
        raise ConfigError(
            f"{task.spec.name!r} has no split {split!r}: choose train or test, or val where there"
            " is one"
        )
    return len(found)


def _some(task: TaskLike, split: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first samples of a shuffled pass, without augmentation."""
    size = min(count, len_of(task, split))
    found = getattr(task, split)
    plain = found.unaugmented() if hasattr(found, "unaugmented") else found
    batch = next(plain.batches(size, shuffle=True, generator=torch.Generator().manual_seed(0)))
    return batch.x, torch.as_tensor(array_of(batch.y))
