"""Figures of Gaussian inputs: maps of uncertainty and of classes, samples and tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Unpack

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import with_defaults
from hypnet_data.plots.figures import Size, SizedFigureOptions, array_of, finished, new_figure
from hypnet_data.plots.samples import scatter
from hypnet_data.plots.uncertainty import Uncertainty, uncertainty
from hypnet_data.toy.mesh import Mesh
from hypnet_data.toy.mixture_model import GaussianMixture
from hypnet_data.toy.mixture_task import MixtureTask

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GRID = 300


class MapOptions(SizedFigureOptions, total=False):
    """Options of a map over the plane of inputs."""

    grid: Annotated[
        Mesh | None,
        Field(default=None, description="The points; by default `task.input_mesh(size=300)`."),
    ]
    samples: Annotated[Any, Field(default=None, description="Inputs to draw on top `[n, 2]`.")]
    modes: Annotated[
        Any, Field(default=None, description="The component of each of them `[n]`, for its colour.")
    ]
    sample_label: Annotated[
        str | None, Field(default=None, description="Legend entry of these inputs.")
    ]
    sketch_components: Annotated[
        bool,
        Field(
            default=False,
            description="Whether each component is drawn as an ellipse of two standard deviations.",
        ),
    ]


def plot_uncertainty_map(
    task: MixtureTask,
    *,
    kind: Uncertainty = "class",
    uncertainties: Any = None,
    title: str = "Uncertainty",
    **options: Unpack[MapOptions],
) -> Figure:
    """Draw a map of the uncertainty of the mixture, or of a network.

    Args:
        task: The task that the inputs come from.
        kind: Which uncertainty of the mixture is drawn; see `uncertainty`.
        uncertainties: A network's, in place of the mixture's: one number per point of
            the grid.
        title: Title of the figure.
        **options: See `MapOptions`.

    Raises:
        ConfigError: There is not one number per point, inputs are not two-dimensional,
            or the suffix of `path` is unknown.
        DataError: The file cannot be written.
    """
    chosen = with_defaults(MapOptions, options)
    grid = chosen["grid"] or task.input_mesh(size=_GRID)
    values = (
        uncertainty(task.mixture, grid.points, kind)
        if uncertainties is None
        else array_of(uncertainties)
    )
    figure, axes = _plane(title, chosen["figsize"])
    drawn = axes.pcolormesh(
        grid.x1,
        grid.x2,
        _on(grid, values, "uncertainties"),
        cmap="viridis",
        shading="auto",
        # A bitmap within vector graphics: 90,000 cells make huge files.
        rasterized=True,
    )
    figure.colorbar(drawn, ax=axes)
    _on_top(axes, task, chosen)
    return finished(figure, chosen)


def plot_classification_map(
    task: MixtureTask,
    *,
    classes: Any = None,
    title: str = "Optimal classification",
    **options: Unpack[MapOptions],
) -> Figure:
    """Draw a map of the optimal classes, or of the classes that a network predicts.

    Args:
        task: The task that the inputs come from.
        classes: A network's classes, in place of the optimal ones: one per point of the
            grid.
        title: Title of the figure.
        **options: See `MapOptions`.

    Raises:
        ConfigError: There is not one class per point, inputs are not two-dimensional,
            or the suffix of `path` is unknown.
        DataError: The file cannot be written.
    """
    chosen = with_defaults(MapOptions, options)
    grid = chosen["grid"] or task.input_mesh(size=_GRID)
    values = task.mixture.classify(grid.points) if classes is None else array_of(classes)
    figure, axes = _plane(title, chosen["figsize"])
    colours = _on(grid, values, "classes")
    axes.pcolormesh(
        grid.x1,
        grid.x2,
        colours,
        cmap="nipy_spectral",
        vmin=0,
        # Fixed limits, so that colours mean the same in every figure.
        vmax=max(len(task.mixture) - 1, 1),
        alpha=0.6,
        shading="auto",
        rasterized=True,
    )
    _on_top(axes, task, chosen)
    return finished(figure, chosen)


def plot_real_fake(
    real: Any,
    fake: Any,
    *,
    title: str = "Real and fake samples",
    **options: Unpack[SizedFigureOptions],
) -> Figure:
    """Draw real and generated inputs in one plane.

    Args:
        real: Inputs of the dataset `[n, 2]`.
        fake: Generated inputs `[m, 2]`.
        title: Title of the figure.
        **options: See `SizedFigureOptions`.

    Raises:
        ConfigError: Inputs are not two-dimensional, or the suffix of `path` is unknown.
        DataError: The file cannot be written.
    """
    chosen = with_defaults(SizedFigureOptions, options)
    figure, axes = _plane(title, chosen["figsize"])
    for label, points, marker in (("real", real, "o"), ("fake", fake, "x")):
        drawn = _two(points)
        axes.scatter(drawn[:, 0], drawn[:, 1], s=14, marker=marker, label=label)
    return finished(figure, chosen)


def plot_gaussians(
    tasks: Sequence[MixtureTask],
    *,
    places: Sequence[Any] | None = None,
    predictions: Sequence[Any] | None = None,
    labels: Sequence[str] | None = None,
    **options: Unpack[SizedFigureOptions],
) -> Figure:
    """Draw tasks with two-dimensional inputs: training samples, and predictions.

    Args:
        tasks: The tasks; their targets are numbers.
        places: For each task, the inputs of its predictions `[n, 2]`.
        predictions: For each task, the predicted values `[n]`.
        labels: Legend entry of each task; by default `task 1`, `task 2`, … for at most
            ten tasks.
        **options: See `SizedFigureOptions`.

    Raises:
        ConfigError: There is not one entry per task, inputs are not two-dimensional, or
            the suffix of `path` is unknown.
        DataError: The file cannot be written.
    """
    chosen = with_defaults(SizedFigureOptions, options)
    if (places is None) != (predictions is None):
        raise ConfigError("places and predictions go together: give both, or neither")
    for name, entries in (("places", places), ("predictions", predictions), ("labels", labels)):
        if entries is not None and len(entries) != len(tasks):
            raise ConfigError(
                f"{name} must have one entry per task: there are {len(tasks)} tasks, but"
                f" {len(entries)} entries"
            )
    figure = new_figure(chosen["figsize"])
    axes: Any = figure.add_subplot(projection="3d", xlabel="x1", ylabel="x2", zlabel="y")
    for number, task in enumerate(tasks):
        # All training samples in one batch, in the order of the store.
        batch = next(task.train.batches(len(task.train)))
        label = (
            labels[number]
            if labels is not None
            else f"task {number + 1}"
            if len(tasks) <= 10
            else None
        )
        x = _two(batch.x)
        axes.scatter(
            x[:, 0],
            x[:, 1],
            array_of(batch.y).reshape(-1),
            s=6,
            color=f"C{number % 10}",
            label=label,
        )
        if places is not None and predictions is not None:
            where = _two(places[number])
            axes.scatter(
                where[:, 0],
                where[:, 1],
                array_of(predictions[number]).reshape(-1),
                s=10,
                marker="x",
                color=f"C{number % 10}",
            )
    return finished(figure, chosen)


def _plane(title: str, figsize: Size) -> tuple[Figure, Axes]:
    figure = new_figure(figsize)
    return figure, figure.add_subplot(xlabel="x1", ylabel="x2", title=title)


def _two(points: Any) -> NDArray[Any]:
    found = array_of(points)
    if found.ndim != 2 or found.shape[1] != 2:
        raise ConfigError(f"points of a plane [n, 2] were expected, got {list(found.shape)}")
    return found


def _on(grid: Mesh, values: NDArray[Any], what: str) -> NDArray[Any]:
    if values.size != len(grid.points):
        raise ConfigError(
            f"there must be one number per point of the grid: it has {len(grid.points)} points,"
            f" but got {values.size} {what}"
        )
    return values.reshape(grid.x1.shape)


def _on_top(axes: Axes, task: MixtureTask, options: MapOptions) -> None:
    """Draw samples and components over a map."""
    if options["samples"] is not None:
        points = _two(options["samples"])
        if options["modes"] is None:
            label = options["sample_label"]
            axes.scatter(points[:, 0], points[:, 1], s=10, color="black", label=label)
        else:
            scatter(axes, points, array_of(options["modes"]))
    if options["sketch_components"]:
        _sketch(axes, task.mixture)


def _sketch(axes: Axes, mixture: GaussianMixture) -> None:
    """Draw each component as its mean and an ellipse of two standard deviations."""
    # A factor of the covariance maps the unit circle to one standard deviation.
    turn = np.linspace(0, 2 * np.pi, 60)
    circle = np.stack([np.cos(turn), np.sin(turn)])
    for mean, factor in zip(mixture.means, np.linalg.cholesky(mixture.covariances), strict=True):
        ellipse = mean[:, None] + 2 * factor @ circle
        axes.plot(*mean, "+", color="white")
        axes.plot(*ellipse, color="white", linewidth=1)
