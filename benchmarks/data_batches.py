"""Shuffled batches of images: a `Split` against plain torch indexing.

Batches have 128 of 60,000 images of 28x28 pixels, stored as bytes.

Both sides give the same float32 numbers, which is checked first. They take turns in one
process; the ratio of the medians is printed with the range of the ratios of single
rounds. Run it with `python benchmarks/data_batches.py [threads]`.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torchvision.transforms.v2 import RandomCrop as TorchvisionCrop

from hypnet_core.tasks import Split
from hypnet_data import Normalize, RandomCrop, Scale

SIZE, BATCH, ROUNDS, BATCHES = 60_000, 128, 15, 200
MEAN, STD, PADDING = 0.1307, 0.3081, 4

Batches = Callable[[torch.Generator], Iterator[tuple[Tensor, Tensor]]]


def ours(split: Split) -> Batches:
    """An epoch of a split."""

    def run(generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in split.batches(BATCH, shuffle=True, generator=generator):
            yield batch.x, batch.y

    return run


def plain(
    x: Tensor, y: Tensor, prepare: Callable[[Tensor], Tensor], *, select: bool = False
) -> Batches:
    """A hand-written epoch: `x[chosen]`, or the faster `index_select`."""

    def run(generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(x), generator=generator)
        for start in range(0, len(x), BATCH):
            chosen = order[start : start + BATCH]
            yield prepare(x.index_select(0, chosen) if select else x[chosen]), y[chosen].long()

    return run


def seconds_per_batch(batches: Batches) -> float:
    """Mean time of a batch at the start of an epoch, without the shuffling."""
    epoch = batches(torch.Generator().manual_seed(0))
    next(epoch)
    started = time.perf_counter()
    for _ in range(BATCHES):
        next(epoch)
    return (time.perf_counter() - started) / BATCHES


def compare(name: str, one: Batches, other: Batches, *, same: bool = True) -> None:
    """Print the comparison of both sides."""
    if same:
        for (x, y), (other_x, other_y) in zip(
            one(torch.Generator().manual_seed(1)),
            other(torch.Generator().manual_seed(1)),
            strict=True,
        ):
            if not (torch.allclose(x, other_x, atol=1e-6) and torch.equal(y, other_y)):
                raise SystemExit(f"{name}: the two sides compute different numbers")
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS):
        for side in (0, 1) if number % 2 else (1, 0):
            times[side].append(seconds_per_batch((one, other)[side]))
    ratios = [b / a for a, b in zip(*times, strict=True)]
    medians = [statistics.median(side) * 1e6 for side in times]
    print(
        f"{name:<22} ours {medians[0]:7.1f} us   other {medians[1]:7.1f} us   "
        f"ratio {medians[1] / medians[0]:5.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def main() -> None:
    """Run all comparisons."""
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    print(
        f"{torch.get_num_threads()} thread(s), torch {torch.__version__}; a ratio above 1 means"
        " that the split is faster"
    )
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (SIZE, 1, 28, 28), dtype=torch.uint8, generator=generator)
    y = torch.randint(0, 10, (SIZE,), dtype=torch.uint8, generator=generator)
    split = Split.of(x, y)
    scaled, normalised = (Scale(),), (Scale(), Normalize((MEAN,), (STD,)))
    compare(
        "plain",
        ours(split.with_transforms(*scaled)),
        plain(x, y, lambda batch: batch.float() / 255),
    )
    compare(
        "plain, tuned by hand",
        ours(split.with_transforms(*scaled)),
        plain(x, y, lambda batch: batch.float().div_(255), select=True),
    )
    compare(
        "normalised",
        ours(split.with_transforms(*normalised)),
        plain(x, y, lambda batch: (batch.float() / 255 - MEAN) / STD),
    )
    crop = TorchvisionCrop(28, padding=PADDING)
    compare(
        "cropped, normalised",
        ours(split.with_transforms(RandomCrop(PADDING), *normalised)),
        plain(
            x,
            y,
            lambda batch: (
                (torch.stack([crop(image) for image in batch]).float() / 255 - MEAN) / STD
            ),
        ),
        same=False,  # each side draws its shifts in its own order
    )


if __name__ == "__main__":
    main()
