from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from hypnet_core.errors import ConfigError
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import Split, Stream, Task, TaskSequence
from hypnet_data import (
    digits,
    mnist,
    permuted_digits,
    permuted_mnist,
    permuted_tasks,
    toy_regression,
)


def images(task: Task, name: str = "test") -> Any:
    split = task.splits[name]
    assert isinstance(split, Split)
    return split.all().x


def mnist_tasks(root: Path, **options: Any) -> TaskSequence:
    return permuted_mnist(
        **{"data_dir": root, "download": False, "verify": False, "validation_size": 100, **options}
    )


def test_every_task_has_the_same_pixels_in_another_order() -> None:
    whole, tasks = images(digits()), permuted_digits(tasks=4)
    orders = [images(task) for task in tasks]
    for x in orders:
        assert torch.equal(x.flatten(1).sort().values, whole.flatten(1).sort().values)
    assert all(not torch.equal(one, other) for n, one in enumerate(orders) for other in orders[:n])


def test_place_i_of_the_result_comes_from_place_permutation_i(mnist_root: Path) -> None:
    whole = mnist(data_dir=mnist_root, download=False, verify=False, validation_size=100)
    order = np.random.default_rng(5).permutation(32 * 32)
    [task] = permuted_tasks(whole, permutations=[order], padding=2)
    padded = np.pad(images(whole).numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)))
    expected = padded.reshape(-1, 1, 32 * 32)[:, :, order].reshape(-1, 1, 32, 32)
    assert np.array_equal(images(task).numpy(), expected)
    assert task.spec.in_shape == (1, 32, 32)


def test_the_channels_of_a_pixel_move_together() -> None:
    x = torch.arange(5 * 3 * 4 * 2).reshape(5, 3, 4, 2).float()
    spec = TaskSpec(name="colour", kind="classification", in_shape=(3, 4, 2), out_shape=(2,))
    split = Split.of(x, torch.zeros(5, dtype=torch.int64))
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    [task] = permuted_tasks(Task(spec, split, split), permutations=[order])
    assert torch.equal(images(task).flatten(2), x.flatten(2)[:, :, order])


def test_vectors_are_permuted_as_well_but_cannot_be_padded() -> None:
    spec = TaskSpec(name="vectors", kind="classification", in_shape=(3,), out_shape=(2,))
    split = Split.of(torch.tensor([[1.0, 2.0, 3.0]]), [1])
    [task] = permuted_tasks(Task(spec, split, split), permutations=[[2, 0, 1]])
    assert images(task).tolist() == [[3.0, 1.0, 2.0]]
    with pytest.raises(ConfigError, match="only images can be padded"):
        permuted_tasks(Task(spec, split, split), padding=1)


@pytest.mark.parametrize("channels", [1, 3])
def test_padding_is_black_also_after_normalisation(mnist_root: Path, channels: int) -> None:
    [task] = mnist_tasks(mnist_root, tasks=1, padding=3, normalize=True)
    pixels = images(task) * 0.3081 + 0.1307
    assert torch.allclose(pixels.min(), torch.tensor(0.0), atol=1e-6)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    spec = TaskSpec(
        name="c",
        kind="classification",
        in_shape=(3, 2, 2),
        out_shape=(2,),
        normalization=(mean, std),
    )
    split = Split.of(torch.rand(4, 3, 2, 2), [0, 1, 0, 1])
    [padded] = permuted_tasks(Task(spec, split, split), tasks=1, padding=1, first_unpermuted=True)
    black = -torch.tensor(mean) / torch.tensor(std)
    assert torch.allclose(images(padded)[:, :, 0], black[:, None].expand(4, 3, 4))
    assert torch.allclose(images(padded)[:, :, 1:-1, 1:-1], split.all().x, atol=1e-6)


def test_images_are_stored_once_however_many_tasks_there_are(mnist_root: Path) -> None:
    tasks = mnist_tasks(mnist_root, tasks=100)
    stores = {
        id(split.samples)
        for task in tasks
        for split in task.splits.values()
        if isinstance(split, Split)
    }
    assert len(stores) == 2  # training files and test files
    assert tasks.nbytes == 5000 * (28 * 28 + 1)


def test_a_task_does_not_depend_on_how_many_there_are() -> None:
    few, many = permuted_digits(tasks=3, seed=7), permuted_digits(tasks=9, seed=7)
    assert all(
        torch.equal(images(one), images(other)) for one, other in zip(few, many, strict=False)
    )
    assert not torch.equal(images(permuted_digits(tasks=1, seed=8)[0]), images(few[0]))


def test_the_first_task_may_be_left_as_it_is() -> None:
    one, two = permuted_digits(tasks=2, first_unpermuted=True)
    assert torch.equal(images(one), images(digits()))
    assert not torch.equal(images(two), images(digits()))


def test_samples_keep_their_ids_and_their_splits() -> None:
    for task in permuted_digits(tasks=2):
        assert {name: len(split) for name, split in task.splits.items()} == {
            "train": 1257,
            "test": 360,
            "val": 180,
        }
        assert all(
            torch.equal(split.ids, digits().splits[name].ids) for name, split in task.splits.items()
        )


def test_targets_are_padded_one_hot_or_of_separate_heads() -> None:
    for task in permuted_digits(tasks=2, target_padding=3, one_hot=True):
        assert task.spec.out_shape == (13,)
        assert next(task.test.batches(5)).y.shape == (5, 13)
    for number, task in enumerate(permuted_digits(tasks=3, separate_heads=True)):
        assert task.spec.out_shape == (30,)
        assert torch.equal(
            next(task.test.batches(360)).y, next(digits().test.batches(360)).y + 10 * number
        )


def test_all_tasks_may_be_used_at_the_same_time_and_in_other_processes(mnist_root: Path) -> None:
    tasks = mnist_tasks(mnist_root, tasks=3)
    streams = [Stream(task.train, 16, generator=torch.Generator().manual_seed(0)) for task in tasks]
    alone = [
        next(
            Stream(
                mnist_tasks(mnist_root, tasks=3)[n].train,
                16,
                generator=torch.Generator().manual_seed(0),
            )
        ).x
        for n in range(3)
    ]
    for stream, expected in zip(streams, alone, strict=True):
        assert torch.equal(next(stream).x, expected)
    assert isinstance(tasks[1].test, Split)
    loader = DataLoader(tasks[1].test.subset(slice(40)), batch_size=20, num_workers=2)
    assert torch.equal(torch.cat([x for x, _ in loader]), next(tasks[1].test.batches(40)).x)
    for other in (copy.deepcopy(tasks[1]), pickle.loads(pickle.dumps(tasks[1]))):
        assert torch.equal(next(other.test.batches(5)).x, next(tasks[1].test.batches(5)).x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": 0}, "tasks must be at least 1"),
        ({"padding": -1}, "padding must not be negative"),
        ({"target_padding": -1}, "target_padding must not be negative"),
        ({"seed": -1}, "seed must not be negative"),
        ({"permutations": [range(63)]}, "permutation 0 must hold each number from 0 to 63 once"),
        (
            {"permutations": [None, [0] * 64]},
            "permutation 1 must hold each number from 0 to 63 once",
        ),
        ({"permutations": []}, "permutations must hold one per task"),
    ],
)
def test_what_cannot_be_is_an_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        permuted_tasks(digits(), **options)


def test_a_regression_has_no_classes_to_share() -> None:
    with pytest.raises(Exception, match="regression"):
        permuted_tasks(toy_regression())
