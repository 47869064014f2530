"""How far distributions over weights are from each other."""

from __future__ import annotations

import math

from torch import Tensor

from hypnet_core.errors import SpecError
from hypnet_core.networks import Weights
from hypnet_zoo.bayes.posteriors.gaussian import Dirac, Gaussian, Radial
from hypnet_zoo.bayes.posteriors.posterior import HasDensity, Posterior

_LOG_TAU = math.log(2.0 * math.pi)


def kl(q: Posterior, p: Posterior | HasDensity, *, draws: Weights | None = None) -> Tensor:
    r"""The divergence $KL(q \,\|\, p)$.

    In closed form from a `Gaussian` or `Radial` to a `Gaussian`; to anything else with
    a density, the entropy of $q$ in closed form and the rest as the mean over draws. A
    `Dirac` has no entropy: what remains is $-\log p$ at its point.

    Args:
        q: The one that draws come from.
        p: The other one, such as a prior.
        draws: Draws of `q`, `[count, *batch]`, with gradients; 1 by default. Not
            looked at where there is a closed form.

    Returns:
        `[*batch]`, the leading dimensions of `q`.

    Raises:
        SpecError: The entropy of `q`, or the density of `p`, is unknown.
    """
    if not isinstance(q, (Gaussian, Dirac)):
        raise SpecError(
            f"the entropy of {type(q).__name__} is unknown: estimate it (Discriminator, ssge)"
        )
    entropy = q.entropy() if isinstance(q, Gaussian) else 0.0
    return -entropy - _expected_log_prob(q, p, draws)


def _expected_log_prob(
    q: Gaussian | Dirac, p: Posterior | HasDensity, draws: Weights | None
) -> Tensor:
    """The mean of the logarithm of `p` under `q`."""
    if isinstance(q, Dirac) and isinstance(p, HasDensity):
        return p.log_prob(q.mean)
    if isinstance(p, Gaussian) and not isinstance(p, Radial) and isinstance(q, Gaussian):
        squares = (q.mean.flat - p.mean.flat).square() + q.second_moments()
        each = squares / p.scale.square() + 2.0 * p.scale.log() + _LOG_TAU
        return -0.5 * each.sum(dim=-1)
    if isinstance(p, HasDensity):
        drawn = q.sample(1) if draws is None else draws
        return p.log_prob(drawn).mean(dim=0)
    raise SpecError(f"{type(p).__name__} has no density")


def wasserstein(q: Gaussian | Dirac, p: Gaussian | Dirac) -> Tensor:
    r"""The squared 2-Wasserstein distance of Gaussians, `[*batch]`.

    $$ \lVert \mu_q - \mu_p \rVert^2 + \lVert \sigma_q - \sigma_p \rVert^2 $$

    References:
        C. R. Givens, R. M. Shortt: A class of Wasserstein metrics for probability
        distributions. Michigan Math. J. 31 (1984), proposition 7.
    """
    distance = between_means(q, p)
    if isinstance(q, Gaussian) and isinstance(p, Gaussian):
        distance = distance + (q.scale - p.scale).square().sum(dim=-1)
    return distance


def between_means(q: Posterior, p: Posterior) -> Tensor:
    r"""The squared distance of means, $\lVert \mu_q - \mu_p \rVert^2$, `[*batch]`."""
    return (q.mean.flat - p.mean.flat).square().sum(dim=-1)
