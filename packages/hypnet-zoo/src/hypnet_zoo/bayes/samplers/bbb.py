"""Bayes by Backprop: independent Gaussians, fitted to a density."""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import LogDensity, SamplerState
from hypnet_core.specs import TargetSpec
from hypnet_zoo.bayes.samplers._adaptive import normal
from hypnet_zoo.bayes.samplers._variational import Variational


class BBB(Variational):
    r"""Bayes by Backprop: draws from independent Gaussians that were fitted.

    The warm-up maximises the evidence lower bound $E_q[\log p(w)] + H(q)$ over means
    and scales. The draws are independent, and exact draws of an approximation:
    correlations are lost, and spreads are too small where there are any.

    Args:
        log_density: The log density, or an estimate of it, batched over chains.
        lr: Learning rate of Adam, which falls to zero during the warm-up.
        fit_draws: Draws for each step of the fit.
        start_scale: Scales at the start, in units of the parameters.

    Raises:
        ConfigError: An option is impossible.

    References:
        C. Blundell et al.: Weight uncertainty in neural networks. ICML 2015,
        arXiv:1505.05424.
    """

    def __init__(
        self,
        log_density: LogDensity,
        *,
        lr: float = 0.02,
        fit_draws: PositiveInt = 8,
        start_scale: float = 0.05,
    ) -> None:
        super().__init__(log_density, lr=lr, fit_draws=fit_draws)
        if start_scale <= 0.0:
            raise ConfigError(f"start_scale must be positive, got {start_scale}")
        self.start_scale = start_scale

    def _first(
        self, position: Tensor, spec: TargetSpec, generator: torch.Generator
    ) -> dict[str, Tensor]:
        del spec, generator
        # One of the starts: their mean would have no signal in a network.
        mean = position[0].clone()
        return {"mean": mean, "log_scale": torch.full_like(mean, self.start_scale).log()}

    def _draw(self, state: SamplerState, count: int, generator: torch.Generator) -> Tensor:
        fitted = state.shared["fitted"]
        noise = normal(fitted["mean"].expand(count, -1), generator)
        draws: Tensor = fitted["mean"] + fitted["log_scale"].exp() * noise
        return draws

    def _gradients(
        self, state: SamplerState, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        del progress
        fitted = state.shared["fitted"]
        scale = fitted["log_scale"].exp()
        noise = normal(fitted["mean"].expand(self.fit_draws, -1), generator)
        position = fitted["mean"] + scale * noise
        _, slopes = self.density.value_and_gradient(position, state.spec)
        # The entropy of a Gaussian grows by 1 for each unit of log scale.
        return {"mean": slopes.mean(dim=0), "log_scale": (slopes * noise).mean(dim=0) * scale + 1.0}
