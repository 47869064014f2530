from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hypnet_core.errors import ConfigError
from hypnet_core.tasks.split import Split
from hypnet_data.continual.images import split_digits, split_mnist
from hypnet_data.images.digits import digits
from hypnet_data.images.mnist import mnist


def test_split_digits_is_five_tasks_of_two_digits_with_three_splits_each() -> None:
    sequence = split_digits()
    assert [task.spec.labels for task in sequence] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert [task.spec.name for task in sequence] == [f"split_digits_{number}" for number in range(5)]
    assert sequence.name == "split_digits"
    for task in sequence:
        assert (task.spec.in_shape, task.spec.out_shape, task.spec.kind) == ((1, 8, 8), (2,), "classification")
        assert task.val is not None
        assert len(task.val) == 36
        assert 240 <= len(task.train) <= 260
        assert 70 <= len(task.test) <= 74
    assert sum(len(task.test) for task in sequence) == 360
    assert sum(len(task.train) for task in sequence) == 1797 - 360 - 180


def test_the_tasks_hold_the_digits_of_the_whole() -> None:
    whole = digits(validation_size=0)
    assert isinstance(whole.test, Split)
    for task in split_digits():
        batch = next(task.test.batches(100))
        where = whole.test.indices_of(batch.ids)
        before = whole.test.batch(where)
        assert torch.equal(batch.x, before.x)
        assert task.spec.labels is not None
        assert [task.spec.labels[y] for y in batch.y] == before.y.tolist()


def test_every_class_of_every_task_is_in_every_split() -> None:
    for task in split_digits(classes_per_task=5):
        for split in task.splits.values():
            assert next(split.batches(2000)).y.bincount(minlength=5).min() > 0


def test_the_images_of_split_digits_are_stored_once() -> None:
    assert split_digits().nbytes == digits().nbytes == 1797 * 65


def test_options_of_the_images_reach_every_task() -> None:
    for task in split_digits(augmentation=True, one_hot=True, target_padding=1):
        assert task.spec.normalization is not None
        assert task.spec.out_shape == (3,)
        assert isinstance(task.train, Split)
        assert isinstance(task.test, Split)
        assert len(task.train.transforms) == len(task.test.transforms) + 1
        assert next(task.test.batches(4)).y.shape == (4, 3)


def mnist_options(root: Path) -> dict[str, Any]:
    return {"data_dir": root, "download": False, "verify": False}


def test_split_mnist_on_5000_real_digits(mnist_root: Path) -> None:
    sequence = split_mnist(**mnist_options(mnist_root))
    assert [(len(task.train), len(task.test), task.val) for task in sequence] == [(800, 200, None)] * 5
    whole = mnist(validation_size=0, **mnist_options(mnist_root))
    assert isinstance(whole.train, Split)
    for number, task in enumerate(sequence):
        batch = next(task.train.batches(800))
        before = whole.train.batch(whole.train.indices_of(batch.ids))
        assert torch.equal(batch.x, before.x)
        assert torch.equal(batch.y + 2 * number, before.y)


def test_split_mnist_holds_its_images_once(mnist_root: Path) -> None:
    assert split_mnist(**mnist_options(mnist_root)).nbytes == 5000 * 785


def test_validation_images_of_split_mnist_are_the_first_of_each_task(mnist_root: Path) -> None:
    for task in split_mnist(validation_size=100, **mnist_options(mnist_root)):
        assert task.val is not None
        assert len(task.val) == 100
        assert int(task.val.ids.max()) < int(task.train.ids.min())


def test_too_large_a_validation_split_is_an_error(mnist_root: Path) -> None:
    with pytest.raises(ConfigError, match="800 samples cannot be held out for validation: there are only 800"):
        split_mnist(validation_size=800, **mnist_options(mnist_root))


def test_a_linear_classifier_learns_a_task_of_real_digits(mnist_root: Path) -> None:
    """The whole way from the files to a network that works: labels and images belong together."""
    task = split_mnist(normalize=True, **mnist_options(mnist_root))[1]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 2))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    stream = task.train.stream(32, generator=torch.Generator().manual_seed(0))
    for _ in range(150):
        batch = next(stream)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(batch.x), batch.y).backward()
        optimizer.step()
    correct = sum(int((network(batch.x).argmax(dim=1) == batch.y).sum()) for batch in task.test.batches(100))
    assert correct / len(task.test) > 0.9
