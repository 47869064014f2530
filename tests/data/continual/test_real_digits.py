"""A small network learns 5,000 real digits, permuted and split."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from hypnet_core.tasks import Task
from hypnet_data import permuted_mnist, split_mnist

FILES: dict[str, Any] = {"download": False, "verify": False}


def accuracy(task: Task) -> float:
    """Test accuracy of a linear network after three passes over the training images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Linear(torch.Size(task.spec.in_shape).numel(), task.spec.classes)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for batch in task.train.batches(32, shuffle=True, generator=generator):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(batch.x.flatten(1)), batch.y).backward()
            optimizer.step()
    right = sum(
        int((network(batch.x.flatten(1)).argmax(1) == batch.y).sum())
        for batch in task.test.batches(500)
    )
    return right / len(task.test)


def test_every_permutation_of_the_digits_can_be_learnt(mnist_root: Path) -> None:
    for task in permuted_mnist(tasks=2, validation_size=0, data_dir=mnist_root, **FILES):
        assert task.spec.in_shape == (1, 32, 32)
        assert accuracy(task) > 0.85


def test_every_pair_of_digits_can_be_told_apart(mnist_root: Path) -> None:
    for task in split_mnist(data_dir=mnist_root, **FILES):
        assert accuracy(task) > 0.93


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_threads_and_forked_processes_get_the_same_batches(mnist_root: Path) -> None:
    tasks = permuted_mnist(tasks=3, validation_size=0, data_dir=mnist_root, **FILES)

    def total(number: int) -> float:
        batches = tasks[number].train.batches(
            256, shuffle=True, generator=torch.Generator().manual_seed(number)
        )
        return float(
            sum(
                (batch.x * batch.y[:, None, None, None]).sum() * n
                for n, batch in enumerate(batches)
            )
        )

    expected = [total(number) for number in range(3)]
    found: dict[int, float] = {}
    threads = [
        threading.Thread(target=lambda n=number: found.__setitem__(n, total(n)))
        for number in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(3)] == expected
    context = multiprocessing.get_context("fork")
    queue: Any = context.Queue()

    def report() -> None:
        torch.set_num_threads(1)
        queue.put(
            [
                len(batch)
                for batch in tasks[1].train.batches(
                    256, shuffle=True, generator=torch.Generator().manual_seed(1)
                )
            ]
        )

    process = context.Process(target=report)
    process.start()
    assert sum(queue.get(timeout=60)) == 4000
    process.join()
    assert process.exitcode == 0
