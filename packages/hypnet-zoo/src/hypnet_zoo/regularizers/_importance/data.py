"""Batches of data in any of the forms that users have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from hypnet_core.errors import DataError, clipped
from hypnet_core.protocols import BatchLike, SplitLike
from hypnet_core.tasks import Batch, Samples, Split

Data: TypeAlias = SplitLike | Iterable[Any] | tuple[Any, Any] | tuple[Any, Any, Any]
"""Samples: a split, a tuple of arrays `(x, y)` or `(x, y, lengths)`, a `DataLoader`, or
another iterable of batches (each a `Batch` or such a tuple)."""


class Batches:
    """The samples in batches, or a random subset of them.

    Iterables keep their own batches, unless a subset is asked for.

    Args:
        data: The samples.
        batch_size: Samples per batch.
        samples: Size of the subset; `None` for all samples.
        generator: Chooses the subset, on the CPU.

    Raises:
        DataError: These are no samples.
    """

    def __init__(
        self, data: Data, batch_size: int, samples: int | None, generator: torch.Generator | None
    ) -> None:
        self._source: object = _of_arrays(data) if _is_arrays(data) else data
        wrong = isinstance(self._source, (str, bytes, Mapping, Tensor))
        if wrong or not isinstance(self._source, (SplitLike, Iterable)):
            raise DataError(
                "data is a split, a tuple of arrays (x, y), a DataLoader or another iterable of"
                f" batches, got {clipped(repr(data))}"
            )
        self._batch_size = batch_size
        self._samples = samples
        self._generator = generator
        self.count = 0
        """Number of samples in the data, known after the iteration."""

    def __iter__(self) -> Iterator[Batch]:
        """One pass.

        Raises:
            DataError: There are no samples, or fewer than asked for, or these are no
                samples.
        """
        source, samples = self._source, self._samples
        if isinstance(source, SplitLike):
            self._check(len(source))
            if isinstance(source, Split):
                source = source.unaugmented()
            if isinstance(source, Split) and samples is not None:
                # Only what is chosen is read.
                rows = torch.randperm(len(source), generator=self._generator)[:samples]
                source, samples = source.subset(rows.sort().values), None
            source = source.batches(self._batch_size)
        elif not isinstance(source, Iterable):
            return
        counted = self._counted(source)
        yield from counted if samples is None else self._subset(counted, samples)
        # A split has been counted: a subset of it may have passed.
        if not isinstance(self._source, SplitLike):
            self._check(self._seen)

    def _check(self, count: int) -> None:
        self.count = count
        if not count:
            raise DataError("there are no samples to estimate importances from")
        if self._samples is not None and self._samples > count:
            raise DataError(f"samples={self._samples}, but the data has only {count}")

    def _counted(self, source: Iterable[Any]) -> Iterator[Batch]:
        self._seen = 0
        for one in source:
            batch = as_batch(one, self._seen)
            self._seen += len(batch)
            if len(batch):
                yield batch

    def _subset(self, source: Iterable[Batch], samples: int) -> Iterator[Batch]:
        """A uniform subset in one pass: the samples with the least of random keys."""
        kept: Batch | None = None
        keys = torch.empty(0, dtype=torch.float64)
        for batch in source:
            fresh = torch.rand(len(batch), dtype=torch.float64, generator=self._generator)
            keys = torch.cat([keys, fresh])
            pool = batch if kept is None else joined(kept, batch)
            if len(keys) > samples:
                # In order, so that they come as the data has them.
                places = keys.topk(samples, largest=False).indices.sort().values
                keys, pool = keys[places], rows_of(pool, places)
            kept = pool
        if kept is not None and len(kept) == samples:
            for start in range(0, samples, self._batch_size):
                yield rows_of(kept, slice(start, start + self._batch_size))


def _is_arrays(data: object) -> bool:
    # A tuple of two batches is an iterable of batches.
    return isinstance(data, tuple) and len(data) in {2, 3} and not _is_batch(data[0])


def _is_batch(one: object) -> bool:
    return all(hasattr(one, name) for name in ("x", "y", "ids")) or isinstance(one, tuple)


def _of_arrays(data: Any) -> Split:
    x, y, *lengths = data
    found = Samples.of(x, y, lengths=lengths[0] if lengths else None)
    if found.x.dtype == torch.uint8 and found.x.ndim > 2:
        return Split.of(found.x, found.y, lengths=found.lengths)  # images of bytes
    return Split(found, torch.arange(len(found)))


def as_batch(one: Any, first_id: int = 0) -> Batch:
    """One batch, as a `Batch`.

    Args:
        one: A `Batch`, or tensors `(x, y)` or `(x, y, lengths)`.
        first_id: Id of the first sample, if it has none.

    Raises:
        DataError: It is no batch.
    """
    if isinstance(one, Batch):
        return one
    if _is_batch(one) and not isinstance(one, tuple):
        return Batch(one.x, one.y, one.ids, one.lengths)
    if isinstance(one, (tuple, list)) and len(one) in {2, 3}:
        tensors = [torch.as_tensor(part) for part in one]
        ids = torch.arange(first_id, first_id + len(tensors[0]))
        return Batch(tensors[0], tensors[1], ids, tensors[2] if len(tensors) == 3 else None)
    raise DataError(f"a batch is a Batch or a tuple (x, y), got {clipped(repr(one))}")


def joined(first: Batch, second: Batch) -> Batch:
    """Two batches as one.

    Raises:
        DataError: Their samples have different shapes.
    """
    pairs = ((first.x, second.x), (first.y, second.y), (first.ids, second.ids))
    if any(a.shape[1:] != b.shape[1:] for a, b in pairs):
        raise DataError(
            "a random subset needs samples of one shape, got"
            f" {list(first.x.shape[1:])} and {list(second.x.shape[1:])}"
        )
    x, y, ids = (torch.cat(pair) for pair in pairs)
    if first.lengths is None or second.lengths is None:
        return Batch(x, y, ids)
    return Batch(x, y, ids, torch.cat([first.lengths, second.lengths]))


def rows_of(batch: BatchLike, rows: slice | Tensor) -> Batch:
    """Some samples of a batch."""
    places = rows.to(batch.x.device) if isinstance(rows, Tensor) else rows
    lengths = None if batch.lengths is None else batch.lengths[places]
    return Batch(batch.x[places], batch.y[places], batch.ids[places], lengths)
