"""Hamiltonian Monte Carlo with a given number of steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import LogDensity, SamplerState, StepInfo
from hypnet_zoo.bayes._metric import Steps
from hypnet_zoo.bayes.samplers._adaptive import (
    AdaptationOptions,
    Tuning,
    chosen,
    normal,
    uniform,
)
from hypnet_zoo.bayes.samplers._hamiltonian import Hamiltonian, joint, sizes_of


class HMC(Hamiltonian):
    r"""Hamiltonian Monte Carlo.

    Each draw follows the dynamics of a fresh momentum for $L$ leapfrog steps, and is
    accepted with probability $\min(1, \exp(H - H'))$. All chains share step size, mass
    and number of steps, and advance in one batch: one gradient call per leapfrog step.

    Args:
        log_density: The log density, batched over chains.
        num_steps: Leapfrog steps per draw, $L$.
        jitter: How far the step size of each draw may lie from the adapted or given
            one, relative; without it, chains of a periodic motion return to where they
            were.
        target: Mean acceptance that the warm-up adapts the step size to.
        delta_max: A draw whose energy is off by more than this counts as divergent.
        **options: See `AdaptationOptions`.

    Raises:
        ConfigError: An option is impossible.
        SamplingError: The log density is an estimate from batches of the data.

    References:
        R. M. Neal: MCMC using Hamiltonian dynamics. Handbook of Markov Chain Monte
        Carlo, 2011, figure 2. arXiv:1206.1901.
    """

    def __init__(
        self,
        log_density: LogDensity,
        *,
        num_steps: int = 10,
        jitter: float = 0.2,
        target: float = 0.8,
        delta_max: float = 1000.0,
        **options: Unpack[AdaptationOptions],
    ) -> None:
        super().__init__(log_density, gradient=True, target=target, options=options)
        if num_steps < 1:
            raise ConfigError(f"num_steps must be at least 1, got {num_steps}")
        if not 0.0 <= jitter < 1.0:
            raise ConfigError(f"jitter: a share between 0 and 1 is expected, got {jitter}")
        self.num_steps = num_steps
        self.jitter = jitter
        self.delta_max = delta_max

    def _move(
        self, state: SamplerState, tuning: Tuning, generator: torch.Generator
    ) -> tuple[Mapping[str, Tensor], StepInfo]:
        old, spec = state.chains, state.spec
        position, gradient = old["position"], old["gradient"]
        sizes = sizes_of(tuning, position)
        if self.jitter:
            sizes = sizes * (1.0 + self.jitter * (2.0 * uniform(sizes, generator) - 1.0))
        steps = Steps(tuning.lower, sizes)
        momentum = normal(position, generator)
        before = joint(old["log_density"], momentum)
        value = old["log_density"]
        momentum = steps.kick(momentum, gradient)
        for number in range(self.num_steps):
            position = steps.drift(position, momentum)
            value, gradient = self.density.value_and_gradient(position, spec)
            # Two half steps of the momentum between two steps of the position.
            kick = steps.kick if number == self.num_steps - 1 else steps.kick_twice
            momentum = kick(momentum, gradient)
        change = (joint(value, momentum) - before).nan_to_num_(-torch.inf)
        acceptance = change.exp().clamp(max=1.0)
        accepted = uniform(acceptance, generator) < acceptance
        new = {"position": position, "log_density": value, "gradient": gradient}
        count = torch.full_like(accepted, self.num_steps, dtype=torch.int64)
        info = StepInfo(
            accepted,
            acceptance,
            torch.where(accepted, -(before + change), -before),
            torch.zeros_like(count),
            change < -self.delta_max,
            count,
        )
        return chosen(accepted, new, old), info
