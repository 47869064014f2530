"""The magnitude invariant parametrisation of hypernetworks."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Tensor, nn

from hypnet_core.errors import SpecError
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets._shared.inner import apply_outer_init, build_inner, refuse_two_inits
from hypnet_zoo.hypernets.delta import Delta, DeltaOptions
from hypnet_zoo.hypernets.encoded import Encoded
from hypnet_zoo.init.draw import drawn_weights
from hypnet_zoo.init.effects import effective_in_draws, of_draws
from hypnet_zoo.init.options import chosen_options


class CosineSine(nn.Module):
    r"""Encodes each number as a point on the unit circle.

    The length of an encoding is then the same for all inputs:

    $$ E(\gamma) = \bigl[\cos \tfrac{\pi}{2} \gamma,\;
    \sin \tfrac{\pi}{2} \gamma\bigr], \qquad
    \lVert E(\gamma) \rVert^2 = d \quad \text{for } \gamma \in [0, 1]^d $$

    The output of a hypernetwork that reads $\gamma$ itself scales with
    $\lVert\gamma\rVert$, which makes training slow and unstable.

    Args:
        low: Smallest value of the inputs, encoded like $\gamma = 0$.
        high: Largest value, encoded like $\gamma = 1$.

    Raises:
        SpecError: The interval is empty.

    References:
        J. J. G. Ortiz, J. Guttag, A. Dalca: Magnitude invariant parametrizations
        improve hypernetwork learning. ICLR 2024, arXiv:2304.07645, equation 4.

    Example:
        >>> CosineSine()(torch.tensor([0.0, 1.0])).round(decimals=4).abs()
        tensor([1., 0., 0., 1.])
    """

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        if not -math.inf < low < high < math.inf:
            raise SpecError(f"low must be below high, both finite, got {low} and {high}")
        self.low, self.high = low, high

    def forward(self, inputs: Tensor) -> Tensor:
        """Encode `[*, d]` as `[*, 2 d]`: all cosines, then all sines."""
        # [low, high] becomes a quarter of the circle.
        angles = (inputs - self.low) * (torch.pi / (2 * (self.high - self.low)))
        return torch.cat([angles.cos(), angles.sin()], dim=-1)


def magnitude_invariant(
    target: TargetSpec,
    conditions: ConditionSpec,
    *,
    low: float = 0.0,
    high: float = 1.0,
    zero: bool = True,
    **options: Unpack[DeltaOptions],
) -> Delta:
    r"""A hypernetwork whose output does not grow with its input.

    It generates $\omega = \omega_0 + h(E(\gamma))$: `CosineSine` encodes the condition
    $\gamma$, and $\omega_0$ is trained, shared by all conditions and starts at a
    conventional draw. `Encoded` and `Delta` provide both parts separately.

    Args:
        target: The parameters to generate.
        conditions: Number of learned inputs and size $d$ of an input; usually no ids,
            and inputs from the caller.
        low: Smallest value of the inputs.
        high: Largest value of the inputs.
        zero: Start the differences at zero, so that every condition starts at the
            conventional draw exactly.
        **options: See `DeltaOptions`; `init` starts the shared weights, the inputs
            that are kept for ids, and the inner hypernetwork, unless that has an
            `inner.init` and `init` is not set.

    Raises:
        SpecError: The conditions have no size, an option of `init` has no effect, or
            both `init` and `inner.init` are set.

    References:
        J. J. G. Ortiz, J. Guttag, A. Dalca: Magnitude invariant parametrizations
        improve hypernetwork learning. ICLR 2024, arXiv:2304.07645.
    """
    if not conditions.size:
        raise SpecError("there is nothing to encode: the conditions have size 0")
    chosen = chosen_options(DeltaOptions, options)
    init = chosen["init"]
    refuse_two_inits(chosen["inner"], init)
    # The ids belong to the encoder's inputs, so the inner hypernetwork keeps none.
    # Cosines and sines: twice the length.
    encoded = ConditionSpec(count=0, size=2 * conditions.size, input_size=conditions.input_size)
    inner = build_inner(chosen["inner"], target, encoded)
    hypernet = Encoded(inner, CosineSine(low, high), conditions)
    apply_outer_init(hypernet, init, "magnitude_invariant", effective_in_draws(init))
    return Delta(hypernet, drawn_weights(target, of_draws(init)), trainable=True, zero=zero)
