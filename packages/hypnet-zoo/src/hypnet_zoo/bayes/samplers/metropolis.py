"""Random-walk Metropolis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

import torch
from torch import Tensor

from hypnet_core.protocols import LogDensity, SamplerState, StepInfo
from hypnet_zoo.bayes._metric import Steps
from hypnet_zoo.bayes.samplers._adaptive import (
    AdaptationOptions,
    Adaptive,
    Tuning,
    chosen,
    normal,
    uniform,
)
from hypnet_zoo.bayes.samplers._hamiltonian import sizes_of


class Metropolis(Adaptive):
    r"""Random-walk Metropolis, which needs no gradients.

    A step $q' = q + \epsilon L z$ with $z \sim N(0, I)$ is accepted with probability
    $\min(1, p(q') / p(q))$. $\epsilon$ is the step size, and $L L^T$ the inverse mass:
    with `inv_mass=1` the step size is the standard deviation of a step.

    Args:
        log_density: The log density, batched over chains.
        target: Mean acceptance that the warm-up adapts the step size to; 0.234 is best
            for many parameters, 0.44 for one.
        **options: See `AdaptationOptions`.

    Raises:
        ConfigError: An option is impossible.
        SamplingError: The log density is an estimate from batches of the data.

    References:
        N. Metropolis et al.: Equation of state calculations by fast computing machines.
        1953. G. O. Roberts, A. Gelman, W. R. Gilks: Weak convergence and optimal
        scaling of random walk Metropolis algorithms. 1997.
    """

    def __init__(
        self,
        log_density: LogDensity,
        *,
        target: float = 0.234,
        **options: Unpack[AdaptationOptions],
    ) -> None:
        super().__init__(log_density, gradient=False, target=target, options=options)

    def _trial(self, state: SamplerState, tuning: Tuning, generator: torch.Generator) -> Tensor:
        return self._proposed(state, tuning, generator)[2]

    def _proposed(
        self, state: SamplerState, tuning: Tuning, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A step of each chain: position, log density and acceptance."""
        steps = Steps(tuning.lower, sizes_of(tuning, state.position))
        position = steps.drift(state.position, normal(state.position, generator))
        value = self.density.value(position, state.spec)
        change = (value - state.chains["log_density"]).nan_to_num(-torch.inf)
        return position, value, change.exp().clamp(max=1.0)

    def _move(
        self, state: SamplerState, tuning: Tuning, generator: torch.Generator
    ) -> tuple[Mapping[str, Tensor], StepInfo]:
        position, value, acceptance = self._proposed(state, tuning, generator)
        accepted = uniform(acceptance, generator) < acceptance
        chains = chosen(accepted, {"position": position, "log_density": value}, state.chains)
        none = torch.zeros_like(accepted, dtype=torch.int64)
        energy = -chains["log_density"]
        return chains, StepInfo(accepted, acceptance, energy, none, none.bool(), none)
