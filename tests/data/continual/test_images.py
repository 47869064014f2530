from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hypnet_core.errors import ConfigError
from hypnet_core.tasks import Split, Stream
from hypnet_data import cifar10, cifar100, digits, mnist, split_cifar, split_digits, split_mnist


def test_split_digits_is_five_tasks_of_two_digits_with_three_splits_each() -> None:
    sequence = split_digits()
    assert [task.spec.labels for task in sequence] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert [task.spec.name for task in sequence] == [
        f"split_digits_{number}" for number in range(5)
    ]
    assert sequence.name == "split_digits"
    for task in sequence:
        assert (task.spec.in_shape, task.spec.out_shape, task.spec.kind) == (
            (1, 8, 8),
            (2,),
            "classification",
        )
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
    assert [(len(task.train), len(task.test), task.val) for task in sequence] == [
        (800, 200, None)
    ] * 5
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
    with pytest.raises(
        ConfigError, match="800 samples cannot be held out for validation: there are only 800"
    ):
        split_mnist(validation_size=800, **mnist_options(mnist_root))


def test_a_linear_classifier_learns_a_task_of_real_digits(mnist_root: Path) -> None:
    """From the files to a trained network: labels belong to their images."""
    task = split_mnist(normalize=True, **mnist_options(mnist_root))[1]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 2))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    stream = Stream(task.train, 32, generator=torch.Generator().manual_seed(0))
    for _ in range(150):
        batch = next(stream)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(batch.x), batch.y).backward()
        optimizer.step()
    correct = sum(
        int((network(batch.x).argmax(dim=1) == batch.y).sum()) for batch in task.test.batches(100)
    )
    assert correct / len(task.test) > 0.9


# CIFAR


def test_split_cifar_is_cifar10_and_then_slices_of_cifar100(
    cifars: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypnet_data.images.cifar.CIFAR", cifars.published)
    tasks = split_cifar(data_dir=cifars.root, download=False)
    assert [task.spec.name for task in tasks] == [f"split_cifar_{number}" for number in range(6)]
    assert [task.spec.out_shape for task in tasks] == [(10,)] * 6
    expected = [tuple(range(10)), *(tuple(range(10 * n, 10 * n + 10)) for n in range(5))]
    assert [task.spec.labels for task in tasks] == expected
    assert [len(task.train) for task in tasks] == [100] + [20] * 5
    ten, hundred = (
        load(data_dir=cifars.root, download=False, validation_size=0)
        for load in (cifar10, cifar100)
    )
    assert torch.equal(next(tasks[0].test.batches(30)).x, next(ten.test.batches(30)).x)
    batch = next(tasks[2].test.batches(10))
    assert isinstance(hundred.test, Split)
    before = hundred.test.batch(hundred.test.indices_of(batch.ids - 60_000))
    assert torch.equal(batch.x, before.x)
    assert torch.equal(batch.y + 10, before.y)
    assert tasks.nbytes == ten.nbytes + hundred.nbytes


@pytest.mark.parametrize(
    ("options", "count"),
    [({"tasks": 11}, 11), ({"tasks": 1}, 1), ({"classes_per_task": 5, "tasks": 4}, 4)],
)
def test_split_cifar_has_as_many_tasks_as_asked_for(
    cifars: Any, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], count: int
) -> None:
    monkeypatch.setattr("hypnet_data.images.cifar.CIFAR", cifars.published)
    tasks = split_cifar(
        data_dir=cifars.root,
        download=False,
        augmentation=True,
        cutout=True,
        validation_size=2,
        **options,
    )
    assert len(tasks) == count
    assert len({task.spec.name for task in tasks}) == count
    assert all(task.val is not None and len(task.val) == 2 for task in tasks)


def test_every_image_of_split_cifar_has_an_id_of_its_own(
    cifars: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypnet_data.images.cifar.CIFAR", cifars.published)
    tasks = split_cifar(
        data_dir=cifars.root, download=False, tasks=11, validation_size=2, target_padding=3
    )
    ids = [
        int(i)
        for task in tasks
        for split in task.splits.values()
        if isinstance(split, Split)
        for i in split.ids
    ]
    assert len(ids) == len(set(ids)) == 100 + 30 + 200 + 100
    assert min(int(i) for task in tasks[1:] for i in next(task.train.batches(200)).ids) >= 60_000
    assert [task.spec.out_shape for task in tasks] == [(13,)] * 11


@pytest.mark.parametrize(
    "options", [{"tasks": 12}, {"tasks": 0}, {"classes_per_task": 3}, {"classes_per_task": 20}]
)
def test_split_cifar_refuses_what_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"must be (between 1 and 11|1, 2, 5 or 10)"):
        split_cifar(download=False, **options)
