from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import registry
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import Split, Task
from hypnet_data import digits
from hypnet_data.plots import plot_any

DRAWABLE: dict[str, dict[str, Any]] = {
    "toy_regression": {},
    "bimodal_regression": {},
    "gaussian": {},
    "gaussian_mixture": {},
    "gaussian_tasks": {},
    "donuts": {},
    "polynomials": {},
    "digits": {},
    "permuted_digits": {"tasks": 3},
}


@pytest.mark.parametrize("name", DRAWABLE)
def test_every_kind_of_dataset_can_be_drawn(name: str, tmp_path: Path) -> None:
    for publication_style in (False, True):
        path = tmp_path / f"{publication_style}.png"
        figure = plot_any(
            registry().get("dataset", name).build(**DRAWABLE[name]),
            count=4,
            path=path,
            publication_style=publication_style,
        )
        assert figure.axes or figure.subfigs
        assert path.read_bytes().startswith(b"\x89PNG")


def test_what_is_drawn_is_not_augmented() -> None:
    images = [
        plot_any(digits(augmentation=augmentation), count=5).axes[2].images[0].get_array()
        for augmentation in (True, False)
    ]
    assert images[0] is not None
    assert images[1] is not None
    assert abs(images[0] - images[1]).max() < 1e-5


def test_what_cannot_be_drawn_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no split 'val'"):
        plot_any(digits(validation_size=0), split="val")
    with pytest.raises(ConfigError, match="count must be at least 1"):
        plot_any(digits(), count=0)
    split = Split.of(torch.zeros(3, 7), [0, 1, 0])
    with pytest.raises(ConfigError, match="only images of one or three channels"):
        plot_any(
            [
                Task(
                    TaskSpec(name="v", kind="classification", in_shape=(7,), out_shape=(2,)),
                    split,
                    split,
                )
            ]
        )


def test_a_grid_of_too_many_images_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"at most 400 images .* not 1257: choose a smaller count"
    ):
        plot_any(digits(), count=100_000)


@pytest.mark.parametrize(("times", "publication_style"), [(1, True), (4, True), (4, False)])
def test_a_long_legend_stands_beside_the_axes_and_inside_the_figure(
    times: int, publication_style: bool
) -> None:
    from hypnet_data import polynomials

    figure = plot_any([*polynomials()] * times, publication_style=publication_style)
    figure.draw_without_rendering()
    [axes] = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    box, inside, whole = legend.get_window_extent(), axes.get_window_extent(), figure.bbox
    assert box.x0 >= inside.x1
    assert box.x1 <= whole.x1 + 1
    assert whole.y0 - 1 <= box.y0 <= box.y1 <= whole.y1 + 1
    assert inside.width > whole.width / 3


def test_tasks_whose_targets_are_images_have_a_line_for_them() -> None:
    x, y = torch.rand(3, 1, 4, 5), torch.rand(3, 1, 8, 10)
    spec = TaskSpec(name="t", kind="regression", in_shape=(1, 4, 5), out_shape=(1, 8, 10))
    task = Task(spec, Split.of(x, y), Split.of(x, y))
    figure = plot_any([task, task], count=3)
    assert [axes.get_title() for axes in figure.axes] == (["input"] * 3 + ["target"] * 3) * 2
    single = plot_any(task)
    assert [axes.get_title() for axes in single.axes] == ["input"] * 3 + ["target"] * 3
