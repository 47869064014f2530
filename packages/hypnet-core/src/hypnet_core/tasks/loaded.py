"""Splits of datasets that do not fit memory: samples are read from files when a batch asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hypnet_core.errors import HypnetError, SpecError
from hypnet_core.tasks.batch import Batch
from hypnet_core.tasks.split import Indices, Split
from hypnet_core.tasks.stream import fresh_seed, shuffled

_Job: TypeAlias = tuple[Tensor, int | None]
_Result: TypeAlias = tuple[Tensor, Tensor, Tensor] | HypnetError


@dataclass(frozen=True, eq=False, repr=False)
class LoadedSplit(Split):
    """A split whose stored samples say only where the real ones are; its first transform reads those.

    A transform that is random, but is replaced for evaluation and not left out, says so
    by the attribute `is_random = True`, and has a method `unaugmented()`. All else is
    as for `Split`: views, ids, batches, streams. `batches()` reads through a
    `DataLoader`, with as many processes as `workers` says, ahead of who asks. Batches
    are the same with any number of workers: each has a seed of its own, drawn from the
    generator in the order of the batches.

    A stream reads in the process that asks; see the transform for how many threads that
    takes.

    Attributes:
        workers: Number of processes that read; 0 reads in the process that asks.
        pin_memory: Whether batches come in pinned memory, from which a GPU copies
            faster; for `workers` above 0.

    Raises:
        SpecError: `workers` is negative.
    """

    workers: int = 0
    pin_memory: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers < 0:
            raise SpecError(f"workers must not be negative, got {self.workers}")

    def batch(
        self,
        indices: Indices,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Batch:
        """The samples at some indices of this split, as one batch.

        Args:
            indices: Which, between 0 and `len(self) - 1`.
            generator: Source of the seed of this batch's augmentation; torch's global
                one by default.
            device: Where the batch goes, when it is complete.
        """
        return self.read(indices, self._seed(generator)).to(device)

    def read(self, indices: Indices, seed: int | None) -> Batch:
        """The samples at some indices, under a seed.

        Args:
            indices: Which, between 0 and `len(self) - 1`.
            seed: What augmentation is drawn from; `None` where nothing is random.
        """
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return super().batch(indices, generator=generator)

    def _batches(
        self,
        batch_size: int,
        shuffle: bool,
        generator: torch.Generator | None,
        device: torch.device | str | None,
        drop_last: bool,
    ) -> Iterator[Batch]:
        if not self.workers:
            yield from super()._batches(batch_size, shuffle, generator, device, drop_last)
            return
        order = shuffled(len(self), generator) if shuffle else torch.arange(len(self))
        end = len(self) - len(self) % batch_size if drop_last else len(self)
        jobs: list[_Job] = [
            (order[start : start + batch_size], self._seed(generator))
            for start in range(0, end, batch_size)
        ]
        loader: DataLoader[_Result] = DataLoader(
            _Jobs(self),
            sampler=jobs,
            batch_size=None,
            num_workers=self.workers,
            pin_memory=self.pin_memory,
            generator=torch.Generator(),  # or it would draw from the global one
        )
        for result in loader:
            if isinstance(result, HypnetError):
                raise result
            yield Batch(*result).to(device, non_blocking=self.pin_memory)

    def _seed(self, generator: torch.Generator | None) -> int | None:
        """A seed for a batch, if anything about it is random."""
        return fresh_seed(generator) if any(_is_random(step) for step in self.transforms) else None


def _is_random(step: object) -> bool:
    return bool(getattr(step, "augments", False) or getattr(step, "is_random", False))


class _Jobs(Dataset[_Result]):
    """What a worker does: a batch, or the error that came instead, whole and not as a text."""

    def __init__(self, split: LoadedSplit) -> None:
        self.split = split

    def __getitem__(self, job: _Job) -> _Result:
        indices, seed = job
        try:
            batch = self.split.read(indices, seed)
        except HypnetError as error:
            return error
        return batch.x, batch.y, batch.ids
