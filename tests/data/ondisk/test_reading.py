from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from hypothesis import given
from hypothesis import strategies as st

from hypnet_data.ondisk import ReadImages
from hypnet_data.ondisk.reading import file_names, rectangle, stored_names


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=1)
)
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
