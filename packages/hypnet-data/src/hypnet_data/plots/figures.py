"""Figures without a window: functions return them, and save them on request.

In a notebook, a returned figure is displayed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from hypnet_core.errors import ConfigError, HypnetError
from hypnet_data._io.downloads import data_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Size: TypeAlias = tuple[float, float]
"""Width and height of a figure in inches."""

FORMATS = ("png", "pdf", "svg")


def new_figure(figsize: Size) -> Figure:
    """An empty figure, without pyplot: no window and no global list of figures.

    Raises:
        HypnetError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise HypnetError(
            "plots need matplotlib: install hypnet-data with its extra, hypnet-data[plots]"
        ) from error
    return Figure(figsize=figsize, layout="constrained")


# A legend of more entries, or of large letters, would cover the data: it goes beside
# the axes, at most so many points high.
_BESIDE, _COLUMN = 4, 280


class FigureOptions(TypedDict, total=False):
    """Style and file of a figure."""

    publication_style: Annotated[
        bool,
        Field(
            default=False,
            description="Whether for print: large letters, thick lines, no titles, no frame.",
        ),
    ]
    path: Annotated[
        Path | str | None,
        Field(
            default=None,
            description="File to save the figure in (PNG, PDF or SVG, by its suffix); not saved by"
            " default.",
        ),
    ]


class SizedFigureOptions(FigureOptions, total=False):
    """Style, size and file of a figure."""

    figsize: Annotated[
        Size, Field(default=(10, 6), description="Width and height of the figure in inches.")
    ]


def finished(figure: Figure, options: FigureOptions) -> Figure:
    """Add legends where something has a label, and save the figure if asked to.

    Args:
        figure: The figure.
        options: All options of the group.

    Raises:
        ConfigError: The suffix of `path` is not that of PNG, PDF or SVG.
        DataError: The file cannot be written.
    """
    publication_style = options["publication_style"]
    for axes in figure.axes:
        if publication_style:
            for_print(axes)
        # Letters as large as those of the axes, unless the column is too high.
        count, size = len(axes.get_legend_handles_labels()[0]), axes.xaxis.label.get_fontsize()
        if count > _BESIDE or (publication_style and count):
            size = min(size, _COLUMN / count)
            axes.legend(frameon=False, fontsize=size, loc="center left", bbox_to_anchor=(1.0, 0.5))
        elif count:
            axes.legend(frameon=False, fontsize=size)
    if options["path"] is not None:
        save(figure, options["path"])
    return figure


def save(figure: Figure, path: Path | str) -> None:
    """Save a figure in the format of its suffix.

    Raises:
        ConfigError: The suffix is not that of PNG, PDF or SVG.
        DataError: The file cannot be written.
    """
    path = Path(path).expanduser()
    ending = path.suffix.removeprefix(".").lower()
    if ending not in FORMATS:
        raise ConfigError(
            f"a figure is saved as {', '.join(FORMATS)}, by the suffix of its file: {path} has none"
            " of them"
        )
    # Through an open file, so that it is written atomically.
    with data_file(path) as file:
        figure.savefig(file, format=ending)


def for_print(axes: Axes) -> None:
    """Restyle for print: large letters, thick lines, no title, no frame."""
    axes.set_title("")
    for line in axes.lines:
        line.set_linewidth(3)
        line.set_markersize(8)
    axes.xaxis.label.set_fontsize(24)
    axes.yaxis.label.set_fontsize(24)
    axes.tick_params(labelsize=20)
    axes.spines[["top", "right"]].set_visible(False)


def array_of(values: Any) -> NDArray[Any]:
    """Numbers as a numpy array, also from another device."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
