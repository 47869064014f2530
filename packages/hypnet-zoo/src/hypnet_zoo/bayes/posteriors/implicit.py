"""Distributions over weights that a network makes from noise."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from hypnet_core.networks import Weights
from hypnet_core.specs import TargetSpec
from hypnet_zoo.bayes.posteriors.posterior import standard_normal

_DRAWS = 256


class Implicit:
    r"""Weights that a function makes from noise, $w = g(z) + \sigma_0 \epsilon$.

    Its density is unknown, so that it may have any shape: several modes, correlations.
    The noise $\epsilon$ spreads it over all of the space.

    Args:
        make: $g$, from noise `[n, latent]` to flat weights `[n, numel]`.
        spec: Names and shapes of the weights.
        latent: Dimensions of $z$.
        latent_std: Standard deviation of $z$.
        noise: $\sigma_0$, a number or flat `[numel]`.
        like: A tensor of the device and precision of the weights.
    """

    def __init__(
        self,
        make: Callable[[Tensor], Tensor],
        spec: TargetSpec,
        latent: int,
        *,
        latent_std: float = 1.0,
        noise: Tensor | float = 0.0,
        like: Tensor,
    ) -> None:
        self.make = make
        self.spec = spec
        self.latent = latent
        self.latent_std = latent_std
        self.noise = noise
        self._like = like

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Weights:
        """Draws, with gradients to what makes them."""
        z = self.latent_std * standard_normal((count, self.latent), self._like, generator)
        flat = self.make(z)
        if isinstance(self.noise, Tensor) or self.noise:
            flat = flat + self.noise * standard_normal(tuple(flat.shape), flat, generator)
        return Weights(flat, self.spec)

    @cached_property
    def mean(self) -> Weights:
        """The mean of 256 draws from a generator of its own."""
        generator = torch.Generator().manual_seed(0)
        return Weights(self.sample(_DRAWS, generator=generator).flat.mean(dim=0), self.spec)
