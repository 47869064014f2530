"""The order of training samples, as a state that can be saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from hypnet_core.errors import CheckpointError
from hypnet_core.protocols import BatchLike, SplitLike


class Passes:
    """Shuffled passes over the training samples of a task, without end.

    Unlike `hypnet_core.tasks.Stream`, this takes any split: to go on in the middle of a
    pass, it begins the pass again and skips the batches that were seen. Whole passes
    let splits that read files do so ahead, in worker processes.

    Args:
        split: The samples.
        batch_size: Samples per batch.
        seed: Seed of all randomness, order and augmentation.
        device: Device of the batches.
        drop_last: Whether to leave out the last, smaller batch of a pass.
    """

    def __init__(
        self,
        split: SplitLike,
        batch_size: int,
        *,
        seed: int,
        device: torch.device,
        drop_last: bool = False,
    ) -> None:
        self.split = split
        self.batch_size = batch_size
        self.device = device
        self.drop_last = drop_last
        self.generator = torch.Generator().manual_seed(seed)
        self.epoch = 0
        """Number of the present pass, from 0."""
        self.position = 0
        """Batches of the present pass so far."""
        self._start = self.generator.get_state()
        self._batches: Iterator[BatchLike] | None = None

    @property
    def per_pass(self) -> int:
        """Batches in one pass."""
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole + bool(rest and not self.drop_last)

    @property
    def begins_pass(self) -> bool:
        """Whether the next batch is the first of a pass."""
        return self.position == 0

    @property
    def ended_pass(self) -> bool:
        """Whether the last batch ended a pass."""
        return self.position == 0 and self.epoch > 0

    def __next__(self) -> BatchLike:
        if self._batches is None:
            self._begin()
        batch = next(self._batches)  # type: ignore[arg-type]
        self.position += 1
        if self.position == self.per_pass:
            self.epoch, self.position, self._batches = self.epoch + 1, 0, None
        return batch

    def _begin(self) -> None:
        self._start = self.generator.get_state()
        self._batches = self.split.batches(
            self.batch_size,
            shuffle=True,
            generator=self.generator,
            device=self.device,
            drop_last=self.drop_last,
        )

    def state_dict(self) -> dict[str, Any]:
        """The position, and the generator's state at the start of the pass."""
        begun = self._batches is not None
        return {
            "size": len(self.split),
            "batch_size": self.batch_size,
            "epoch": self.epoch,
            "position": self.position,
            "generator": self._start if begun else self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where a state was saved.

        Raises:
            CheckpointError: It belongs to other samples or batches.
        """
        for name, here in (("size", len(self.split)), ("batch_size", self.batch_size)):
            if state[name] != here:
                raise CheckpointError(
                    f"the training samples were saved with {name} {state[name]}, but here it is"
                    f" {here}"
                )
        self.generator.set_state(state["generator"].cpu())
        self.epoch, self.position, self._batches = state["epoch"], 0, None
        for _ in range(state["position"]):
            next(self)
