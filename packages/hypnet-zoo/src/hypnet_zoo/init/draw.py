"""Weights as a conventional initialisation of the main network draws them."""

from __future__ import annotations

import torch
from torch import Tensor

from hypnet_core.networks import Weights
from hypnet_core.specs import TargetSpec
from hypnet_zoo.init.effects import effective_in_draws, refuse_without_effect
from hypnet_zoo.init.moments import scalar_moments, wanted_moments
from hypnet_zoo.init.options import Init, init_from


def drawn_weights(target: TargetSpec, init: Init | None = None) -> Weights:
    """One normal draw with the mean and variance that each tensor should start with.

    Args:
        target: The tensors.
        init: The rules; the defaults of `Init` if not given.

    Raises:
        SpecError: An option of `init` has no effect on a draw, or an override matches
            nothing.

    Example:
        >>> draw = drawn_weights(TargetSpec.from_shapes([[50, 200], [50]]))
        >>> round(draw["0"].square().mean().item(), 2), draw["1"].abs().max().item()
        (0.01, 0.0)
    """
    rules = init_from(init)
    refuse_without_effect(rules, effective_in_draws(rules), "drawn_weights")
    means, variances = scalar_moments(target, wanted_moments(target, rules))
    return Weights(torch.normal(means, variances.sqrt()), target)


def draw_signs(count: int) -> Tensor:
    """Signs, +1 or -1 with equal probability: `[count]`, float32."""
    return torch.randint(0, 2, (count,)).mul_(2).sub_(1).float()
