"""The frame of samplers that follow Hamiltonian dynamics."""

from __future__ import annotations

import torch
from torch import Tensor

from hypnet_core.protocols import SamplerState
from hypnet_zoo.bayes._metric import Steps
from hypnet_zoo.bayes.samplers._adaptive import Adaptive, Tuning, normal


class Hamiltonian(Adaptive):
    """A sampler whose single step is a leapfrog step with a fresh momentum."""

    def _trial(self, state: SamplerState, tuning: Tuning, generator: torch.Generator) -> Tensor:
        chains = state.chains
        momentum = normal(state.position, generator)
        steps = Steps(tuning.lower, sizes_of(tuning, state.position))
        energy = joint(chains["log_density"], momentum)
        momentum = steps.kick(momentum, chains["gradient"])
        position = steps.drift(state.position, momentum)
        value, gradient = self.density.value_and_gradient(position, state.spec)
        momentum = steps.kick(momentum, gradient)
        return (joint(value, momentum) - energy).exp().clamp(max=1.0)


def joint(log_density: Tensor, momentum: Tensor) -> Tensor:
    """The negative energy `[chains]` of positions and white momenta."""
    return torch.sub(log_density, (momentum * momentum).sum(dim=-1), alpha=0.5)


def sizes_of(tuning: Tuning, position: Tensor) -> Tensor:
    """The step size of each chain, `[chains, 1]`."""
    return position.new_full((len(position), 1), tuning.step_size)
