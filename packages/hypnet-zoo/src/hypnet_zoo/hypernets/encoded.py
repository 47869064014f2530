"""Hypernetworks whose condition is computed from something else: a batch of data, a text embedding, a position on a curve."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hypnet_core.errors import ConditionError, SpecError
from hypnet_core.networks import HyperNetwork, Weights
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets._inner import HypernetChoice, build_inner
from hypnet_zoo.hypernets.delta import Delta
from hypnet_zoo.hypernets.wrapper import check_hypernetwork
from hypnet_zoo.init.draw import drawn_weights

__all__ = ["CosineSine", "Encoded", "magnitude_invariant"]


class Encoded(HyperNetwork):
    r"""Generates weights for $\omega = h(E(x), \theta)$ with an encoder $E$ before the hypernetwork.

    The encoder is a module of the user's own. What is passed as `cond_input` goes to it
    as it is, and its output is the embedding that the inner hypernetwork gets. Ids are
    possible too, if `conditions` are given: then what belongs to a condition is the
    encoder's input, learned.

    Args:
        inner: The hypernetwork. It keeps no conditions itself (`count=0`); its
            embedding size is the size of the encoder's output.
        encoder: Maps `cond_input` to an embedding `[size]`, or to a batch of them `[B,
            size]`.
        conditions: How many ids there are, and how long the encoder's input is; none by
            default.

    Raises:
        SpecError: The inner hypernetwork keeps conditions, or takes an unconditional
            input of another size.

    Example:
        >>> from hypnet_zoo.hypernets.hmlp import HMLP
        >>> class MeanOfSet(nn.Module):
        ...     def forward(self, samples):  # [n, 5], a batch of data, to one embedding
        ...         return samples.mean(dim=0)
        >>> target = TargetSpec.from_shapes([[10, 5], [10]])
        >>> hnet = Encoded(HMLP(target, ConditionSpec(count=0, size=5)), MeanOfSet())
        >>> hnet(cond_input=torch.randn(32, 5)).batch_shape
        torch.Size([])
    """

    def __init__(
        self, inner: HyperNetwork, encoder: nn.Module, conditions: ConditionSpec | None = None
    ) -> None:
        check_hypernetwork(inner, "inner")
        outer = (
            ConditionSpec(count=0, size=0, input_size=inner.conditions.input_size)
            if conditions is None
            else conditions
        )
        if inner.conditions.count:
            raise SpecError(
                f"the inner hypernetwork keeps {inner.conditions.count} conditions, behind an"
                " encoder it must keep none"
            )
        if outer.input_size != inner.conditions.input_size:
            raise SpecError(
                "the inner hypernetwork takes an unconditional input of size"
                f" {inner.conditions.input_size}, not {outer.input_size}"
            )
        super().__init__(inner.target, outer)
        self.inner = inner
        self.encoder = encoder
        self.conditions_per_call = inner.conditions_per_call  # type: ignore[misc]  # as fast as what is inside

    def forward(
        self,
        condition: int | Sequence[int] | Tensor | None = None,
        *,
        cond_input: object = None,
        uncond_input: Tensor | None = None,
    ) -> Weights:
        """Generate weights.

        Args:
            condition: One id, or a batch of ids.
            cond_input: The encoder's input instead: anything that it takes.
            uncond_input: `[input_size]` or `[B, input_size]`.

        Raises:
            ConditionError: Neither an id nor an input is given, or both are; or the
                encoder's output has the wrong shape.
        """
        if (condition is None) == (cond_input is None):
            given = "both were given" if condition is not None else "neither was given"
            raise ConditionError(f"the encoder needs either condition= or cond_input=, {given}")
        if condition is not None:
            cond_input = self.embeddings(condition)
        encoded = self.encoder(cond_input)
        size = self.inner.conditions.size
        if (
            not isinstance(encoded, Tensor)
            or encoded.ndim not in {1, 2}
            or encoded.shape[-1] != size
        ):
            got = list(encoded.shape) if isinstance(encoded, Tensor) else type(encoded).__name__
            raise ConditionError(
                f"the encoder must give an embedding [{size}] or [B, {size}], it gave {got}"
            )
        weights: Weights = self.inner(cond_input=encoded, uncond_input=uncond_input)
        return weights

    def embeddings(self, condition: int | Sequence[int] | Tensor) -> Tensor:
        """The learned inputs of the encoder for one id `[size]`, or for several `[B, size]`."""
        if not self.conditional_shapes:
            raise ConditionError(
                "this hypernetwork keeps no inputs for its encoder: pass cond_input"
            )
        ids, batched = self._ids(condition)
        rows = torch.stack([self.embedding(i) for i in ids or ()])
        return rows if batched else rows[0]

    def start_at_zero(self) -> None:
        """Let the inner hypernetwork start at zero."""
        self.inner.start_at_zero()


class CosineSine(nn.Module):
    r"""Encodes each number as a point on the unit circle, so that the length of an encoding never depends on what is encoded.

    $$ E(\gamma) = \bigl[\cos \tfrac{\pi}{2} \gamma,\; \sin \tfrac{\pi}{2} \gamma\bigr], \qquad \lVert E(\gamma) \rVert^2 = d
       \quad \text{for } \gamma \in [0, 1]^d $$

    A hypernetwork that reads $\gamma$ itself scales its output with $\lVert\gamma\rVert$, which makes training slow and unstable.

    Args:
        low: Smallest value of the numbers, encoded like $\gamma = 0$.
        high: Largest value, encoded like $\gamma = 1$.

    Raises:
        SpecError: The interval is empty.

    References:
        J. J. G. Ortiz, J. Guttag, A. Dalca: Magnitude invariant parametrizations improve hypernetwork learning. ICLR 2024,
        arXiv:2304.07645, equation 4.

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
        angles = (inputs - self.low) * (torch.pi / (2 * (self.high - self.low)))
        return torch.cat([angles.cos(), angles.sin()], dim=-1)


def magnitude_invariant(
    target: TargetSpec,
    conditions: ConditionSpec,
    *,
    inner: HypernetChoice | None = None,
    low: float = 0.0,
    high: float = 1.0,
    zero: bool = True,
) -> Delta:
    r"""A hypernetwork in the magnitude invariant parametrisation: $\omega = \omega_0 + h(E(\gamma))$.

    The condition $\gamma$ is encoded by `CosineSine`; $\omega_0$ is trained, is shared
    by all conditions and starts at a conventional draw, so the hypernetwork generates
    differences from it. Both parts can be had alone: `Encoded` and `Delta`.

    Args:
        target: What to generate.
        conditions: Ids with learned inputs, size $d$ of an input; usually no ids, and
            inputs from the caller.
        inner: The hypernetwork behind the encoding; an `hmlp` by default.
        low: Smallest value of the inputs.
        high: Largest value of the inputs.
        zero: Start the differences at zero, so that every condition starts at the
            conventional draw exactly.

    Raises:
        SpecError: The conditions have no size.

    References:
        J. J. G. Ortiz, J. Guttag, A. Dalca: Magnitude invariant parametrizations
        improve hypernetwork learning. ICLR 2024, arXiv:2304.07645.
    """
    if not conditions.size:
        raise SpecError("there is nothing to encode: the conditions have size 0")
    encoded = ConditionSpec(count=0, size=2 * conditions.size, input_size=conditions.input_size)
    hypernet = Encoded(build_inner(inner, target, encoded), CosineSine(low, high), conditions)
    return Delta(hypernet, drawn_weights(target), trainable=True, zero=zero)
