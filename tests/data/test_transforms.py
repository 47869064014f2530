from __future__ import annotations

import pytest
import torch
import torchvision.transforms.v2.functional as TF
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.functional import to_tensor

from hypnet_core.tasks import Augmentation
from hypnet_data import (
    ClassIndex,
    Cutout,
    Normalize,
    OneHot,
    RandomCrop,
    RandomFlip,
    Relabel,
    Scale,
)


@pytest.fixture
def images() -> Tensor:
    """Eight colour images of 6x5 pixels without black pixels."""
    return torch.randint(
        1, 256, (8, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def test_scale_is_torchvisions_conversion_of_bytes(images: Tensor) -> None:
    expected = torch.stack([to_tensor(image.permute(1, 2, 0).numpy()) for image in images])
    assert torch.equal(Scale()(images), expected)


def test_scale_leaves_the_bytes_as_they_are(images: Tensor) -> None:
    before = images.clone()
    Scale()(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("mean", "std"), [((0.1307,), (0.3081,)), ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))]
)
def test_normalize_is_torchvisions(
    images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    scaled = Scale()(images[:, : len(mean)])
    expected = TF.normalize(scaled.clone(), list(mean), list(std))
    assert torch.equal(Normalize(mean, std)(scaled), expected)


def test_a_random_crop_is_one_of_the_shifts_of_the_padded_image(images: Tensor) -> None:
    padding = 2
    padded = TF.pad(images, [padding])
    cropped = RandomCrop(padding)(images, torch.Generator().manual_seed(1))
    assert cropped.shape == images.shape
    assert cropped.dtype == torch.uint8
    shifts = set()
    for image, from_padded in zip(cropped, padded, strict=True):
        found = [
            (down, right)
            for down in range(2 * padding + 1)
            for right in range(2 * padding + 1)
            if torch.equal(image, TF.crop(from_padded, down, right, 6, 5))
        ]
        assert len(found) == 1
        shifts.add(found[0])
    assert len(shifts) > 1


def test_every_shift_of_a_random_crop_is_as_likely_as_any_other() -> None:
    dots = torch.zeros(9000, 1, 3, 3)
    dots[:, :, 1, 1] = 1
    counts = RandomCrop(1)(dots, torch.Generator().manual_seed(0)).sum(dim=0).flatten()
    assert counts.sum() == 9000
    assert ((counts - 1000).abs() < 5 * (1000 * 8 / 9) ** 0.5).all()  # five standard deviations


def test_random_crops_follow_from_the_generator(images: Tensor) -> None:
    one, same, other = (
        RandomCrop(2)(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_only_the_random_crop_is_for_training_alone() -> None:
    augmentations = [
        issubclass(kind, Augmentation)
        for kind in (RandomCrop, Scale, Normalize, OneHot, Relabel, ClassIndex)
    ]
    assert augmentations == [True, False, False, False, False, False]
    assert issubclass(RandomFlip, Augmentation)
    assert issubclass(Cutout, Augmentation)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=10, unique=True), st.data())
def test_relabel_gives_each_label_its_place(labels: list[int], data: st.DataObject) -> None:
    given_labels = data.draw(st.lists(st.sampled_from(labels), min_size=1))
    relabelled = Relabel(tuple(labels))(torch.tensor(given_labels))
    assert relabelled.tolist() == [labels.index(label) for label in given_labels]


@given(st.lists(st.integers(0, 6), min_size=1))
def test_class_index_undoes_one_hot(labels: list[int]) -> None:
    rows = OneHot(7)(torch.tensor(labels))
    assert rows.dtype == torch.float32
    assert rows.sum(dim=1).unique().item() == 1
    assert ClassIndex()(rows).tolist() == ClassIndex()(torch.tensor(labels)).tolist() == labels


def test_a_flip_mirrors_about_half_of_the_images_and_leaves_the_others() -> None:
    images = torch.arange(400 * 2 * 3 * 4).reshape(400, 2, 3, 4)
    flipped = RandomFlip()(images, torch.Generator().manual_seed(0))
    mirrored = [
        torch.equal(one, other.flip(-1)) for one, other in zip(flipped, images, strict=True)
    ]
    assert 160 < sum(mirrored) < 240
    for one, other, turned in zip(flipped, images, mirrored, strict=True):
        assert turned or torch.equal(one, other)


@pytest.mark.parametrize("length", [1, 4, 5])
def test_a_cutout_has_its_centre_anywhere(length: int) -> None:
    blank = 1 - Cutout(length)(torch.ones(20_000, 1, 6, 7), torch.Generator().manual_seed(0))[:, 0]
    half = length // 2
    expected = torch.zeros(6, 7)
    for row in range(6):
        for column in range(7):
            rows = (
                sum(row in range(centre - half, centre - half + length) for centre in range(6)) / 6
            )
            columns = (
                sum(column in range(centre - half, centre - half + length) for centre in range(7))
                / 7
            )
            expected[row, column] = rows * columns
    assert torch.allclose(blank.mean(dim=0), expected, atol=0.02)


def test_several_holes_are_cut_one_by_one() -> None:
    blank = 1 - Cutout(1, holes=3)(torch.ones(500, 3, 8, 8), torch.Generator().manual_seed(0))
    holes = blank[:, 0].flatten(1).sum(dim=1)
    assert set(holes.tolist()) == {1, 2, 3} or set(holes.tolist()) == {2, 3}
    assert torch.equal(blank[:, 0], blank[:, 2])
