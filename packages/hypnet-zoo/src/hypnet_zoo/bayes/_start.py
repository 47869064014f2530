"""Where chains start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError, SamplingError
from hypnet_core.networks import Weights
from hypnet_core.protocols import LogDensity
from hypnet_core.specs import TargetSpec

Start: TypeAlias = Weights | TargetSpec | Mapping[str, Tensor | float]

_TRIALS = 100


def start_of(
    start: Start, chains: int, log_density: LogDensity, generator: torch.Generator
) -> Weights:
    """Parameters of batch shape `[chains]`.

    Raises:
        ConfigError: They are not of this shape.
        SamplingError: No random start has a finite density.
    """
    if isinstance(start, TargetSpec):
        return _anywhere(start, chains, log_density, generator)
    if not isinstance(start, Weights):
        given: object = start
        if not (isinstance(given, Mapping) and given):
            raise ConfigError(
                "start: weights, a mapping of names to tensors, or a TargetSpec is expected, got"
                f" {type(start).__name__}"
            )
        tensors = {name: torch.as_tensor(value) for name, value in start.items()}
        dtype = torch.promote_types(torch.get_default_dtype(), next(iter(tensors.values())).dtype)
        spec = TargetSpec.from_shapes([t.shape for t in tensors.values()], names=list(tensors))
        start = Weights.of(spec, {name: tensor.to(dtype) for name, tensor in tensors.items()})
    shape = tuple(start.batch_shape)
    if shape not in {(), (chains,)}:
        raise ConfigError(
            f"start: one set of parameters or {chains}, one per chain, got the batch shape"
            f" {list(shape)}"
        )
    return Weights(start.flat.detach().expand(chains, -1).clone(), start.spec)


def _anywhere(
    spec: TargetSpec, chains: int, log_density: LogDensity, generator: torch.Generator
) -> Weights:
    """Uniform between -2 and 2, each chain until its density is finite."""
    position = torch.zeros(
        (chains, spec.numel), dtype=torch.get_default_dtype(), device=generator.device
    )
    missing = torch.ones(chains, dtype=torch.bool, device=generator.device)
    for _ in range(_TRIALS):
        trial = torch.rand(
            position.shape, generator=generator, dtype=position.dtype, device=position.device
        )
        position = torch.where(missing[:, None], 4.0 * trial - 2.0, position)
        with torch.no_grad():
            value = log_density(Weights(position, spec))
        if tuple(getattr(value, "shape", ())) != (chains,):
            break  # the sampler says what is wrong
        missing = missing & ~torch.isfinite(value)
        if not missing.any():
            break
    else:
        raise SamplingError(
            f"no finite start: the log density of {int(missing.sum())} of {chains} chains was not"
            f" finite at any of {_TRIALS} places between -2 and 2; pass start= with parameters"
            " inside the support"
        )
    return Weights(position, spec)
