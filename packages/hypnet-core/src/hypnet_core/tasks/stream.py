"""Endless shuffled batches that can be saved and resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from hypnet_core.errors import CheckpointError, DataError, SpecError
from hypnet_core.protocols import SplitLike
from hypnet_core.tasks.batch import Batch


@runtime_checkable
class Batchable(Protocol):
    """Samples that a `Stream` can draw from: any of them come as one batch."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def batch(
        self,
        indices: Tensor,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> Batch:
        """The samples at some indices, as one batch."""
        ...


class Stream(Iterator[Batch]):
    """Batches without end: one pass over the shuffled samples after the other.

    A stream equals `split.batches(batch_size, shuffle=True, generator=generator)`,
    called again and again: every pass has a new order and ends with a smaller batch if
    `batch_size` does not divide the number of samples. Its state can be saved at any
    point. A stream that loads this state continues with the same batches, augmentation
    included.

    Give every stream its own generator, and every thread its own stream.

    Args:
        split: The samples: a `Split`, or anything else with `batch(indices, …)`.
        batch_size: Samples per batch.
        generator: Source of all randomness (order and augmentation), on the CPU. By
            default a new one, seeded from torch's global generator, so that it follows
            `torch.manual_seed`.
        device: Device of the batches.
        drop_last: Whether to leave out the smaller batch at the end of a pass.

    Raises:
        SpecError: `batch_size` is not positive, `drop_last` would leave nothing, or
            `split` has no `batch(indices, …)`.
        DataError: There are no samples.

    Example:
        >>> from hypnet_core.tasks import Split
        >>> split = Split.of([[1.0], [2.0], [3.0]], [0, 1, 0])
        >>> stream = Stream(split, 2, generator=torch.Generator().manual_seed(0))
        >>> [len(next(stream)) for _ in range(5)], stream.epoch
        ([2, 1, 2, 1, 2], 3)
    """

    def __init__(
        self,
        split: Batchable | SplitLike,
        batch_size: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        drop_last: bool = False,
    ) -> None:
        if not isinstance(split, Batchable):
            raise SpecError(
                f"a stream needs batches at given indices, but a {type(split).__name__} has no"
                " method batch(indices, …)"
            )
        if not len(split):
            raise DataError("a stream needs samples, but the split is empty")
        check_batch_size(batch_size)
        # Otherwise every pass would be empty, and the stream would never end.
        if drop_last and len(split) < batch_size:
            raise SpecError(
                f"with drop_last, {len(split)} samples give no batch of {batch_size}: choose a"
                " smaller batch size"
            )
        self.split: Batchable = split
        self.batch_size = batch_size
        self.generator = (
            # A generator of its own: others would otherwise change the order.
            torch.Generator().manual_seed(fresh_seed()) if generator is None else generator
        )
        self.device = device
        self.drop_last = drop_last
        self.epoch = 0
        """Number of passes begun so far."""
        self.position = 0
        """Number of samples given so far in this pass."""
        self._order = _EMPTY
        self._epoch_start = self.generator.get_state()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        # With drop_last, the rest of a pass is skipped.
        if self.position >= len(self._order) - (
            len(self._order) % self.batch_size if self.drop_last else 0
        ):
            # Kept to draw the same order again after a restart.
            self._epoch_start = self.generator.get_state()
            self._order = shuffled(len(self.split), self.generator)
            self.epoch += 1
            self.position = 0
        chunk = self._order[self.position : self.position + self.batch_size]
        self.position += len(chunk)
        return self.split.batch(chunk, generator=self.generator, device=self.device)

    def state_dict(self) -> dict[str, Any]:
        """The position of the stream.

        Integers, and uint8 tensors for the states of the generator: the present one and
        the one at the start of the pass, from which the order is drawn again.
        """
        return {
            "size": len(self.split),
            "batch_size": self.batch_size,
            "epoch": self.epoch,
            "position": self.position,
            "epoch_start": self._epoch_start.clone(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the stream that gave `state` was.

        This sets the state of the generator.

        Raises:
            CheckpointError: The state is incomplete, or belongs to another split or
                batch size.
        """
        # Checked before anything is set: a refusal must change nothing.
        missing = self.state_dict().keys() - state.keys()
        if missing:
            raise CheckpointError(
                f"the state of the batch stream lacks {', '.join(sorted(missing))}"
            )
        for name, here in (("size", len(self.split)), ("batch_size", self.batch_size)):
            if int(state[name]) != here:
                raise CheckpointError(
                    f"the batch stream was saved with {name} {int(state[name])}, but here it is"
                    f" {here}"
                )
        before = self.generator.get_state()
        try:
            self.generator.set_state(state["epoch_start"])
            # The order is not stored, but drawn again from the state at the start.
            order = shuffled(len(self.split), self.generator) if int(state["epoch"]) else _EMPTY
            self.generator.set_state(state["generator"])
        except (RuntimeError, TypeError) as error:
            self.generator.set_state(before)
            raise CheckpointError(
                f"the state of the batch stream's generator is damaged: {error}"
            ) from error
        self._order, self._epoch_start = order, state["epoch_start"].clone()
        self.epoch, self.position = int(state["epoch"]), int(state["position"])


_EMPTY = torch.empty(0, dtype=torch.int64)


def shuffled(size: int, generator: torch.Generator | None) -> Tensor:
    """A random order of `size` indices, on the CPU.

    Args:
        size: Number of indices.
        generator: Source of randomness on the CPU; torch's global one by default.
    """
    return torch.randperm(size, generator=generator)


def check_batch_size(batch_size: int) -> None:
    """Refuse a batch size below 1.

    Raises:
        SpecError: It is below 1.
    """
    if batch_size < 1:
        raise SpecError(f"the batch size must be at least 1, got {batch_size}")


def fresh_seed(generator: torch.Generator | None = None) -> int:
    """A seed drawn from a generator.

    Args:
        generator: Source of randomness on the CPU; torch's global one by default, which
            torch's own samplers use as well.
    """
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator).item())
