"""Stochastic gradient Hamiltonian Monte Carlo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import LogDensity
from hypnet_zoo.bayes.samplers._adaptive import normal
from hypnet_zoo.bayes.samplers._stochastic import Stochastic


class SGHMC(Stochastic):
    r"""Hamiltonian dynamics with friction, and gradients from batches of the data.

    $$ v \leftarrow (1 - \alpha)\, v + \eta\, \nabla \log p(\theta)
       + \sqrt{2 (\alpha - \hat\beta)\, T \eta}\, z, \qquad
       \theta \leftarrow \theta + v, \qquad z \sim N(0, I) $$

    It is gradient ascent with momentum and the noise that makes it sample. Nothing is
    rejected, so draws are right only in the limit of small steps.

    Args:
        log_density: The log density, or an estimate of it, batched over chains.
        step_size: Learning rate $\eta$, in units of squared parameters.
        friction: Friction $\alpha$; the momentum of an optimiser is $1 - \alpha$.
        noise: Noise of the gradients $\hat\beta$, which need not be added.
        temperature: Temperature $T$; below 1 for draws closer to the mode.

    Raises:
        ConfigError: An option is impossible.

    References:
        T. Chen, E. B. Fox, C. Guestrin: Stochastic gradient Hamiltonian Monte Carlo.
        ICML 2014, equation 15.
    """

    def __init__(
        self,
        log_density: LogDensity,
        *,
        step_size: float = 1e-4,
        friction: float = 0.1,
        noise: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(log_density, step_size)
        if not 0.0 < friction <= 1.0:
            raise ConfigError(f"friction: a share between 0 and 1 is expected, got {friction}")
        if not 0.0 <= noise <= friction:
            raise ConfigError(f"noise: 0 to friction={friction} is expected, got {noise}")
        if temperature < 0.0:
            raise ConfigError(f"temperature must not be negative, got {temperature}")
        self.friction = friction
        self.noise = noise
        self.temperature = temperature

    def _beside(self, chains: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"velocity": torch.zeros_like(chains["position"])}

    def _moved(
        self, chains: Mapping[str, Tensor], count: int, generator: torch.Generator
    ) -> dict[str, Any]:
        del count  # the step size stays
        spread = (2.0 * (self.friction - self.noise) * self.temperature * self.step_size) ** 0.5
        velocity = (1.0 - self.friction) * chains["velocity"]
        velocity.add_(chains["gradient"], alpha=self.step_size)
        velocity.add_(normal(velocity, generator), alpha=spread)
        return {"position": chains["position"] + velocity, "velocity": velocity}
