"""Weights as a network of one's own would start with."""

from __future__ import annotations

import torch

from hypnet_core.networks import Weights
from hypnet_core.specs import TargetSpec
from hypnet_zoo.init.moments import Fan, Scheme, scalars_of, wanted_starts


def drawn_weights(target: TargetSpec, *, fan: Fan = "in", scheme: Scheme = "kaiming") -> Weights:
    """One normal draw with the mean and variance that each tensor should start with.

    Args:
        target: The tensors.
        fan: See `hypnet_zoo.init.moments.wanted_starts`, likewise `scheme`.
        scheme: As above.

    Example:
        >>> draw = drawn_weights(TargetSpec.from_shapes([[50, 200], [50]]))
        >>> round(draw["0"].square().mean().item(), 2), draw["1"].abs().max().item()
        (0.01, 0.0)
    """
    means, variances = scalars_of(target, wanted_starts(target, fan=fan, scheme=scheme))
    return Weights(torch.normal(means, variances.sqrt()), target)
