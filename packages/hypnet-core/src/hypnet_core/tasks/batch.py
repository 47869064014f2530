"""Raw samples, and batches of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypnet_core.errors import DataError, error_line


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Several samples at once.

    Attributes:
        x: Inputs `[B, *in_shape]`, or `[B, T, *in_shape]` for sequences; floating
            point.
        y: Targets: class indices `[B]` (int64), one-hot rows `[B, classes]` or
            regression targets `[B, *out_shape]` (floating point).
        ids: Ids `[B]` (int64) of the samples, unique within the dataset.
        lengths: Number of frames `[B]` (int64) of each sequence before its padding;
            `None` unless samples are sequences.
    """

    x: Tensor
    y: Tensor
    ids: Tensor
    lengths: Tensor | None = None

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.ids)

    def to(self, device: torch.device | str | None, *, non_blocking: bool = False) -> Batch:
        """The same batch on another device; tensors that are already there are shared.

        Args:
            device: The other device; `None` for no change.
            non_blocking: Whether to return before copies from pinned memory are
                complete.
        """
        # The common case on a CPU, at no cost.
        if device is None:
            return self
        x, y, ids = (
            tensor.to(device, non_blocking=non_blocking) for tensor in (self.x, self.y, self.ids)
        )
        lengths = (
            None if self.lengths is None else self.lengths.to(device, non_blocking=non_blocking)
        )
        return Batch(x, y, ids, lengths)


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Raw samples in memory, in their own dtype; splits are views of them.

    Sample `i` has the id `first_id + i`. A dataset with two stores (training and test
    files, say) gives them different ranges, so that ids are unique.

    Attributes:
        x: Inputs `[N, …]` in their stored form: images may stay uint8.
        y: Targets `[N, …]`: classes in any integer type, or floating point.
        lengths: Number of frames `[N]` of each sequence; `None` unless samples are
            sequences.
        first_id: Id of the first sample.

    Raises:
        DataError: The numbers of inputs, targets and lengths differ.
    """

    x: Tensor
    y: Tensor
    lengths: Tensor | None = None
    first_id: int = 0

    def __post_init__(self) -> None:
        for name, tensor in (("targets", self.y), ("lengths", self.lengths)):
            if tensor is not None and len(tensor) != len(self.x):
                raise DataError(f"there are {len(self.x)} inputs, but {len(tensor)} {name}")
        if self.first_id < 0:
            raise DataError(f"ids must not be negative, but the first is {self.first_id}")

    @classmethod
    def of(cls, x: Any, y: Any, *, lengths: Any = None, first_id: int = 0) -> Self:
        """Samples from arrays; tensors and writable numpy arrays are shared.

        Raises:
            DataError: An array does not hold numbers, has no dimension of samples, or
                the numbers of samples differ.

        Example:
            >>> Samples.of([[0.0], [1.0]], [1, 0], first_id=100).ids
            tensor([100, 101])
        """
        stored = None if lengths is None else _tensor(lengths, "lengths")
        return cls(_tensor(x, "inputs"), _tensor(y, "targets"), stored, first_id)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.x)

    @property
    def ids(self) -> Tensor:
        """Ids `[N]` of all samples."""
        # Computed, not stored: ids are a range.
        return torch.arange(self.first_id, self.first_id + len(self))

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return sum(tensor.nbytes for tensor in (self.x, self.y, self.lengths) if tensor is not None)


def _tensor(values: Any, what: str) -> Tensor:
    if isinstance(values, np.ndarray) and not _shareable(values):
        values = values.astype(values.dtype.newbyteorder("="))
    try:
        found = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise DataError(f"{what} are not numbers in an array: {error_line(error)}") from error
    if not found.ndim:
        raise DataError(f"{what} must have one entry per sample, got a single number")
    return found


def _shareable(array: NDArray[Any]) -> bool:
    # A tensor is not read-only, has no negative steps and the machine's order of bytes.
    forward = all(step >= 0 for step in array.strides)
    return array.flags.writeable and array.dtype.isnative and forward
