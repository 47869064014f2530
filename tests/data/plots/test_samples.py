from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hypnet_core.errors import ConfigError, DataError
from hypnet_core.specs import TaskSpec
from hypnet_data import digits, donuts
from hypnet_data.plots import plot_samples


@pytest.fixture(scope="module")
def batch() -> Any:
    return next(digits().test.batches(10))


def pixels(axes: Any) -> Any:
    return axes.images[0].get_array()


def titles(figure: Any) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def test_each_image_has_a_place_of_its_own_with_its_target(batch: Any) -> None:
    figure = plot_samples(digits().spec, batch.x, targets=batch.y, title="Ten digits")
    assert len(figure.axes) == 10
    assert titles(figure) == [str(int(label)) for label in batch.y]
    assert figure.get_suptitle() == "Ten digits"
    for axes, image in zip(figure.axes, batch.x, strict=True):
        assert np.allclose(pixels(axes), image[0])


def test_a_wrong_prediction_is_red_beside_its_target(batch: Any) -> None:
    scores = torch.nn.functional.one_hot((batch.y + (torch.arange(10) == 3)) % 10, 10)
    figure = plot_samples(digits().spec, batch.x, targets=batch.y, predictions=scores)
    colours = [axes.title.get_color() for axes in figure.axes]
    assert [number for number, colour in enumerate(colours) if colour == "C3"] == [3]
    assert titles(figure)[0] == f"target: {batch.y[0]}\nprediction: {batch.y[0]}"


def test_classes_may_have_names(batch: Any) -> None:
    names = ["nil", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert titles(plot_samples(digits().spec, batch.x, targets=batch.y, names=names)) == [
        names[y] for y in batch.y
    ]
    with pytest.raises(ConfigError, match="there are 3 names, but a class"):
        plot_samples(digits().spec, batch.x, targets=batch.y, names=names[:3])


def test_normalised_images_are_shown_as_they_were() -> None:
    plain, task = digits(), digits(normalize=True)
    figure = plot_samples(task.spec, next(task.test.batches(3)).x)
    for axes, image in zip(figure.axes, next(plain.test.batches(3)).x, strict=True):
        assert np.allclose(pixels(axes), image[0], atol=1e-5)


def test_colour_images_have_their_channels_last() -> None:
    spec = TaskSpec(name="c", kind="classification", in_shape=(3, 4, 5), out_shape=(2,))
    x = torch.rand(2, 3, 4, 5)
    figure = plot_samples(spec, x)
    assert np.allclose(pixels(figure.axes[1]), x[1].permute(1, 2, 0))


def test_points_of_a_plane_have_a_colour_per_class() -> None:
    task = donuts()
    points = next(task.train.batches(200))
    figure = plot_samples(task.spec, points.x, targets=points.y, predictions=points.y)
    assert titles(figure) == ["target", "prediction"]
    assert [np.asarray(drawn.get_offsets()).shape[0] for drawn in figure.axes[0].collections] == [
        100,
        100,
    ]


@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_a_figure_is_saved_as_its_ending_says(
    batch: Any, tmp_path: Path, ending: str, start: bytes
) -> None:
    path = tmp_path / f"figure.{ending}"
    plot_samples(
        digits().spec, batch.x, targets=batch.y, path=path, publication_style=True, title="left out"
    )
    assert path.read_bytes().startswith(start)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    plot_samples(digits().spec, batch.x, path=str(path))
    assert path.read_bytes().startswith(start)


def test_what_cannot_be_drawn_is_an_error(batch: Any, tmp_path: Path) -> None:
    spec = digits().spec
    with pytest.raises(ConfigError, match="there are 10 inputs, but 3 values"):
        plot_samples(spec, batch.x, targets=batch.y[:3])
    with pytest.raises(ConfigError, match=r"inputs of shape .* were expected, got \[10, 64\]"):
        plot_samples(spec, batch.x.flatten(1))
    with pytest.raises(ConfigError, match="columns must be at least 1"):
        plot_samples(spec, batch.x, columns=0)
    with pytest.raises(ConfigError, match="only images of one or three channels"):
        plot_samples(
            TaskSpec(name="v", kind="regression", in_shape=(5,), out_shape=(1,)), torch.zeros(2, 5)
        )
    with pytest.raises(ConfigError, match="png, pdf, svg"):
        plot_samples(spec, batch.x, path=tmp_path / "figure.gif")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="cannot write"):
        plot_samples(spec, batch.x, path=tmp_path / "file" / "figure.png")


def doubled(channels: int = 1, in_shape: tuple[int, ...] = (1, 4, 5)) -> TaskSpec:
    return TaskSpec(
        name="doubled", kind="regression", in_shape=in_shape, out_shape=(channels, 8, 10)
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_targets_that_are_images_stand_below_their_inputs(channels: int) -> None:
    x, y, z = torch.rand(5, 1, 4, 5), torch.rand(5, channels, 8, 10), torch.rand(5, channels, 8, 10)
    figure = plot_samples(doubled(channels), x, targets=y, predictions=z, columns=3)
    expected = []
    # Two rows of samples: three and two; each has a line of each kind.
    for rows in (slice(0, 3), slice(3, 5)):
        for name, images in (("input", x), ("target", y), ("prediction", z)):
            expected += [(name, image) for image in images[rows]]
    assert titles(figure) == [name for name, _ in expected]
    for axes, (_, image) in zip(figure.axes, expected, strict=True):
        last = image.permute(1, 2, 0).squeeze(2)
        assert np.allclose(pixels(axes), last)
    untyped: list[Any] = figure.axes
    places = [axes.get_subplotspec().num1 for axes in untyped]
    assert places == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 15, 16]


def test_images_may_be_the_targets_of_vectors_and_have_no_targets() -> None:
    vectors = plot_samples(
        doubled(in_shape=(7,)), torch.rand(2, 7), targets=torch.rand(2, 1, 8, 10)
    )
    assert len(vectors.axes) == 2
    assert len(plot_samples(doubled(), torch.rand(2, 1, 4, 5)).axes) == 2
    with pytest.raises(ConfigError, match=r"target should have shape \[2, 1, 8, 10\], have \[3, 1"):
        plot_samples(doubled(), torch.rand(2, 1, 4, 5), targets=torch.rand(3, 1, 8, 10))
    with pytest.raises(ConfigError, match="at most 400 images"):
        plot_samples(doubled(), torch.rand(201, 1, 4, 5), targets=torch.rand(201, 1, 8, 10))
