"""Log densities of the user, checked once and then evaluated fast."""

from __future__ import annotations

import torch
from torch import Tensor

from hypnet_core.errors import SamplingError, listed
from hypnet_core.networks import Weights
from hypnet_core.protocols import LogDensity, NoisyLogDensity, WeightsLike
from hypnet_core.specs import TargetSpec

_REMEDY = (
    "sum over all dimensions but the first, or pass torch.vmap(f) if f takes the parameters of one"
    " chain"
)

_ELSEWHERE = (0.0, 1.0, -1.0, 10.0, -10.0, 1000.0, -1000.0)
"""Values to try in place of those with which a density is not finite."""


class Target:
    """A log density of flat positions.

    Args:
        log_density: The user's function.
        noisy: Whether an estimate from some of the data will do.

    Raises:
        SamplingError: It cannot be called, or is an estimate where that is wrong.
    """

    def __init__(self, log_density: LogDensity, *, noisy: bool = False) -> None:
        if not callable(log_density):
            raise SamplingError(
                f"a log density is a function of named parameters, got a"
                f" {type(log_density).__name__}"
            )
        if isinstance(log_density, NoisyLogDensity) and not noisy:
            raise SamplingError(
                "this log density is estimated from batches of the data, which this sampler cannot"
                " correct for: use all data (batch_size=None), or the sampler sgld or sghmc"
            )
        self.log_density = log_density
        self._ones: Tensor | None = None  # made once: a gradient is a matter of microseconds

    def resample(self, generator: torch.Generator) -> None:
        """Draw other samples for a density that is estimated from some."""
        if isinstance(self.log_density, NoisyLogDensity):
            self.log_density.resample(generator)

    def value(self, position: Tensor, spec: TargetSpec) -> Tensor:
        """Log densities `[chains]` of positions `[chains, numel]`."""
        with torch.no_grad():
            return self.log_density(Weights(position, spec))

    def value_and_gradient(self, position: Tensor, spec: TargetSpec) -> tuple[Tensor, Tensor]:
        """Log densities `[chains]` and their gradients `[chains, numel]`.

        Gradients that are not finite become 0, so that no position ever is NaN; the
        value tells that it was outside.
        """
        with torch.enable_grad():
            leaf = position.detach().requires_grad_()
            value = self.log_density(Weights(leaf, spec))
        # Each value depends on its own chain alone, so one pass differentiates all.
        if self._ones is None or self._ones.shape != value.shape:
            self._ones = torch.ones_like(value)
        (gradient,) = torch.autograd.grad(value, leaf, self._ones)
        return value.detach(), gradient.nan_to_num_(0.0, 0.0, 0.0)

    def start(self, start: WeightsLike, *, gradient: bool) -> dict[str, Tensor]:
        """Check the log density at the start, and evaluate it there.

        Args:
            start: Parameters of batch shape `[chains]`.
            gradient: Whether gradients are needed.

        Returns:
            `position`, `log_density` and, if needed, `gradient`.

        Raises:
            SamplingError: It cannot be sampled.
        """
        position = _checked(start)
        with torch.enable_grad():
            leaf = position.detach().requires_grad_()
            value = self.log_density(Weights(leaf, start.spec))
            _check_value(value, len(position))
            found = value.detach().clone()
            if not gradient:
                slopes = None
            elif not value.requires_grad:
                raise SamplingError(
                    "the log density has no gradient: compute it from the parameters with torch, or"
                    " use the sampler metropolis, which needs none"
                )
            else:
                (slopes,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
        if slopes is None and gradient:
            raise SamplingError("the log density does not depend on the parameters")
        self._check_finite(found, slopes, position, start.spec)
        chains = {"position": position, "log_density": found}
        return chains if slopes is None else {**chains, "gradient": slopes}

    def _check_finite(
        self, value: Tensor, gradient: Tensor | None, position: Tensor, spec: TargetSpec
    ) -> None:
        outside = ~torch.isfinite(value)
        if outside.any():
            chain = int(outside.nonzero()[0])
            names = [] if gradient is None else _not_finite(gradient[chain], spec)
            names = names or self._culprits(position[chain], spec)
            because = f", because of {listed(map(repr, names), limit=4)}" if names else ""
            raise SamplingError(
                f"the log density at the start of chain {chain} is {float(value[chain])}{because}:"
                f" {int(outside.sum())} of {len(value)} chains have no finite start"
            )
        if gradient is not None and not torch.isfinite(gradient).all():
            chain = int((~torch.isfinite(gradient)).any(dim=1).nonzero()[0])
            names = _not_finite(gradient[chain], spec)
            raise SamplingError(
                f"the gradient of the log density at the start of chain {chain} is not finite in"
                f" {listed(map(repr, names), limit=4)}"
            )

    def _culprits(self, position: Tensor, spec: TargetSpec) -> list[str]:
        """The parameters that need other values for the density to be finite."""
        found = []
        for name in spec.names:
            part = spec.slice_of(name)
            trial = position.repeat(len(_ELSEWHERE), 1)
            trial[:, part] = position.new_tensor(_ELSEWHERE)[:, None]
            value = self.value(trial, spec)
            if torch.isfinite(value).any():
                found.append(name)
        return found


def _checked(start: WeightsLike) -> Tensor:
    position = start.flat.detach()
    if len(start.batch_shape) != 1 or not len(position):
        raise SamplingError(
            f"chains start at weights of batch shape [chains], got {list(start.batch_shape)}"
        )
    if not position.is_floating_point():
        raise SamplingError(f"parameters are real numbers, got {position.dtype}")
    if not start.spec.numel:
        raise SamplingError("there are no parameters to sample")
    bad = ~torch.isfinite(position)
    if bad.any():
        chain = int(bad.any(dim=1).nonzero()[0])
        names = _not_finite(position[chain], start.spec)
        raise SamplingError(
            f"the start of chain {chain} is not finite in {listed(map(repr, names), limit=4)}"
        )
    return position.clone()


def _check_value(value: object, chains: int) -> None:
    if not isinstance(value, Tensor):
        raise SamplingError(
            f"the log density must be a tensor [{chains}], one value per chain, got a"
            f" {type(value).__name__}"
        )
    if tuple(value.shape) != (chains,):
        raise SamplingError(
            f"the log density of {chains} chains must have the shape [{chains}], got"
            f" {list(value.shape)}: {_REMEDY}"
        )


def _not_finite(row: Tensor, spec: TargetSpec) -> list[str]:
    """Names of the parameters of one chain that are NaN or infinite."""
    return [name for name in spec.names if not torch.isfinite(row[spec.slice_of(name)]).all()]
