from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid

from hypnet_core.errors import ConfigError
from hypnet_core.tasks import Split
from hypnet_data import generated_images


def all_of(split: Any) -> Any:
    assert isinstance(split, Split)
    return split.all()


def test_there_are_as_many_images_as_were_asked_for_in_their_shape() -> None:
    task = generated_images(
        in_shape=(3, 9, 5), classes=4, train_size=30, validation_size=8, test_size=6
    )
    assert {name: len(split) for name, split in task.splits.items()} == {
        "train": 30,
        "val": 8,
        "test": 6,
    }
    batch = all_of(task.train)
    assert batch.x.shape == (30, 3, 9, 5)
    assert (float(batch.x.min()), float(batch.x.max())) == (0, 1)
    assert torch.equal(batch.y, torch.arange(30) % 4)
    ids = torch.cat([split.ids for split in task.splits.values()])
    assert ids.sort().values.tolist() == list(range(44))


@pytest.mark.parametrize("in_shape", [(1, 28, 28), (3, 32, 32)])
def test_classes_can_be_told_apart_by_their_means(in_shape: tuple[int, int, int]) -> None:
    task = generated_images(in_shape=in_shape)
    train, test = all_of(task.train), all_of(task.test)
    classifier = NearestCentroid().fit(train.x.flatten(1).numpy(), train.y.numpy())
    assert classifier.score(test.x.flatten(1).numpy(), test.y.numpy()) == 1.0


def test_without_noise_all_samples_of_a_class_are_one_pattern_of_tiles() -> None:
    x = all_of(generated_images(in_shape=(1, 8, 8), classes=2, train_size=4, noise=0.0).train).x
    assert torch.equal(x[0], x[2])
    assert not torch.equal(x[0], x[1])
    tiles = x[0, 0].reshape(4, 2, 4, 2)
    assert torch.equal(tiles, tiles[:, :1, :, :1].expand_as(tiles))


def test_the_seed_decides_all() -> None:
    one, same, other = (generated_images(seed=seed, train_size=20) for seed in (0, 0, 1))
    assert torch.equal(all_of(one.train).x, all_of(same.train).x)
    assert not torch.equal(all_of(one.train).x, all_of(other.train).x)


def test_images_are_stored_once_as_bytes() -> None:
    task = generated_images(in_shape=(1, 8, 8), train_size=90, test_size=10)
    assert task.nbytes == 100 * (64 + np.dtype(np.int64).itemsize)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_shape": (1, 0, 8)}, "in_shape.1 must be at least 1, got 0"),
        ({"classes": 0}, "classes must be at least 1, got 0"),
        ({"train_size": 0}, "train_size must be at least 1, got 0"),
        ({"test_size": -1}, "test_size must be at least 1, got -1"),
        ({"validation_size": -1}, "validation_size must not be negative, got -1"),
        ({"noise": float("nan")}, "noise must not be negative, got nan"),
        ({"seed": -1}, "seed must not be negative, got -1"),
    ],
)
def test_impossible_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generated_images(**options)
