from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from hypnet_core.errors import DataError
from hypnet_data.ondisk import ReadImages
from hypnet_data.ondisk.reading import file_names, rectangle, stored_names


@given(st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1), min_size=1))
def test_names_come_back_as_they_were_stored(names: list[str]) -> None:
    stored = stored_names(names)
    assert stored.dtype == torch.uint8
    assert file_names(stored) == names


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 1000))
def test_a_random_rectangle_lies_in_the_image(height: int, width: int, seed: int) -> None:
    top, left, down, across = rectangle(
        height, width, torch.rand(10, 4, generator=torch.Generator().manual_seed(seed))
    )
    assert 0 <= top <= top + down <= height
    assert 0 <= left <= left + across <= width
    assert down > 0
    assert across > 0


def test_random_rectangles_have_areas_and_proportions_as_published() -> None:
    chances = torch.rand(4000, 10, 4, generator=torch.Generator().manual_seed(0))
    found = torch.tensor([rectangle(300, 300, one) for one in chances]).float()
    area, proportion = found[:, 2] * found[:, 3] / 300**2, found[:, 3] / found[:, 2]
    assert 0.07 < float(area.min()) < 0.1
    assert float(area.max()) > 0.9
    assert 0.74 < float(proportion.min()) < 0.77
    assert 1.3 < float(proportion.max()) < 1.35
    assert abs(float(proportion.log().mean())) < 0.02


def test_a_long_image_is_cut_in_the_middle_where_no_rectangle_fits() -> None:
    assert rectangle(100, 1000, torch.ones(10, 4) * 0.99) == (0, 433, 100, 133)


def test_threads_change_nothing(trees: Any, tmp_path: Path) -> None:
    for number in range(5):
        trees.write_picture(tmp_path / f"{number}.png", number)
    stored = stored_names([f"{number}.png" for number in range(5)])
    fits: tuple[Literal["random"], Literal["stretch"]] = ("random", "stretch")
    for fit in fits:
        one, two = (
            ReadImages(tmp_path, (24, 20), fit, threads)(stored, torch.Generator().manual_seed(1))
            for threads in (0, 3)
        )
        assert torch.equal(one, two)
        assert one.shape == (5, 3, 24, 20)


@pytest.mark.parametrize("orientation", [None, 1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_photographs_are_turned_as_their_camera_was_held(
    trees: Any, tmp_path: Path, orientation: int | None
) -> None:
    photograph = trees.picture(3, (24, 40))
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    photograph.save(tmp_path / "a.png", exif=exif)
    turned = ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))
    read = ReadImages(tmp_path, (turned.height, turned.width))(stored_names(["a.png"]))
    assert np.array_equal(read[0].permute(1, 2, 0), np.asarray(turned))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_do_not_matter(trees: Any, tmp_path: Path) -> None:
    photograph = trees.picture(3, (24, 40))
    for number, damage in enumerate((b"", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\xff\xff", b"x" * 9)):
        photograph.save(tmp_path / f"{number}.jpg", exif=damage)
        photograph.save(tmp_path / "plain.jpg")
        one, two = ReadImages(tmp_path, (24, 40))(stored_names([f"{number}.jpg", "plain.jpg"]))
        assert torch.equal(one, two)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_grey_values_of_16_bits_are_scaled(tmp_path: Path, ending: str) -> None:
    values = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)  # 0, 257, … 65,535
    name = f"grey.{ending}"
    Image.fromarray(values).save(tmp_path / name)
    read = ReadImages(tmp_path, (16, 16))(stored_names([name]))
    assert torch.equal(
        read, torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).repeat(1, 3, 1, 1)
    )


@pytest.mark.parametrize("values", [[[-1, 0]], [[0, 70_000]], [[0.0, 0.5]]])
def test_grey_values_of_another_range_are_named(tmp_path: Path, values: Any) -> None:
    array = np.array(values)
    kind = np.float32 if array.dtype.kind == "f" else np.int32
    Image.fromarray(array.astype(kind)).save(tmp_path / "grey.tif")
    with pytest.raises(DataError, match=r"grey\.tif is not an image .*of 8 or 16 bits"):
        ReadImages(tmp_path, (1, 2))(stored_names(["grey.tif"]))


def test_palettes_transparency_and_other_colours_become_three_channels(
    trees: Any, tmp_path: Path
) -> None:
    photograph = trees.picture(3, (24, 40))
    for mode in ("L", "P", "RGBA", "LA", "1"):
        photograph.convert(mode).save(tmp_path / f"{mode}.png")
        [read] = ReadImages(tmp_path, (24, 40))(stored_names([f"{mode}.png"]))
        expected = Image.open(tmp_path / f"{mode}.png").convert("RGB")
        assert np.array_equal(read.permute(1, 2, 0), np.asarray(expected))
