"""Generating weights, forward and backward: hypnet against hypnettorch 0.0.4.

    pip install --no-deps hypnettorch==0.0.4
    python benchmarks/generation.py [THREADS] [ROUNDS]

Targets: ResNet-32 for CIFAR-10 (467,194 weights with convolution biases) and an MLP
784-100-100-10. Both sides start from the same parameters, and their weights are
compared before anything is timed. Memory is the peak that a call adds in a process of
its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from hypercl_step import copy_parameters
from measure import interleaved, median_ms, peak_memory, predecessor, ratio

from hypnet_core import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets import HMLP, ChunkedHMLP

MLP_SHAPES = [[100, 784], [100], [100, 100], [100], [10, 100], [10]]
CASES: list[tuple[str, int | None, int, float | None]] = [
    ("resnet32", 2000, 1, 2.5),
    ("resnet32", 1000, 1, 2.5),
    ("resnet32", 100, 1, 1.7),
    ("resnet32", 2000, 10, 5.0),
    ("resnet32", 1000, 10, 5.0),
    ("resnet32", 100, 10, 2.7),
    ("mlp", 750, 1, 1.0),
    ("mlp", 750, 10, 1.0),
    ("mlp", None, 1, None),
    ("mlp", None, 20, 1.4),
    ("mlp", None, 100, 1.4),
]


def shapes_of(target: str) -> list[list[int]]:
    if target == "mlp":
        return MLP_SHAPES
    widths = [16] * 10 + [32] * 10 + [64] * 10
    shapes = [[16, 3, 3, 3], [16]]
    before = 16
    for width in widths:
        shapes += [[width, before, 3, 3], [width]]
        before = width
    norms = [shape for width in [16, *widths] for shape in ([width], [width])]
    return [*norms, *shapes, [10, 64], [10]]


def ours(target: str, chunk: int | None, count: int) -> tuple[Callable[[], torch.Tensor], Any]:
    torch.manual_seed(0)
    spec, conditions = TargetSpec.from_shapes(shapes_of(target)), ConditionSpec(count=count, size=8)
    hypernet = (
        HMLP(spec, conditions) if chunk is None else ChunkedHMLP(spec, conditions, chunk_size=chunk)
    )
    ids = list(range(count))

    def step() -> torch.Tensor:
        hypernet.zero_grad()
        weights = hypernet(ids)
        sum_of_squares(list(weights.values())).backward()
        flat: torch.Tensor = weights.flat.detach()
        return flat

    return step, hypernet


def theirs(target: str, chunk: int | None, count: int, like: Any) -> Callable[[], torch.Tensor]:
    TheirHMLP = predecessor("hypnettorch.hnets:HMLP")
    TheirChunkedHMLP = predecessor("hypnettorch.hnets:ChunkedHMLP")

    options = {"cond_in_size": 8, "layers": (100, 100), "num_cond_embs": count, "verbose": False}
    shapes = shapes_of(target)
    hypernet = (
        TheirHMLP(shapes, **options)
        if chunk is None
        else TheirChunkedHMLP(shapes, chunk, chunk_emb_size=8, **options)
    )
    if like is not None:
        copy_parameters(like, hypernet)
    ids = list(range(count))

    def step() -> torch.Tensor:
        hypernet.zero_grad()
        weights = hypernet.forward(cond_id=ids, ret_format="sequential")
        sum_of_squares([tensor for one in weights for tensor in one]).backward()
        return torch.stack(
            [torch.cat([tensor.detach().flatten() for tensor in one]) for one in weights]
        )

    return step


def sum_of_squares(tensors: list[torch.Tensor]) -> torch.Tensor:
    """A loss that touches every tensor by itself, as a main network does."""
    return torch.stack([tensor.square().sum() for tensor in tensors]).sum()


def ready_ours(target: str, chunk: int | None, count: int) -> Callable[[], object]:
    torch.set_num_threads(1)
    return ours(target, chunk, count)[0]


def ready_theirs(target: str, chunk: int | None, count: int) -> Callable[[], object]:
    torch.set_num_threads(1)
    return theirs(target, chunk, count, None)


def main(threads: int, rounds: int) -> None:
    torch.set_num_threads(threads)
    print(f"{threads} thread(s), {rounds} rounds, medians, forward + backward")
    print(
        f"{'target':<10}{'chunk':>6}{'conditions':>12}{'hypnettorch':>14}{'hypnet':>11}{'faster':>8}"
        "   quartiles      goal   memory"
    )
    for target, chunk, count, goal in CASES:
        my_step, hypernet = ours(target, chunk, count)
        their_step = theirs(target, chunk, count, hypernet)
        torch.testing.assert_close(my_step(), their_step(), rtol=1e-4, atol=1e-5)
        times = interleaved({"theirs": their_step, "ours": my_step}, rounds=rounds)
        faster, low, high = ratio(times, "theirs", "ours")
        memory = peak_memory(ready_ours, target, chunk, count) / peak_memory(
            ready_theirs, target, chunk, count
        )
        print(
            f"{target:<10}{chunk or 'full':>6}{count:>12}{median_ms(times['theirs']):>11.1f}"
            f" ms{median_ms(times['ours']):>8.1f} ms{faster:>7.2f}x   {low:.2f} - {high:.2f}  "
            f" {goal or '':>5}   {memory:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main(*(int(value) for value in sys.argv[1:3]), *(1, 9)[len(sys.argv) - 1 :])
