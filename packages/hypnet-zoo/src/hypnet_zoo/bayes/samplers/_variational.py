"""The frame of samplers that fit a distribution, and then draw from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import LogDensity, SamplerState, StepInfo, WeightsLike
from hypnet_core.specs import TargetSpec
from hypnet_zoo.bayes._target import Target
from hypnet_zoo.bayes.samplers._ascent import ascend


class Variational:
    """A sampler that fits a distribution while it warms up; its draws are independent.

    Subclasses keep the parameters of the distribution in tensors by name. The warm-up
    is the fit, by Adam with a learning rate that falls to zero.

    Args:
        log_density: The log density, or an estimate of it, batched over chains.
        lr: Learning rate at the start.
        fit_draws: Draws for each step of the fit.

    Raises:
        ConfigError: An option is impossible.
    """

    def __init__(self, log_density: LogDensity, *, lr: float, fit_draws: int) -> None:
        self.density = Target(log_density, noisy=True)
        if not (math.isfinite(lr) and lr > 0.0):
            raise ConfigError(f"lr must be positive and finite, got {lr}")
        self.lr = lr
        self.fit_draws = fit_draws

    @torch.no_grad()
    def init(self, start: WeightsLike) -> SamplerState:
        """The state of chains that start here."""
        chains = self.density.start(start, gradient=True)
        del chains["gradient"]
        return SamplerState(start.spec, chains, {"fitted": {}, "moments": {}, "count": 0})

    @torch.no_grad()
    def step(
        self, state: SamplerState, generator: torch.Generator
    ) -> tuple[SamplerState, StepInfo]:
        """One draw for each chain from the distribution as it is."""
        state = self._begun(state, generator)
        position = self._draw(state, len(state.position), generator)
        value = self.density.value(position, state.spec)
        chains = {"position": position, "log_density": value}
        return SamplerState(state.spec, chains, state.shared), _info(value, gradients=0)

    def warm_up(
        self, state: SamplerState, generator: torch.Generator, *, step: int, steps: int
    ) -> tuple[SamplerState, StepInfo]:
        """One step of the fit."""
        state = self._begun(state, generator)
        self.density.resample(generator)
        progress = step / max(steps, 1)
        gradients = self._gradients(state, generator, progress)
        count = state.shared["count"] + 1
        fitted, moments = _moved(
            state.shared["fitted"],
            gradients,
            state.shared["moments"],
            count,
            0.5 * self.lr * (1.0 + math.cos(math.pi * progress)),
        )
        shared = {"fitted": fitted, "moments": moments, "count": count}
        # Draws of the warm-up are not kept, so one evaluation is enough.
        found = SamplerState(state.spec, state.chains, shared)
        with torch.no_grad():
            position = self._draw(found, len(state.position), generator)
            value = self.density.value(position, state.spec)
        chains = {"position": position, "log_density": value}
        return SamplerState(state.spec, chains, shared), _info(value, gradients=self.fit_draws)

    def _begun(self, state: SamplerState, generator: torch.Generator) -> SamplerState:
        """A state with parameters of the distribution."""
        if state.shared["fitted"]:
            return state
        fitted = self._first(state.position, state.spec, generator)
        moments = {
            name: (torch.zeros_like(tensor), torch.zeros_like(tensor))
            for name, tensor in fitted.items()
        }
        shared = {"fitted": fitted, "moments": moments, "count": 0}
        return SamplerState(state.spec, state.chains, shared)

    def _first(
        self, position: Tensor, spec: TargetSpec, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The parameters of the distribution at the start, by name."""
        raise NotImplementedError(f"{type(self).__name__} must implement _first()")

    def _draw(self, state: SamplerState, count: int, generator: torch.Generator) -> Tensor:
        """Draws `[count, numel]`."""
        raise NotImplementedError(f"{type(self).__name__} must implement _draw()")

    def _gradients(
        self, state: SamplerState, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        """Gradients along which the fit improves, by name.

        Args:
            state: The state.
            generator: The source of randomness.
            progress: Share of the warm-up that is done.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement _gradients()")


def _moved(
    fitted: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor],
    moments: Mapping[str, Any],
    count: int,
    lr: float,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Parameters and moments after a step of Adam, upwards."""
    names = list(fitted)
    new = {name: fitted[name].detach().clone() for name in names}
    first = {name: moments[name][0].clone() for name in names}
    second = {name: moments[name][1].clone() for name in names}
    ascend(
        list(new.values()),
        [gradients[name] for name in names],
        (list(first.values()), list(second.values())),
        steps=count - 1,
        lr=lr,
    )
    return new, {name: (first[name], second[name]) for name in names}


def _info(value: Tensor, *, gradients: int) -> StepInfo:
    none = torch.zeros_like(value, dtype=torch.int64)
    return StepInfo(
        ~none.bool(),
        torch.ones_like(value),
        -value,
        none,
        ~torch.isfinite(value),
        none + gradients // max(len(value), 1),
    )
