"""The frame of samplers that make do with estimates of the gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import LogDensity, SamplerState, StepInfo, WeightsLike
from hypnet_zoo.bayes._target import Target


class Stochastic:
    """A sampler that takes each step along a gradient, estimated or exact.

    Subclasses implement `_moved`. The gradient at the new position is that of new
    samples, and belongs to the next step.

    Args:
        log_density: The log density, or an estimate of it, batched over chains.
        step_size: Step size.
    """

    def __init__(self, log_density: LogDensity, step_size: float) -> None:
        self.density = Target(log_density, noisy=True)
        if not (math.isfinite(step_size) and step_size > 0.0):
            raise ConfigError(f"step_size must be positive and finite, got {step_size}")
        self.step_size = step_size

    @torch.no_grad()
    def init(self, start: WeightsLike) -> SamplerState:
        """The state of chains that start here."""
        chains = self.density.start(start, gradient=True)
        return SamplerState(start.spec, {**chains, **self._beside(chains)}, {"count": 0})

    @torch.no_grad()
    def step(
        self, state: SamplerState, generator: torch.Generator
    ) -> tuple[SamplerState, StepInfo]:
        """Advance all chains by one draw."""
        count = state.shared["count"]
        moved = self._moved(state.chains, count, generator)
        self.density.resample(generator)
        value, gradient = self.density.value_and_gradient(moved["position"], state.spec)
        chains = {**moved, "log_density": value, "gradient": gradient}
        none = torch.zeros_like(value, dtype=torch.int64)
        info = StepInfo(
            ~none.bool(), torch.ones_like(value), -value, none, ~torch.isfinite(value), none + 1
        )
        return SamplerState(state.spec, chains, {"count": count + 1}), info

    def _beside(self, chains: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Further tensors of the chains, such as velocities."""
        del chains
        return {}

    def _moved(
        self, chains: Mapping[str, Tensor], count: int, generator: torch.Generator
    ) -> dict[str, Any]:
        """The new position, and further tensors.

        Args:
            chains: The tensors of the chains.
            count: Steps so far.
            generator: The source of randomness.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement _moved()")
