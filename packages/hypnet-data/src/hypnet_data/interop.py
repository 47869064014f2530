"""Batches as numpy arrays, for other programs such as `tf.data`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray

from hypnet_core.protocols import BatchLike, SplitLike


class NumpyBatch(NamedTuple):
    """Several samples at once, as numpy arrays that share the memory of the tensors.

    Attributes:
        x: Inputs `[B, …]`, float32.
        y: Targets: class indices `[B]` (int64), or numbers `[B, …]` (float32).
        ids: Ids `[B]` (int64).
        lengths: Number of frames `[B]` of each sequence; `None` unless samples are
            sequences.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    ids: NDArray[Any]
    lengths: NDArray[Any] | None = None


def to_numpy(batch: BatchLike, *, channels_last: bool = False) -> NumpyBatch:
    """A batch as numpy arrays.

    Args:
        batch: The batch, on the CPU.
        channels_last: Whether images `[B, C, H, W]` become `[B, H, W, C]`, the layout
            of TensorFlow and matplotlib.
    """
    # Contiguous, as other programs expect; copies once.
    x = batch.x.movedim(1, -1).contiguous() if channels_last else batch.x
    lengths = None if batch.lengths is None else batch.lengths.numpy()
    return NumpyBatch(x.numpy(), batch.y.numpy(), batch.ids.numpy(), lengths)


def numpy_batches(
    split: SplitLike,
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int | None = None,
    drop_last: bool = False,
    channels_last: bool = False,
) -> Iterator[NumpyBatch]:
    """One pass over a split, in batches of numpy arrays.

    Args:
        split: The samples.
        batch_size: Samples per batch.
        shuffle: Whether samples come in random order.
        seed: Seed of order and augmentation; by default they are drawn from torch's
            global generator.
        drop_last: Whether to leave out the last batch if it is smaller.
        channels_last: Whether images become `[B, H, W, C]`.

    Raises:
        SpecError: `batch_size` is not positive.

    Example:
        >>> from hypnet_data import digits
        >>> x, y, ids, _ = next(numpy_batches(digits().test, 4, channels_last=True))
        >>> x.shape, x.dtype, y.dtype
        ((4, 8, 8, 1), dtype('float32'), dtype('int64'))
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    found = split.batches(batch_size, shuffle=shuffle, generator=generator, drop_last=drop_last)
    return (to_numpy(batch, channels_last=channels_last) for batch in found)
