"""Stochastic gradient Langevin dynamics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import LogDensity
from hypnet_zoo.bayes.samplers._adaptive import normal
from hypnet_zoo.bayes.samplers._stochastic import Stochastic


class SGLD(Stochastic):
    r"""Langevin dynamics with gradients from batches of the data.

    $$ \theta \leftarrow \theta + \tfrac{\epsilon_t}{2} \nabla \log p(\theta)
       + \sqrt{T \epsilon_t}\, z, \qquad z \sim N(0, I), \qquad
       \epsilon_t = \epsilon\, (1 + t / t_0)^{-\gamma} $$

    Nothing is rejected, so draws are right only in the limit of small steps: of a
    Gaussian with precision $\lambda$ the variance is $1 / (1 - \epsilon \lambda / 4)$
    times too large, with exact gradients.

    Args:
        log_density: The log density, or an estimate of it, batched over chains.
        step_size: Step size $\epsilon$, in units of squared parameters.
        decay: Power $\gamma$ of the decay; 0 for none, 0.33 falls fast enough.
        decay_from: Steps $t_0$ after which the decay begins.
        temperature: Temperature $T$; below 1 for draws closer to the mode.

    Raises:
        ConfigError: An option is impossible.

    References:
        M. Welling, Y. W. Teh: Bayesian learning via stochastic gradient Langevin
        dynamics. ICML 2011.
    """

    def __init__(
        self,
        log_density: LogDensity,
        *,
        step_size: float = 1e-4,
        decay: float = 0.0,
        decay_from: float = 1000.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(log_density, step_size)
        if not 0.0 <= decay <= 1.0:
            raise ConfigError(f"decay: a power between 0 and 1 is expected, got {decay}")
        if decay_from <= 0.0:
            raise ConfigError(f"decay_from must be positive, got {decay_from}")
        if temperature < 0.0:
            raise ConfigError(f"temperature must not be negative, got {temperature}")
        self.decay = decay
        self.decay_from = decay_from
        self.temperature = temperature

    def _moved(
        self, chains: Mapping[str, Tensor], count: int, generator: torch.Generator
    ) -> dict[str, Any]:
        size = self.step_size * (1.0 + count / self.decay_from) ** -self.decay
        position = torch.add(chains["position"], chains["gradient"], alpha=0.5 * size)
        noise = normal(position, generator)
        return {"position": position.add_(noise, alpha=(self.temperature * size) ** 0.5)}
