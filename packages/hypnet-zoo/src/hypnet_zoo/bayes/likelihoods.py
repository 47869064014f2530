"""Likelihoods: how outputs of a network explain targets."""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from hypnet_core.errors import ConfigError, DataError
from hypnet_core.specs import ParamKind, ParamSpec

LOG_NOISE = "log_noise"
"""Name of the parameter that holds the logarithm of learned noise."""


class Likelihood(Protocol):
    """The distribution of targets, given the outputs of a network."""

    @property
    def params(self) -> tuple[ParamSpec, ...]:
        """Parameters of its own, which are sampled with those of the network."""

    def each(self, outputs: Tensor, y: Tensor, own: Tensor) -> Tensor:
        """Log probabilities `[*batch, N]` of targets.

        Args:
            outputs: Outputs of the network `[*batch, N, *out_shape]`.
            y: Targets, `N` of them.
            own: Its own parameters `[*batch, n]`.
        """

    def log_prior(self, own: Tensor) -> Tensor:
        """Log prior `[*batch]` of its own parameters `[*batch, n]`."""

    def sample(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draws of its own parameters from their prior, in the shape of a tensor."""


class Regression:
    r"""Targets are outputs with Gaussian noise: $y \sim N(f(x, \omega), \sigma^2)$.

    Learned noise is the parameter `log_noise`, $\log \sigma$, with a Gaussian prior.

    Args:
        noise: Standard deviation $\sigma$; `None` to learn it.
        expected: Median of learned noise under its prior.
        spread: Standard deviation of its logarithm under the prior.

    Raises:
        ConfigError: A number is not positive.

    Example:
        >>> outputs, y = torch.tensor([[[1.0]]]), torch.tensor([[1.1]])
        >>> nothing = torch.zeros(1, 0)
        >>> round(Regression(0.1).each(outputs, y, nothing).item(), 4)  # N(.1; 0, .1)
        0.8836
    """

    def __init__(
        self, noise: float | None = 0.1, *, expected: float = 0.1, spread: float = 1.0
    ) -> None:
        for name, value in (("noise", noise), ("expected", expected), ("spread", spread)):
            if value is not None and not (math.isfinite(value) and value > 0.0):
                raise ConfigError(f"{name} must be positive and finite, got {value}")
        self.noise = noise
        self.expected = expected
        self.spread = spread

    @property
    def params(self) -> tuple[ParamSpec, ...]:
        """`log_noise`, if it is learned."""
        if self.noise is not None:
            return ()
        return (ParamSpec(name=LOG_NOISE, shape=(), kind=ParamKind.OTHER),)

    def each(self, outputs: Tensor, y: Tensor, own: Tensor) -> Tensor:
        """Log densities `[*batch, N]` of targets, summed over their components."""
        if outputs.shape[-y.ndim :] != y.shape:
            raise DataError(
                f"outputs {list(outputs.shape)} are expected to end with the shape of the targets"
                f" {list(y.shape)}"
            )
        count = y[0].numel()
        away = (outputs - y).flatten(start_dim=outputs.ndim - y.ndim + 1)
        squares = away.square().sum(dim=-1) if count > 1 else away.square().squeeze(-1)
        constant = -0.5 * count * math.log(2.0 * math.pi)
        if self.noise is not None:
            scale = 0.5 / self.noise**2
            return constant - count * math.log(self.noise) - scale * squares
        log_noise = own[..., :1]
        return constant - count * log_noise - 0.5 * squares * torch.exp(-2.0 * log_noise)

    def std(self, own: Tensor) -> Tensor:
        """Standard deviations of the noise, `[*batch, 1]`."""
        if self.noise is not None:
            return own.new_full((*own.shape[:-1], 1), self.noise)
        return own[..., :1].exp()

    def log_prior(self, own: Tensor) -> Tensor:
        """Log prior `[*batch]` of `log_noise`."""
        if self.noise is not None:
            return own.new_zeros(own.shape[:-1])
        scaled = (own[..., 0] - math.log(self.expected)) / self.spread
        return -0.5 * scaled.square() - math.log(self.spread) - 0.5 * math.log(2.0 * math.pi)

    def sample(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draws of `log_noise` from its prior."""
        found = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
        return math.log(self.expected) + self.spread * found


class Classification:
    """Labels have the probabilities that the softmax of the outputs gives."""

    params: tuple[ParamSpec, ...] = ()

    def each(self, outputs: Tensor, y: Tensor, own: Tensor) -> Tensor:
        """Log probabilities `[*batch, N]` of labels, or of rows of probabilities."""
        del own
        batch = outputs.shape[: outputs.ndim - 2]
        flat = outputs.reshape(-1, outputs.shape[-1])
        repeated = y.expand(*batch, *y.shape).reshape(-1, *y.shape[1:])
        return -F.cross_entropy(flat, repeated, reduction="none").reshape(*batch, len(y))

    def log_prior(self, own: Tensor) -> Tensor:
        """It has no parameters: zeros `[*batch]`."""
        return own.new_zeros(own.shape[:-1])

    def sample(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """It has no parameters."""
        del generator
        return torch.zeros_like(like)
