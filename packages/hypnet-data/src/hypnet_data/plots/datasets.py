"""The figure that shows a dataset best, as drawn by `hypnet data plot`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np
import torch

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import with_defaults
from hypnet_core.protocols import SplitLike, TaskLike
from hypnet_core.tasks import Batch, Split, splits_of
from hypnet_data.plots.figures import FigureOptions, array_of, finished, new_figure
from hypnet_data.plots.mixtures import plot_classification_map, plot_gaussians
from hypnet_data.plots.regression import plot_regression, plot_regressions
from hypnet_data.plots.samples import check_grid, draw_image, plot_samples
from hypnet_data.toy.mixture_task import MixtureTask, inputs
from hypnet_data.toy.regression import RegressionTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TASKS, _SAMPLES = 12, 32


def plot_any(
    built: TaskLike | Sequence[TaskLike],
    *,
    split: str = "train",
    count: int = _SAMPLES,
    **options: Unpack[FigureOptions],
) -> Figure:
    """Draw a dataset of any kind.

    The figure shows images of a task or of each task of a sequence, functions with
    their samples, or mixtures.

    Args:
        built: A task, or a sequence of tasks, of which the first twelve are drawn.
        split: Split of the images and points: `train`, `val` or `test`. They are drawn
            without augmentation: the first ones of a shuffled pass with seed 0.
        count: Number of samples of a task.
        **options: See `FigureOptions`.

    Raises:
        ConfigError: There is no such split, samples cannot be drawn, or the suffix of
            `path` is unknown.
        DataError: The file cannot be written.
    """
    if count < 1:
        raise ConfigError(f"count must be at least 1, got {count}")
    if isinstance(built, TaskLike):
        return _one(built, split, count, options)
    tasks = list(built)
    regressions = [task for task in tasks if isinstance(task, RegressionTask)]
    mixtures = [
        task for task in tasks if isinstance(task, MixtureTask) and task.spec.in_shape == (2,)
    ]
    if len(regressions) == len(tasks):
        return plot_regressions(regressions, **options)
    if len(mixtures) == len(tasks):
        return plot_gaussians(mixtures, **options)
    # A row holds at most ten images: more would be too small.
    return _rows(tasks[:_TASKS], split, min(count, 10), options)


def _one(task: TaskLike, split: str, count: int, options: FigureOptions) -> Figure:
    if isinstance(task, RegressionTask):
        return plot_regression(task, **options)
    if isinstance(task, MixtureTask) and task.spec.in_shape == (2,):
        if task.spec.kind == "regression":
            return plot_gaussians([task], **options)
        return plot_classification_map(task, samples=inputs(task.train), **options)
    chosen = _split(task, split)
    if len(task.spec.in_shape) == 3:
        check_grid(min(count, len(chosen)))  # before they are read
    # Points of a plane are cheap, so all of them are drawn.
    batch = _some(chosen, len(chosen) if task.spec.in_shape == (2,) else count)
    title = f"{task.spec.name}, {split}"
    return plot_samples(task.spec, batch.x, targets=batch.y, title=title, **options)


def _rows(tasks: Sequence[TaskLike], split: str, count: int, options: FigureOptions) -> Figure:
    """Draw a row of images per task."""
    chosen = with_defaults(FigureOptions, options)
    figure = new_figure((1.2 * count, 1.5 * len(tasks)))
    rows = figure.subfigures(len(tasks), 1, squeeze=False)[:, 0]
    for row, (task, part) in enumerate(zip(tasks, rows, strict=True)):
        spec = task.spec
        if len(spec.in_shape) != 3 or spec.in_shape[0] not in {1, 3}:
            raise ConfigError(
                "only images of one or three channels can be drawn task by task, not"
                f" {list(spec.in_shape)}"
            )
        batch = _some(_split(task, split), count)
        # Drawn as one task first: pixels and captions are taken from there.
        one = plot_samples(spec, batch.x, targets=batch.y, columns=count)
        lines = len(one.axes) // len(batch)  # targets may be images as well
        for number, drawn in enumerate(one.axes):
            line, place = divmod(number, len(batch))
            axes = part.add_subplot(lines, count, line * count + place + 1)
            draw_image(axes, np.asarray(drawn.images[0].get_array()))
            axes.set_title(drawn.get_title(), fontsize=9)
        if not chosen["publication_style"]:
            part.suptitle(f"task {row + 1}: {spec.name}", fontsize=10)
    # Restyling for print would remove the captions of the images.
    return finished(figure, {"path": chosen["path"], "publication_style": False})


def _split(task: TaskLike, name: str) -> SplitLike:
    splits = splits_of(task)
    if name not in splits:
        raise ConfigError(f"{task.spec.name!r} has no split {name!r}: choose {' or '.join(splits)}")
    return splits[name]


def _some(split: SplitLike, count: int) -> Batch:
    """The first samples of a shuffled pass, without augmentation."""
    # Other classes of splits have no augmentation that we could leave out.
    plain = split.unaugmented() if isinstance(split, Split) else split
    generator = torch.Generator().manual_seed(0)
    batch = next(plain.batches(min(count, len(split)), shuffle=True, generator=generator))
    return Batch(batch.x, torch.as_tensor(array_of(batch.y)), batch.ids)
