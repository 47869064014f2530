"""The contract of generated weights, on which other contracts build."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hypnet_core.specs import TargetSpec


class WeightsLike(Protocol):
    """Generated weights: named tensors over one flat tensor.

    `hypnet_core.Weights` is the implementation.
    """

    @property
    def flat(self) -> Tensor:
        """All weights, `[*batch, numel]`."""

    @property
    def spec(self) -> TargetSpec:
        """Names and shapes."""

    @property
    def batch_shape(self) -> torch.Size:
        """The leading dimensions; empty for one set of weights."""

    @property
    def conditions(self) -> tuple[int, ...] | None:
        """The id of each set's condition; `None` if unknown."""

    def __getitem__(self, name: str, /) -> Tensor:
        """One tensor, `[*batch, *shape]`."""

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of the spec."""
