"""Ratios of densities from samples, by a classifier that tells them apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnet_core.networks import Weights
from hypnet_zoo.bayes.posteriors.gaussian import Gaussian
from hypnet_zoo.bayes.posteriors.posterior import HasDensity
from hypnet_zoo.mainnets import MLP

_LEAST = 1e-4
"""Least scale of a Gaussian around draws."""


class Discriminator(nn.Module):
    r"""Estimates $KL(q \,\|\, p)$ for an implicit $q$ (adversarial variational Bayes).

    A Gaussian $r$ with the moments of $q$ stands between the two (adaptive contrast),

    $$ KL(q \,\|\, p) = \mathbb{E}_q [\log q / r] + \mathbb{E}_q [\log r / p] $$

    and a classifier $D$ of draws from $q$ and $r$ gives the first ratio: at its optimum
    $D = \log q / r$, which is near zero where $q$ is nearly a Gaussian.

    Args:
        size: Number of weights.
        hidden: Widths of the hidden layers.
        mean_statistics: Show the mean of a batch beside each draw, so that a lack of
            variety can be seen.

    References:
        L. Mescheder, S. Nowozin, A. Geiger: Adversarial variational Bayes. ICML 2017,
        arXiv:1701.04722, sections 3.1 and 3.3.
    """

    def __init__(
        self, size: int, hidden: Sequence[int] = (50, 50), *, mean_statistics: bool = False
    ) -> None:
        super().__init__()
        self.mean_statistics = mean_statistics
        inputs = size * (2 if mean_statistics else 1)
        self.network = MLP((inputs,), 1, hidden=tuple(hidden), activation="elu")

    def forward(self, draws: Tensor) -> Tensor:
        """Logits `[M]` of coming from $q$, for standardised draws `[M, n]`."""
        x = draws
        if self.mean_statistics:
            x = torch.cat([x, x.mean(dim=0, keepdim=True).expand_as(x)], dim=1)
        logits: Tensor = self.network(x)
        return logits.squeeze(-1)

    def loss(self, draws: Tensor) -> Tensor:
        """The classifier's own loss: draws of $q$ against as many of $r$.

        Args:
            draws: `[M, n]`; their gradient is not needed.
        """
        around = _around(draws)
        own = self(around.standardised(draws.detach()))
        other = self(torch.randn_like(draws))
        return F.softplus(-own).mean() + F.softplus(other).mean()

    def kl(self, draws: Weights, prior: HasDensity) -> Tensor:
        """The divergence from a prior, a scalar whose gradient reaches the draws.

        Args:
            draws: `[M]` draws of $q$.
            prior: $p$.
        """
        around = _around(draws.flat)
        ratio = self(around.standardised(draws.flat))
        contrast = Gaussian(Weights(around.mean, draws.spec), around.scale)
        found: Tensor = ratio + contrast.log_prob(draws) - prior.log_prob(draws)
        return found.mean()


class _Around:
    """Mean and scale of draws, without gradient."""

    def __init__(self, draws: Tensor) -> None:
        found = draws.detach()
        self.mean = found.mean(dim=0)
        self.scale = found.std(dim=0).clamp(min=_LEAST)

    def standardised(self, draws: Tensor) -> Tensor:
        return (draws - self.mean) / self.scale


def _around(draws: Tensor) -> _Around:
    return _Around(draws)
