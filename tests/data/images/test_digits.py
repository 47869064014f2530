from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from hypnet_core.errors import ConfigError
from hypnet_core.tasks import Split, Task
from hypnet_data import digits
from hypnet_data.images.digits import PREPROCESSING


def split_of(task: Task, name: str) -> Split:
    split = task.splits[name]
    assert isinstance(split, Split)
    return split


def test_there_are_1257_180_and_360_images() -> None:
    assert {name: len(split) for name, split in digits().splits.items()} == {
        "train": 1257,
        "val": 180,
        "test": 360,
    }


def test_the_splits_are_all_of_scikit_learns_digits_scaled() -> None:
    raw = load_digits()
    for split in digits().splits.values():
        for batch in split.batches(100):
            expected = (raw.images[batch.ids.numpy()] / 16).astype(np.float32)
            assert np.array_equal(batch.x[:, 0].numpy(), expected)
            assert np.array_equal(batch.y.numpy(), raw.target[batch.ids.numpy()])
    ids = torch.cat([split.ids for split in digits().splits.values()])
    assert ids.sort().values.tolist() == list(range(1797))


def test_every_split_has_of_every_digit_its_share() -> None:
    whole = Counter(load_digits().target.tolist())
    for split in digits().splits.values():
        counts = Counter(int(batch.y) for batch in split.batches(1))
        for digit, count in whole.items():
            assert abs(counts[digit] - count * len(split) / 1797) < 1.5


def test_images_are_stored_once_as_bytes() -> None:
    task = digits()
    stores = {id(split_of(task, name).samples) for name in task.splits}
    assert len(stores) == 1
    assert split_of(task, "train").samples.x.dtype == torch.uint8
    assert task.nbytes == 1797 * 65


def test_the_validation_split_takes_nothing_from_the_test_split() -> None:
    assert torch.equal(digits(validation_size=0).test.ids, digits(validation_size=500).test.ids)
    assert digits(validation_size=0).val is None
    assert len(digits(validation_size=0).train) == 1437


def test_normalised_training_inputs_have_mean_0_and_variance_1() -> None:
    task = digits(normalize=True, validation_size=0)
    pixels = split_of(task, "train").all().x
    assert abs(float(pixels.mean())) < 1e-3
    assert abs(float(pixels.std()) - 1) < 1e-3
    assert task.spec.normalization == (PREPROCESSING.mean, PREPROCESSING.std)
    assert digits().spec.normalization is None


def test_augmentation_shifts_training_images_alone_and_normalises_all() -> None:
    plain, augmented = digits(normalize=True), digits(augmentation=True)
    assert torch.equal(split_of(augmented, "test").all().x, split_of(plain, "test").all().x)
    assert torch.equal(split_of(augmented, "val").all().x, split_of(plain, "val").all().x)
    generator = torch.Generator().manual_seed(0)
    batch = next(augmented.train.batches(1257, generator=generator))
    assert not torch.equal(batch.x, split_of(plain, "train").all().x)
    assert torch.equal(
        split_of(augmented, "train").unaugmented().all().x, split_of(plain, "train").all().x
    )


def test_augmentation_without_normalisation_stays_between_0_and_1() -> None:
    task = digits(augmentation=True, normalize=False)
    x = split_of(task, "train").all().x
    assert (float(x.min()), float(x.max())) == (0, 1)


def test_one_hot_targets_have_their_one_at_the_class() -> None:
    indices, rows = digits(), digits(one_hot=True)
    for name in indices.splits:
        assert torch.equal(
            split_of(rows, name).targets.argmax(dim=1), split_of(indices, name).targets
        )
    assert next(rows.train.batches(4)).y.dtype == torch.float32


@pytest.mark.parametrize(
    ("size", "message"), [(1437, "there are only 1437"), (-1, "must not be negative")]
)
def test_an_impossible_validation_size_is_an_error(size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        digits(validation_size=size)
