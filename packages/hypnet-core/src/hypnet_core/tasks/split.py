"""Splits: index views of shared samples that give whole batches by tensor indexing."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, SupportsIndex, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from hypnet_core.errors import DataError
from hypnet_core.tasks.batch import Batch, Samples
from hypnet_core.tasks.stream import Stream, check_batch_size, shuffled
from hypnet_core.tasks.transform import Augmentation, Transform, unit_interval

Indices: TypeAlias = Tensor | Sequence[int] | NDArray[Any]
"""A one-dimensional list of integers."""


@dataclass(frozen=True, eq=False, repr=False)
class Split(Dataset[tuple[Tensor, Tensor]]):
    """Samples of a dataset, selected and ordered by an index: a view, never a copy.

    A split is a map-style torch dataset (`split[i]` gives `(x, y)`, and a `DataLoader`
    accepts it) that also gives whole batches. Samples are stored once and in their own
    dtype; transforms turn them into inputs and targets batch by batch. A split is
    immutable, so threads and processes may share it.

    Attributes:
        samples: The raw samples; other splits share them.
        rows: Indices of the selected samples, in order: int64 `[n]`.
        transforms: Steps from stored inputs to floating-point inputs, applied to each
            batch one after the other.
        target_transforms: Likewise for targets. The first step receives integer targets
            as int64.

    Raises:
        DataError: A row does not exist.

    Example:
        >>> split = Split.of([[0.0], [0.5], [1.0]], [0, 1, 1])
        >>> batch = next(split.batches(2))
        >>> batch.x.tolist(), batch.y.tolist(), batch.ids.tolist()
        ([[0.0], [0.5]], [0, 1], [0, 1])
        >>> ones = split.subset(split.targets == 1)
        >>> ones.ids, ones.samples is split.samples
        (tensor([1, 2]), True)
    """

    samples: Samples
    rows: Tensor
    transforms: tuple[Transform, ...] = ()
    target_transforms: tuple[Transform, ...] = ()

    def __post_init__(self) -> None:
        # Checked once, here: batches then need no check of their own.
        _check_indices(self.rows, len(self.samples))

    @classmethod
    def of(
        cls,
        x: Any,
        y: Any,
        *,
        lengths: Any = None,
        first_id: int = 0,
        transforms: Sequence[Transform] = (),
        target_transforms: Sequence[Transform] = (),
        **fields: Any,
    ) -> Self:
        """A split of all samples in some arrays, as experiments need them.

        Floating-point inputs and targets become torch's default type (float32). Images
        of bytes, `[N, C, H, W]` or `[N, H, W]`, stay bytes in memory; each batch of
        them is divided by 255, unless there are other `transforms`. Any other type of
        inputs needs transforms. `Samples.of` keeps every type as it is.

        Args:
            x: Inputs.
            y: Targets: class indices in any integer type, or numbers.
            lengths: Number of frames of each sequence.
            first_id: Id of the first sample.
            transforms: Steps from stored inputs to inputs.
            target_transforms: Steps from stored targets to targets.
            **fields: Further fields, of a subclass.

        Raises:
            DataError: An array does not hold numbers, inputs are neither floating point
                nor images of bytes, or the numbers of samples differ.

        Example:
            >>> images = torch.full((1, 1, 2, 2), 255, dtype=torch.uint8)
            >>> Split.of(images, [0])[0][0].tolist()
            [[[1.0, 1.0], [1.0, 1.0]]]
        """
        stored = Samples.of(x, y, lengths=lengths, first_id=first_id)
        steps = tuple(transforms) or cls._steps_for(stored.x)
        samples = replace(stored, x=_as_default(stored.x), y=_as_default(stored.y))
        return cls(samples, torch.arange(len(samples)), steps, tuple(target_transforms), **fields)

    @classmethod
    def _steps_for(cls, x: Tensor) -> tuple[Transform, ...]:
        """Transforms from inputs of this type to floating point."""
        if x.is_floating_point():
            return ()
        if x.dtype == torch.uint8 and x.ndim in {3, 4}:
            return (unit_interval,)
        raise DataError(
            f"inputs are {str(x.dtype).removeprefix('torch.')} of shape {list(x.shape)}, should be"
            " floating point, or images of bytes [N, C, H, W]: convert them, or give transforms"
            " that do"
        )

    @property
    def in_memory(self) -> bool:
        """Whether the stored samples are the inputs themselves."""
        return True

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.rows)

    def __getitem__(self, index: SupportsIndex) -> tuple[Tensor, Tensor]:
        """Input and target of one sample."""
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"there is no sample {position}: the split has {len(self)}")
        # Negative indices count from the end, as in any sequence.
        batch = self.batch([position % len(self)])
        return batch.x[0], batch.y[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Inputs and targets of several samples, at the speed of one batch.

        A `DataLoader` calls this method for a whole batch where a dataset has it.
        """
        batch = self.batch(indices)
        return list(zip(batch.x, batch.y, strict=True))

    def batch(
        self,
        indices: Indices,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Batch:
        """The samples at some indices of this split, as one batch.

        Args:
            indices: Indices between 0 and `len(self) - 1`.
            generator: Source of randomness for augmentation, on the CPU; torch's global
                one by default.
            device: Device of the batch. Samples are moved in their stored form and
                transformed there.
        """
        # index_select is faster than indexing with a tensor.
        rows = self.rows.index_select(0, torch.as_tensor(indices, dtype=torch.int64))
        raw = self.samples
        lengths = None if raw.lengths is None else raw.lengths.index_select(0, rows).long()
        # Stored samples move before they are transformed: bytes are smaller.
        stored = Batch(
            raw.x.index_select(0, rows), self._raw_targets(rows), rows + raw.first_id, lengths
        ).to(device)
        # index_select has copied the samples, so transforms may work in place.
        x = self._inputs(stored.x, generator)
        y = _apply(self.target_transforms, stored.y, generator)
        return Batch(x, y, stored.ids, stored.lengths)

    def _inputs(self, stored: Tensor, generator: torch.Generator | None) -> Tensor:
        return _apply(self.transforms, stored, generator)

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        drop_last: bool = False,
    ) -> Iterator[Batch]:
        """One pass over the samples.

        Args:
            batch_size: Samples per batch; the last batch may be smaller.
            shuffle: Whether samples come in random order.
            generator: Source of all randomness (order and augmentation), on the CPU;
                torch's global one by default.
            device: Device of the batches.
            drop_last: Whether to leave out the last batch if it is smaller.

        Raises:
            SpecError: `batch_size` is not positive.
        """
        # Here, not in the generator, which would only refuse at its first batch.
        check_batch_size(batch_size)
        return self._batches(batch_size, shuffle, generator, device, drop_last)

    def _batches(
        self,
        batch_size: int,
        shuffle: bool,
        generator: torch.Generator | None,
        device: torch.device | str | None,
        drop_last: bool,
    ) -> Iterator[Batch]:
        # On the CPU, like all indices, whatever the device of the batches.
        order = shuffled(len(self), generator) if shuffle else torch.arange(len(self))
        end = len(self) - len(self) % batch_size if drop_last else len(self)
        for start in range(0, end, batch_size):
            yield self.batch(order[start : start + batch_size], generator=generator, device=device)

    def stream(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        drop_last: bool = False,
    ) -> Stream:
        """Endless shuffled batches that can be saved and resumed; see `Stream`."""
        return Stream(self, batch_size, generator=generator, device=device, drop_last=drop_last)

    def all(self, *, device: torch.device | str | None = None) -> Batch:
        """All samples as one batch, in order."""
        return self.batch(torch.arange(len(self)), device=device)

    @property
    def ids(self) -> Tensor:
        """Ids `[n]` (int64): unique within the dataset, the same in every split."""
        return self.rows + self.samples.first_id

    @property
    def targets(self) -> Tensor:
        """All targets `[n, …]`, transformed, in order."""
        return _apply(self.target_transforms, self._raw_targets(self.rows), None)

    def indices_of(self, ids: Indices) -> Tensor:
        """Indices of the samples with these ids: the inverse of `split.ids[indices]`.

        Raises:
            DataError: A sample is not in this split.
        """
        wanted = torch.as_tensor(ids, dtype=torch.int64)
        # Ids may be in any order after a subset; a sorted copy makes the search fast.
        order = torch.argsort(self.ids, stable=True)
        known = self.ids[order]
        # Clamped, because an id beyond all others would be out of range.
        places = torch.searchsorted(known, wanted).clamp(max=max(len(self) - 1, 0))
        unknown = wanted if not len(self) else wanted[known[places] != wanted]
        if len(unknown):
            raise DataError(
                f"there is no sample with id {int(unknown[0])} in this split of {len(self)}"
            )
        return order[places]

    def subset(self, indices: Indices | slice) -> Self:
        """The samples at some indices: a view that shares the stored samples.

        Args:
            indices: Indices in this split, a flag per sample, or a slice.

        Raises:
            DataError: An index is out of range, or the number of flags is wrong.
        """
        if isinstance(indices, slice):
            return replace(self, rows=self.rows[indices])
        chosen = torch.as_tensor(indices)
        if chosen.dtype == torch.bool:
            if chosen.shape != self.rows.shape:
                raise DataError(
                    f"{len(self)} flags were expected, one per sample, got shape"
                    f" {list(chosen.shape)}"
                )
            # Rows index the store, so a view of a view costs no more than a view.
            return replace(self, rows=self.rows[chosen])
        chosen = chosen.to(torch.int64)
        _check_indices(chosen, len(self))
        return replace(self, rows=self.rows[chosen])

    def with_transforms(self, *transforms: Transform) -> Self:
        """The same samples with other input transforms; without any, as stored."""
        return replace(self, transforms=transforms)

    def with_target_transforms(self, *transforms: Transform) -> Self:
        """The same samples with other target transforms; without any, as stored."""
        return replace(self, target_transforms=transforms)

    def unaugmented(self) -> Self:
        """The same samples without augmentation, as evaluation sees them."""
        steps = (
            step.for_evaluation() if isinstance(step, Augmentation) else step
            for step in self.transforms
        )
        return self.with_transforms(*(step for step in steps if step is not None))

    def __repr__(self) -> str:
        x = self.samples.x
        return f"Split of {len(self)} samples {list(x.shape[1:])} of {x.dtype}"

    def _raw_targets(self, rows: Tensor) -> Tensor:
        y = self.samples.y.index_select(0, rows)
        return y if y.is_floating_point() else y.long()  # losses need int64 classes


def _apply(
    transforms: Sequence[Transform], values: Tensor, generator: torch.Generator | None
) -> Tensor:
    for transform in transforms:
        values = transform(values, generator)
    return values


def _as_default(values: Tensor) -> Tensor:
    # Shared, not copied, if the type is right already.
    return values.to(torch.get_default_dtype()) if values.is_floating_point() else values


def _check_indices(indices: Tensor, size: int) -> None:
    if indices.ndim != 1:
        raise DataError(f"indices must be one-dimensional, got shape {list(indices.shape)}")
    if not len(indices):
        return
    low, high = (int(bound) for bound in torch.aminmax(indices))
    if low < 0 or high >= size:
        raise DataError(f"there is no sample {low if low < 0 else high}: there are {size}")
