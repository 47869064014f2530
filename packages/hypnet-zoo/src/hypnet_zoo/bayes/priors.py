"""Priors of parameters, per kind of parameter."""

from __future__ import annotations

import math
from typing import Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveFloat
from torch import Tensor

from hypnet_core.specs import ParamKind, ParamSpec, TargetSpec


class Density(Protocol):
    """A distribution over the flat parameters of one target."""

    def log_prob(self, flat: Tensor) -> Tensor:
        """Log densities `[*batch]` of parameters `[*batch, numel]`."""

    def sample(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draws of the shape `[*batch, numel]`, dtype and device of a tensor."""


class PriorLike(Protocol):
    """A prior, before it is known of which parameters."""

    def on(self, spec: TargetSpec) -> Density:
        """The distribution over the parameters of a target."""


class Prior(BaseModel):
    r"""Independent Gaussians or Laplace distributions.

    Attributes:
        family: `gaussian` with standard deviation $s$, or `laplace` with
            $p(x) = e^{-|x - m| / s} / 2s$.
        scale: Scale $s$.
        mean: Centre $m$.
        by_fan_in: Whether scales of weights are divided by the root of their fan-in, so
            that wide layers have outputs of the same size.
        kinds: Other priors for some kinds of parameters, such as `bias` or
            `norm_scale`.

    Example:
        >>> prior = Prior(scale=2.0, kinds={"bias": Prior(family="laplace")})
        >>> spec = TargetSpec.from_shapes([[1, 1], [1]], names=["weight", "bias"])
        >>> round(prior.on(spec).log_prob(torch.tensor([2.0, 1.0])).item(), 4)
        -3.8052
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    family: Literal["gaussian", "laplace"] = Field(
        "gaussian", description="Gaussian or Laplace distributions."
    )
    scale: PositiveFloat = Field(
        1.0, description="Standard deviation of a Gaussian, or scale of a Laplace distribution."
    )
    mean: FiniteFloat = Field(0.0, description="Centre.")
    by_fan_in: bool = Field(
        False, description="Whether scales of weights are divided by the root of their fan-in."
    )
    kinds: dict[ParamKind, Prior] = Field(
        {}, description="Other priors for some kinds of parameters, such as `bias`."
    )

    def on(self, spec: TargetSpec) -> Independent:
        """The distribution over the parameters of a target."""
        each = [(param, self.kinds.get(param.kind, self)) for param in spec]
        return Independent(
            torch.cat([torch.full((p.numel,), own.mean) for p, own in each] or [torch.zeros(0)]),
            torch.cat(
                [torch.full((p.numel,), own.scale_of(p)) for p, own in each] or [torch.zeros(0)]
            ),
            torch.cat(
                [torch.full((p.numel,), own.family == "laplace") for p, own in each]
                or [torch.zeros(0, dtype=torch.bool)]
            ),
        )

    def scale_of(self, param: ParamSpec) -> float:
        """The scale of one parameter."""
        if self.by_fan_in and param.kind is ParamKind.WEIGHT and param.fan_in:
            return self.scale / math.sqrt(param.fan_in)
        return self.scale


class Independent:
    """Gaussians and Laplace distributions of flat parameters.

    Args:
        mean: Centres `[numel]`.
        scale: Scales `[numel]`.
        laplace: Which of them are Laplace distributions (bool `[numel]`).
    """

    def __init__(self, mean: Tensor, scale: Tensor, laplace: Tensor) -> None:
        self.mean = mean.double()
        self.scale = scale.double()
        self.laplace = laplace
        self._mixed = bool(laplace.any()) and not bool(laplace.all())
        self._centred = not bool(mean.any())
        logs = self.scale.log() + torch.where(laplace, math.log(2.0), 0.5 * math.log(2.0 * math.pi))
        self._constant = -float(logs.sum())
        # For each dtype and device, since it is asked at every step of a sampler.
        self._moved: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor, Tensor]] = {}

    def log_prob(self, flat: Tensor) -> Tensor:
        """Log densities `[*batch]` of parameters `[*batch, numel]`."""
        mean, inverse, laplace = self._on(flat)
        scaled = (flat if self._centred else flat - mean) * inverse
        if self._mixed:
            terms = torch.where(laplace, -scaled.abs(), -0.5 * scaled.square())
            return terms.sum(dim=-1) + self._constant
        if len(laplace) and bool(self.laplace[0]):
            return self._constant - scaled.abs().sum(dim=-1)
        return self._constant - 0.5 * scaled.square().sum(dim=-1)

    def sample(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draws of the shape `[*batch, numel]`, dtype and device of a tensor."""
        mean, inverse, laplace = self._on(like)
        found = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
        if bool(self.laplace.any()):
            sign = found.sign()
            luck = torch.empty_like(found).exponential_(generator=generator)
            found = torch.where(laplace, sign * luck, found)
        return mean + found / inverse

    def _on(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        key = like.dtype, like.device
        if key not in self._moved:
            self._moved[key] = (
                self.mean.to(like),
                (1.0 / self.scale).to(like),
                self.laplace.to(like.device),
            )
        return self._moved[key]
