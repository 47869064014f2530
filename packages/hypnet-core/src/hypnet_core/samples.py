"""The contracts of tasks and of their samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hypnet_core.specs import TaskSpec


class BatchLike(Protocol):
    """Samples of one batch. `hypnet_core.tasks.Batch` is the implementation."""

    @property
    def x(self) -> Tensor:
        """Inputs `[B, *in_shape]`, or `[B, T, *in_shape]` for sequences."""

    @property
    def y(self) -> Tensor:
        """Targets, one per sample."""

    @property
    def ids(self) -> Tensor:
        """Ids `[B]` (int64) of the samples."""

    @property
    def lengths(self) -> Tensor | None:
        """Number of frames `[B]` of each sequence; `None` for other samples."""

    def __len__(self) -> int:
        """Number of samples."""


@runtime_checkable
class SplitLike(Protocol):
    """The samples of one split: a map-style dataset that also gives whole batches.

    `hypnet_core.tasks.Split` is one. For a resumable stream of batches, a split also
    needs `hypnet_core.tasks.Batchable`.
    """

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Input and target of one sample."""

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        drop_last: bool = False,
    ) -> Iterator[BatchLike]:
        """One pass over the samples, in batches."""

    @property
    def ids(self) -> Tensor:
        """Ids `[n]` (int64): unique within the dataset, the same in every split."""


@runtime_checkable
class TaskLike(Protocol):
    """One learning problem."""

    @property
    def spec(self) -> TaskSpec:
        """Kind of the problem, and shapes of inputs and targets."""

    @property
    def train(self) -> SplitLike:
        """The training samples."""

    @property
    def test(self) -> SplitLike:
        """The test samples."""

    @property
    def val(self) -> SplitLike | None:
        """The validation samples, if there are any."""
