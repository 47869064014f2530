"""The frame of samplers that tune a step size and a mass while they warm up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypedDict, cast

import torch
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema
from torch import Tensor

from hypnet_core.errors import ConfigError, SamplingError
from hypnet_core.plugins import with_defaults
from hypnet_core.protocols import LogDensity, SamplerState, StepInfo, WeightsLike
from hypnet_zoo.bayes._adaptation import (
    DualAveraging,
    Mass,
    inverse_mass_of,
    no_moments,
    window,
    with_positions,
)
from hypnet_zoo.bayes._metric import factor, inverse_mass
from hypnet_zoo.bayes._target import Target


class AdaptationOptions(TypedDict, total=False):
    """Options of samplers that adapt."""

    step_size: Annotated[
        float | None,
        Field(
            default=None,
            description="Step size; with a warm-up, where its adaptation starts. By default one is"
            " found by doubling and halving.",
        ),
    ]
    adapt_step_size: Annotated[
        bool, Field(default=True, description="Whether the warm-up adapts the step size.")
    ]
    inv_mass: Annotated[
        float | tuple[float, ...] | tuple[tuple[float, ...], ...] | SkipJsonSchema[Tensor],
        Field(
            default=1.0,
            description="Inverse mass, ideally the covariance of the parameters: a number, one per"
            " parameter, or a matrix; with a warm-up, where its adaptation starts.",
        ),
    ]
    mass: Annotated[
        Mass,
        Field(
            default="diagonal",
            description="The mass that the warm-up adapts: one number per parameter, a `dense`"
            " matrix, or none (`fixed`).",
        ),
    ]


@dataclass(frozen=True)
class Tuning:
    """Step size and mass of a step.

    Attributes:
        step_size: The step size.
        lower: The factor of the inverse mass.
    """

    step_size: float
    lower: Tensor


class Adaptive:
    """A sampler with a step size and a mass.

    All chains share both: their acceptances are averaged, and their positions pooled,
    so that with many chains short warm-ups are enough.

    Subclasses implement `_move`, one draw of all chains with some tuning, and `_trial`,
    the acceptance of a single cheap step, from which the first step size is found.

    Args:
        log_density: The log density, batched over chains.
        gradient: Whether gradients are needed.
        target: Mean acceptance to adapt to.
        options: See `AdaptationOptions`.
    """

    def __init__(
        self,
        log_density: LogDensity,
        *,
        gradient: bool,
        target: float,
        options: AdaptationOptions,
    ) -> None:
        chosen = with_defaults(AdaptationOptions, options)
        self.density = Target(log_density)
        self._gradient = gradient
        if not 0.0 < target < 1.0:
            raise ConfigError(f"target: an acceptance between 0 and 1 is expected, got {target}")
        self.target = target
        self.step_size: float | None = chosen["step_size"]
        if self.step_size is not None and not (
            math.isfinite(self.step_size) and self.step_size > 0.0
        ):
            raise ConfigError(f"step_size must be positive and finite, got {self.step_size}")
        self._adapts_size: bool = chosen["adapt_step_size"]
        self._given_mass = chosen["inv_mass"]
        self._mass: Mass = chosen["mass"]

    @torch.no_grad()
    def init(self, start: WeightsLike) -> SamplerState:
        """The state of chains that start here."""
        chains = self.density.start(start, gradient=self._gradient)
        mass = inverse_mass(self._given_mass, chains["position"])
        if self._mass == "diagonal" and mass.ndim == 2:
            raise ConfigError("inv_mass is a matrix: choose mass=dense, or mass=fixed to keep it")
        shared = {"step_size": self.step_size, "inv_mass": mass, "factor": factor(mass)}
        return SamplerState(start.spec, chains, shared)

    @torch.no_grad()
    def step(
        self, state: SamplerState, generator: torch.Generator
    ) -> tuple[SamplerState, StepInfo]:
        """Advance all chains by one draw."""
        state = self._sized(state, generator)
        chains, info = self._move(state, _tuning(state), generator)
        return replace(state, chains=chains), info

    @torch.no_grad()
    def warm_up(
        self, state: SamplerState, generator: torch.Generator, *, step: int, steps: int
    ) -> tuple[SamplerState, StepInfo]:
        """Advance all chains by one draw, and adapt step size and mass."""
        state = self._sized(state, generator)
        shared = dict(state.shared)
        if step == 0:
            shared["averaging"] = tuple(DualAveraging.around(shared["step_size"]))
            shared["moments"] = no_moments(state.position, self._mass)
        chains, info = self._move(state, _tuning(state), generator)
        averaging = DualAveraging(*shared["averaging"])
        if self._adapts_size:
            acceptance = float(info.acceptance.mean())
            averaging, shared["step_size"] = averaging.update(acceptance, self.target)
        counts, ends = window(step, steps)
        if counts and self._mass != "fixed":
            shared["moments"] = with_positions(shared["moments"], chains["position"])
        state = replace(state, chains=chains)
        if ends and self._mass != "fixed":
            self._renew_mass(shared)
            if self._adapts_size:
                found = self._reasonable(replace(state, shared=shared), generator)
                shared["step_size"] = found
                averaging = DualAveraging.around(found)
        shared["averaging"] = tuple(averaging)
        if step == steps - 1:
            if self._adapts_size and averaging.updates:
                shared["step_size"] = math.exp(averaging.average)
            del shared["averaging"], shared["moments"]
        return replace(state, shared=shared), info

    def _renew_mass(self, shared: dict[str, Any]) -> None:
        """Take the mass from the window that ends, and begin the next one."""
        mass = inverse_mass_of(shared["moments"])
        try:
            lower = factor(mass)
        except ConfigError:
            raise SamplingError(
                "the covariance of the chains is not finite or not positive definite: shorten the"
                " step (step_size), start closer to the bulk, or use mass=diagonal"
            ) from None
        shared.update(inv_mass=mass, factor=lower)
        shared["moments"] = {
            name: torch.zeros_like(value) if isinstance(value, Tensor) else 0
            for name, value in shared["moments"].items()
        }

    def _sized(self, state: SamplerState, generator: torch.Generator) -> SamplerState:
        """A state with a step size."""
        if state.shared["step_size"] is not None:
            return state
        found = self._reasonable(
            replace(state, shared={**state.shared, "step_size": 1.0}), generator
        )
        return replace(state, shared={**state.shared, "step_size": found})

    def _reasonable(self, state: SamplerState, generator: torch.Generator) -> float:
        """A step size of which a single step has the wanted acceptance, roughly."""
        tuning = _tuning(state)
        size, grows = tuning.step_size, None
        for _ in range(100):
            found = self._trial(state, Tuning(size, tuning.lower), generator).nan_to_num_(0.0)
            enough = float(found.mean()) > self.target
            if grows is None:
                grows = enough
            elif enough != grows:
                return size
            size *= 2.0 if grows else 0.5
        raise SamplingError(
            "no step size was found: the log density "
            + ("hardly changes over any distance" if grows else "changes however short the step")
        )

    def _move(
        self, state: SamplerState, tuning: Tuning, generator: torch.Generator
    ) -> tuple[Mapping[str, Tensor], StepInfo]:
        """One draw of all chains: their tensors, and what happened."""
        raise NotImplementedError(f"{type(self).__name__} must implement _move()")

    def _trial(self, state: SamplerState, tuning: Tuning, generator: torch.Generator) -> Tensor:
        """The acceptance `[chains]` of a single step."""
        raise NotImplementedError(f"{type(self).__name__} must implement _trial()")


def _tuning(state: SamplerState) -> Tuning:
    return Tuning(cast("float", state.shared["step_size"]), state.shared["factor"])


def normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers of the shape, dtype and device of a tensor."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform numbers in [0, 1) of the shape, dtype and device of a tensor."""
    return torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def chosen(condition: Tensor, new: Mapping[str, Tensor], old: Mapping[str, Tensor]) -> Any:
    """Each chain's tensors: the new ones where a condition `[chains]` holds."""
    return {
        name: torch.where(condition[:, None] if tensor.ndim > 1 else condition, tensor, old[name])
        for name, tensor in new.items()
    }
