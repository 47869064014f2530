"""Figures of samples, as a grid of images or points of a plane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import with_defaults
from hypnet_core.specs import TaskSpec
from hypnet_data.plots.figures import FigureOptions, Size, array_of, finished, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_MOST = 400
"""Images per figure: more take many seconds and are too small to tell apart."""


def plot_samples(
    spec: TaskSpec,
    x: Any,
    *,
    targets: Any = None,
    predictions: Any = None,
    names: Sequence[str] | None = None,
    columns: int = 8,
    title: str = "",
    figsize: Size | None = None,
    **options: Unpack[FigureOptions],
) -> Figure:
    """Draw samples with their targets, predictions, or both.

    Images are drawn in a grid, points of a plane in one picture. Targets that are
    images themselves are drawn below their inputs.

    Args:
        spec: Specification of their task: the normalisation of images, and whether
            targets are classes.
        x: Inputs `[n, *in_shape]`; images `(C, H, W)` with one or three channels, or
            vectors `(1,)` or `(2,)`; of any shape where targets are images.
        targets: Class indices, one-hot rows, numbers, or images `(C, H, W)` with one or
            three channels between 0 and 1.
        predictions: Class indices, scores of all classes, numbers, or images.
        names: Names of the classes; their indices by default.
        columns: Images per row.
        title: Title of the whole figure.
        figsize: Width and height in inches; by default as large as the grid needs.
        **options: See `FigureOptions`.

    Raises:
        ConfigError: Samples cannot be drawn or are too many, there are not as many
            targets or predictions as inputs, or the suffix of `path` is unknown.
        DataError: The file cannot be written.

    Example:
        >>> from hypnet_data import digits
        >>> task = digits()
        >>> batch = next(task.test.batches(16))
        >>> len(plot_samples(task.spec, batch.x, targets=batch.y).axes)
        16
    """
    chosen = with_defaults(FigureOptions, options)
    # Checked before the figure is made, as drawing many images takes seconds.
    samples = array_of(x)
    if samples.shape[1:] != spec.in_shape or not len(samples):
        raise ConfigError(
            f"inputs of shape {['n', *spec.in_shape]} were expected, got {list(samples.shape)}"
        )
    said = {
        what: array_of(values)
        for what, values in (("target", targets), ("prediction", predictions))
        if values is not None
    }
    heading = "" if chosen["publication_style"] else title
    drawn: dict[str, NDArray[Any]] = {}
    if _is_image(spec.in_shape):
        drawn["input"] = _pixels(samples, spec)
    if spec.kind == "regression" and _is_image(spec.out_shape):
        drawn |= {
            what: _pictures(values, spec, len(samples), what) for what, values in said.items()
        }
        said = {}
    labels = {
        what: _labels(values, spec, names, len(samples), what) for what, values in said.items()
    }
    if drawn:
        check_grid(len(samples) * len(drawn))
        figure = _grid(drawn, labels, columns, heading, figsize)
    elif spec.in_shape in {(1,), (2,)}:
        figure = _points(samples, labels, heading, figsize or (10, 6))
    else:
        raise ConfigError(
            "only images of one or three channels and points of a plane can be drawn, not"
            f" {list(spec.in_shape)}"
        )
    return finished(figure, chosen)


def _is_image(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[0] in {1, 3}


def check_grid(count: int) -> None:
    """Refuse a grid of too many images.

    Raises:
        ConfigError: There are too many images.
    """
    if count > _MOST:
        raise ConfigError(
            f"at most {_MOST} images can be drawn in one figure, not {count}: choose a smaller"
            " count"
        )


def _labels(
    values: NDArray[Any], spec: TaskSpec, names: Sequence[str] | None, count: int, what: str
) -> NDArray[Any]:
    if len(values) != count:
        raise ConfigError(f"there are {count} inputs, but {len(values)} values of the {what}")
    if spec.kind == "regression":
        # Of several numbers a caption shows the first.
        numbers: NDArray[Any] = values.reshape(count, -1)[:, 0]
        return numbers
    classes = values.argmax(axis=1) if values.ndim == 2 else values.astype(np.int64)
    if names is None:
        return classes
    if int(classes.max()) >= len(names):
        raise ConfigError(f"there are {len(names)} names, but a class {int(classes.max())}")
    called: NDArray[Any] = np.array(names)[classes]
    return called


def _pictures(values: NDArray[Any], spec: TaskSpec, count: int, what: str) -> NDArray[Any]:
    """Targets or predictions that are images: channels last, between 0 and 1."""
    if values.shape != (count, *spec.out_shape):
        raise ConfigError(
            f"values of the {what} should have shape {[count, *spec.out_shape]}, have"
            f" {list(values.shape)}"
        )
    shown: NDArray[Any] = np.clip(values, 0.0, 1.0).transpose(0, 2, 3, 1)
    return shown


def _pixels(samples: NDArray[Any], spec: TaskSpec) -> NDArray[Any]:
    """Undo the normalisation of images: channels last, between 0 and 1."""
    if spec.normalization is not None:
        mean, std = (np.asarray(numbers)[:, None, None] for numbers in spec.normalization)
        samples = samples * std + mean
    # Normalisation loses a little, so values may leave [0, 1].
    shown: NDArray[Any] = np.clip(samples, 0.0, 1.0).transpose(0, 2, 3, 1)
    return shown


def _grid(
    drawn: dict[str, NDArray[Any]],
    labels: dict[str, NDArray[Any]],
    columns: int,
    title: str,
    figsize: Size | None,
) -> Figure:
    """Draw a block of images per row of samples: inputs, and what else is drawn."""
    if columns < 1:
        raise ConfigError(f"columns must be at least 1, got {columns}")
    count, lines = len(next(iter(drawn.values()))), len(drawn)
    across = min(columns, count)
    down = math.ceil(count / across)
    # Captions need room: a fifth of an image per line.
    captions = 1 if lines > 1 else len(labels)
    figure = new_figure(figsize or (1.3 * across, 1.3 * down * lines * (1 + 0.2 * captions)))
    figure.suptitle(title)
    for start in range(0, count, across):
        for line, (what, images) in enumerate(drawn.items()):
            for place, image in enumerate(images[start : start + across]):
                row = start // across * lines + line
                axes = figure.add_subplot(down * lines, across, row * across + place + 1)
                draw_image(axes, image)
                said = {name: values[start + place] for name, values in labels.items()}
                text = "\n".join(_caption(name, value, len(said)) for name, value in said.items())
                # Several kinds of images are named, a single one is described.
                axes.set_title(what if lines > 1 else text, fontsize=9, color=_colour(said))
    return figure


def draw_image(axes: Axes, image: NDArray[Any]) -> None:
    """Draw an image with its channels last, or without any, between 0 and 1."""
    axes.imshow(
        image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image,
        cmap="gray",
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    axes.set_axis_off()


def _caption(what: str, value: Any, count: int) -> str:
    text = f"{value:.3g}" if isinstance(value, (float, np.floating)) else str(value)
    return text if count == 1 else f"{what}: {text}"


def _colour(said: dict[str, Any]) -> str:
    """Red where a prediction of a class is wrong."""
    # Only classes can be wrong; numbers are merely more or less close.
    wrong = (
        len(said) == 2
        and not isinstance(said["target"], np.floating)
        and said["target"] != said["prediction"]
    )
    return "C3" if wrong else "black"


def _points(
    samples: NDArray[Any], labels: dict[str, NDArray[Any]], title: str, figsize: Size
) -> Figure:
    figure = new_figure(figsize)
    figure.suptitle(title)
    for number, (what, values) in enumerate((labels or {"": np.zeros(len(samples))}).items()):
        axes = figure.add_subplot(
            1, max(len(labels), 1), number + 1, title=what, xlabel="x1", ylabel="x2"
        )
        if samples.shape[1] == 2:
            scatter(axes, samples, values)
        else:
            axes.plot(samples[:, 0], values, "o", markersize=4)
            axes.set(xlabel="x", ylabel="y")
    return figure


def scatter(axes: Axes, points: NDArray[Any], values: NDArray[Any]) -> None:
    """Draw points of a plane, coloured by class or on a scale of numbers."""
    if np.issubdtype(values.dtype, np.floating):
        drawn = axes.scatter(points[:, 0], points[:, 1], c=values, s=12)
        axes.figure.colorbar(drawn, ax=axes)
        return
    for value in np.unique(values):
        here = points[values == value]
        axes.scatter(
            here[:, 0], here[:, 1], s=12, label=str(value) if len(np.unique(values)) <= 10 else None
        )
