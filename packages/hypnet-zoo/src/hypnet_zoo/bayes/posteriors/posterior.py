"""Distributions over the weights of a network."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hypnet_core.networks import Weights
from hypnet_core.specs import TargetSpec


@runtime_checkable
class Posterior(Protocol):
    """A distribution over weights, from which draws can be taken.

    Draws carry gradients to what the distribution was made from. Leading dimensions,
    such as one for each task, are those of `mean`.
    """

    @property
    def spec(self) -> TargetSpec:
        """Names and shapes of the weights."""

    @property
    def mean(self) -> Weights:
        """The mean, `[*batch]` sets of weights."""

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Weights:
        """Independent draws, `[count, *batch]` sets of weights.

        Args:
            count: Number of draws.
            generator: Source of randomness, on the CPU or the device of the weights;
                torch's global one by default.
        """


@runtime_checkable
class HasDensity(Protocol):
    """A distribution over weights whose density is known."""

    def log_prob(self, weights: Weights) -> Tensor:
        """The logarithm of the density.

        Args:
            weights: `[*draws, *batch]` sets of weights.

        Returns:
            `[*draws, *batch]`.
        """


def standard_normal(
    shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Noise on the device and in the precision of a tensor."""
    device = like.device if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=device, dtype=like.dtype).to(like.device)
