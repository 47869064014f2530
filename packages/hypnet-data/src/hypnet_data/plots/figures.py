"""What all figures have in common: they are made without a window, returned, and saved on request.

matplotlib comes with the extra `plots`. In a notebook, a figure that is returned
displays itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from hypnet_core.errors import ConfigError, HypnetError
from hypnet_data._io.writing import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Size: TypeAlias = tuple[float, float]
"""Width and height of a figure in inches."""

FORMATS = ("png", "pdf", "svg")


def new_figure(figsize: Size) -> Figure:
    """An empty figure: without pyplot, so without a window and without a global list of figures.

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


_BESIDE, _COLUMN = 4, 280
"""A legend of more entries, or of large letters, would cover what is drawn, and is put beside it, at most so many points high."""


def finished(figure: Figure, path: Path | None, *, publication_style: bool = False) -> Figure:
    """The figure with legends where something has a label, saved if a path is given.

    Args:
        figure: What was drawn.
        path: Where to save it (PNG, PDF or SVG, by its ending); not at all by default.
        publication_style: Whether for print: large letters, thick lines, no titles, no
            frame.

    Raises:
        ConfigError: The ending of `path` is another.
        DataError: The file cannot be written.
    """
    for axes in figure.axes:
        if publication_style:
            for_print(axes)
        count, size = len(axes.get_legend_handles_labels()[0]), axes.xaxis.label.get_fontsize()
        if count > _BESIDE or (publication_style and count):
            size = min(size, _COLUMN / count)
            axes.legend(frameon=False, fontsize=size, loc="center left", bbox_to_anchor=(1.0, 0.5))
        elif count:
            axes.legend(frameon=False, fontsize=size)
    if path is not None:
        save(figure, path)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Save a figure as what its ending says.

    Raises:
        ConfigError: The ending is not that of PNG, PDF or SVG.
        DataError: The file cannot be written.
    """
    ending = path.suffix.removeprefix(".").lower()
    if ending not in FORMATS:
        raise ConfigError(
            f"a figure is saved as {', '.join(FORMATS)}, by the ending of its file: {path} has none"
            " of them"
        )
    with whole_file(path) as file:
        figure.savefig(file, format=ending)


def for_print(axes: Axes) -> None:
    """Large letters, thick lines, no title, no frame."""
    axes.set_title("")
    for line in axes.lines:
        line.set_linewidth(3)
        line.set_markersize(8)
    axes.xaxis.label.set_fontsize(24)
    axes.yaxis.label.set_fontsize(24)
    axes.tick_params(labelsize=20)
    axes.spines[["top", "right"]].set_visible(False)


def array_of(values: Any) -> NDArray[Any]:
    """Numbers as a numpy array, wherever they are."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
