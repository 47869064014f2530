"""Distributions over weights around a mean: a point, a Gaussian, a radial one."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from hypnet_core.errors import WeightsError
from hypnet_core.networks import Weights
from hypnet_core.specs import TargetSpec
from hypnet_zoo.bayes.posteriors.posterior import standard_normal

_LOG_TAU = math.log(2.0 * math.pi)
_LOG_OF_NORMAL = -0.5 * (0.5772156649015329 + math.log(2.0))
"""The mean of log |z| for standard normal z."""


class Dirac:
    """All weight at one point: what a network without uncertainty has.

    Args:
        mean: The point, `[*batch]` sets of weights.
    """

    def __init__(self, mean: Weights) -> None:
        self.mean = mean

    @property
    def spec(self) -> TargetSpec:
        """Names and shapes of the weights."""
        return self.mean.spec

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Weights:
        """The point, `count` times."""
        del generator
        flat = self.mean.flat
        return Weights(flat.expand(count, *flat.shape), self.spec)


class Gaussian:
    r"""Independent Gaussians, $w_i \sim \mathcal{N}(\mu_i, \sigma_i^2)$.

    Args:
        mean: $\mu$, `[*batch]` sets of weights.
        scale: $\sigma$, flat `[*batch, numel]` or what broadcasts to it; positive.

    Raises:
        WeightsError: The scale has another shape.

    Example:
        >>> spec = TargetSpec.from_shapes([[2, 3]], names=["weight"])
        >>> q = Gaussian(Weights(torch.zeros(6), spec), torch.full((6,), 0.1))
        >>> q.sample(5)["weight"].shape
        torch.Size([5, 2, 3])
    """

    def __init__(self, mean: Weights, scale: Tensor) -> None:
        try:
            self.scale = scale.expand_as(mean.flat)
        except RuntimeError:
            raise WeightsError(
                f"the scale has shape {list(scale.shape)}, which does not fit means of"
                f" {list(mean.flat.shape)}"
            ) from None
        self.mean = mean

    @property
    def spec(self) -> TargetSpec:
        """Names and shapes of the weights."""
        return self.mean.spec

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Weights:
        """Draws, with gradients to mean and scale."""
        flat = self.mean.flat
        return self.at(standard_normal((count, *flat.shape), flat, generator))

    def at(self, noise: Tensor) -> Weights:
        """The weights of standard normal noise `[*draws, *batch, numel]`."""
        return Weights(self.mean.flat + self.scale * noise, self.spec)

    def log_prob(self, weights: Weights) -> Tensor:
        """The logarithm of the density, `[*draws, *batch]`."""
        z = (weights.flat - self.mean.flat) / self.scale
        return -0.5 * (z.square() + _LOG_TAU).sum(dim=-1) - self.scale.log().sum(dim=-1)

    def entropy(self) -> Tensor:
        """The differential entropy, `[*batch]`."""
        size = self.spec.numel
        return self.scale.log().sum(dim=-1) + 0.5 * size * (1.0 + _LOG_TAU)

    def second_moments(self) -> Tensor:
        r"""The variance of each weight, flat: $\sigma^2$."""
        return self.scale.square()


class Radial(Gaussian):
    r"""A distribution whose draws stay near the mean in many dimensions.

    $$ w = \mu + \sigma \odot \frac{\epsilon}{\lVert \epsilon \rVert} \lvert r \rvert,
    \qquad \epsilon \sim \mathcal{N}(0, I), \; r \sim \mathcal{N}(0, 1) $$

    with one $r$ and one direction for each layer. A Gaussian of many dimensions has
    nearly all its mass on a shell, far from the mean; here the distance does not grow
    with the number of weights.

    Args:
        mean: $\mu$, `[*batch]` sets of weights.
        scale: $\sigma$, see `Gaussian`.

    References:
        S. Farquhar, M. A. Osborne, Y. Gal: Radial Bayesian neural networks. AISTATS
        2020, arXiv:1907.00865.
    """

    def at(self, noise: Tensor) -> Weights:
        """The weights that belong to noise; the distance is drawn anew."""
        return self._at(noise, self._radii(noise, None))

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Weights:
        """Draws, with gradients to mean and scale."""
        flat = self.mean.flat
        noise = standard_normal((count, *flat.shape), flat, generator)
        return self._at(noise, self._radii(noise, generator))

    def _radii(self, noise: Tensor, generator: torch.Generator | None) -> Tensor:
        return standard_normal((*noise.shape[:-1], len(self._sizes)), noise, generator)

    def _at(self, noise: Tensor, radii: Tensor) -> Weights:
        length = self._sums(noise.square()).sqrt()
        factor = (radii.abs() / length)[..., self._layers]
        return Weights(self.mean.flat + self.scale * noise * factor, self.spec)

    def log_prob(self, weights: Weights) -> Tensor:
        """The logarithm of the density, `[*draws, *batch]`."""
        z = (weights.flat - self.mean.flat) / self.scale
        squares = self._sums(z.square())
        # Half-normal distance, uniform direction on the sphere of that radius.
        along = math.log(2.0) - 0.5 * (_LOG_TAU + squares)
        around = 0.5 * (self._sizes - 1.0) * squares.log() + self._log_spheres
        return (along - around).sum(dim=-1) - self.scale.log().sum(dim=-1)

    def entropy(self) -> Tensor:
        """The differential entropy, `[*batch]`."""
        # The mean of r² is 1, that of log r is known.
        along = math.log(2.0) - 0.5 * (_LOG_TAU + 1.0)
        around = (self._sizes - 1.0) * _LOG_OF_NORMAL + self._log_spheres
        return self.scale.log().sum(dim=-1) - (along - around).sum()

    def second_moments(self) -> Tensor:
        r"""The variance of each weight, flat: $\sigma^2$ over the size of its layer."""
        return self.scale.square() / self._sizes[self._layers]

    @cached_property
    def _layers(self) -> Tensor:
        """The number of its layer for each weight, `[numel]`."""
        numbers: dict[str, int] = {}
        parts = [
            torch.full((param.numel,), numbers.setdefault(param.layer or param.name, len(numbers)))
            for param in self.spec.params
        ]
        return torch.cat(parts).to(self.scale.device)

    @cached_property
    def _sizes(self) -> Tensor:
        """The number of weights of each layer, `[layers]`."""
        return self._layers.bincount().to(self.scale)

    @cached_property
    def _log_spheres(self) -> Tensor:
        """The logarithm of the area of the unit sphere in each layer's dimensions."""
        half = 0.5 * self._sizes
        return math.log(2.0) + half * math.log(math.pi) - torch.lgamma(half)

    def _sums(self, values: Tensor) -> Tensor:
        """Sums over the weights of each layer, `[*, layers]`."""
        zeros = values.new_zeros((*values.shape[:-1], len(self._sizes)))
        return zeros.index_add(-1, self._layers, values)
