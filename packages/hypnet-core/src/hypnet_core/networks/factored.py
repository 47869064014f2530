"""Weights held as a shared base and low-rank factors, never multiplied out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hypnet_core.errors import WeightsError
from hypnet_core.networks.conditions import Condition
from hypnet_core.networks.weights import Weights, register
from hypnet_core.specs import TargetSpec

FACTOR_A, FACTOR_B = "lora_A", "lora_B"
"""Endings of the names of factors."""


@dataclass(init=False, repr=False, eq=False)
class FactoredWeights(Weights):
    r"""Weights that are a base plus products of two factors each.

    $$ W = W_0 + s\, B A, \qquad A \in \mathbb{R}^{r \times in \cdot kernel},\; B \in
    \mathbb{R}^{out \times r} $$

    They are used like any `Weights`. A main network that runs a batch of them keeps the
    factors and adds $s\,B(Ax)$ where a layer multiplies with the weight, see
    `MainNetwork`; everything else multiplies them out when it asks for `flat` or for a
    tensor. Adding or subtracting one set of weights changes the base; other arithmetic,
    functional transforms (`vmap`, `tree_map`) and `select` give plain `Weights`.

    Args:
        factors: Each matrix as `NAME.lora_A` `[*batch, r, in · kernel]` and
            `NAME.lora_B` `[*batch, out, r]`, every other tensor under its own name.
            Their conditions are those of the whole.
        spec: Names and shapes of the weights.
        base: One set of weights for all, flat `[numel]`; none by default.
        scale: The factor $s$ in front of the products; $\alpha / r$ in LoRA.

    Raises:
        WeightsError: The factors or the base do not belong to the spec.

    Example:
        >>> spec = TargetSpec.from_shapes([[2, 3]], names=["weight"])
        >>> parts = TargetSpec.from_shapes(
        ...     [[1, 3], [2, 1]], names=["weight.lora_A", "weight.lora_B"]
        ... )
        >>> factors = Weights(torch.ones(7, 5), parts)
        >>> w = FactoredWeights(factors, spec, base=torch.ones(6))
        >>> w.batch_shape, w["weight"][0]
        (torch.Size([7]), tensor([[2., 2., 2.],
                [2., 2., 2.]]))
    """

    __slots__ = ("base", "factors", "scale")

    base: Tensor | None
    factors: Weights
    scale: float

    def __init__(
        self,
        factors: Weights,
        spec: TargetSpec,
        *,
        base: Tensor | None = None,
        scale: float = 1.0,
    ) -> None:
        _check(factors.spec, spec)
        if base is not None and base.shape != (spec.numel,):
            raise WeightsError(
                f"the base holds {spec.numel} weights, got a tensor of shape {list(base.shape)}"
            )
        self.factors, self.spec, self.base, self.scale = factors, spec, base, scale
        self.conditions = factors.conditions
        self._flat = self._views = None

    def _like(self, factors: Weights, base: Tensor | None) -> FactoredWeights:
        """Other factors and another base of the same target, which need no check."""
        made = object.__new__(FactoredWeights)
        made.factors, made.spec, made.base, made.scale = factors, self.spec, base, self.scale
        made.conditions = factors.conditions
        made._flat = made._views = None
        return made

    def factors_of(self, name: str) -> tuple[Tensor, Tensor] | None:
        """The factors A and B of a matrix; `None` for a tensor held as a whole."""
        factors = self.factors
        if f"{name}.{FACTOR_A}" not in factors.spec:
            return None
        return factors[f"{name}.{FACTOR_A}"], factors[f"{name}.{FACTOR_B}"]

    def with_factors(self, factors: Weights) -> FactoredWeights:
        """Other factors of the same spec with the same base."""
        return self._like(factors, self.base)

    def merged(self) -> FactoredWeights:
        """The same sets with a single batch dimension."""
        if len(self.batch_shape) == 1:
            return self
        flat = self.factors.flat.reshape(-1, self.factors.spec.numel)
        ids = self.conditions
        return self._like(Weights(flat, self.factors.spec).belonging_to(ids), self.base)

    def difference(self) -> FactoredWeights:
        """The same weights without their base."""
        return self._like(self.factors, None)

    @property
    def batch_shape(self) -> torch.Size:
        """Leading dimensions, empty for one set of weights."""
        return self.factors.batch_shape

    def _materialized(self) -> Tensor:
        device = self.factors.flat.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            # Weights have their precision wherever they are asked for first.
            with torch.autocast(device, enabled=False):
                flat = self._multiplied()
        else:
            flat = self._multiplied()
        # Under `no_grad` it has no history, which later uses may need.
        if torch.is_grad_enabled() or not self.requires_grad:
            self._flat = flat
        return flat

    def _multiplied(self) -> Tensor:
        batch, parts = self.batch_shape, []
        for param in self.spec.params:
            found = self.factors_of(param.name)
            if found is None:
                part = self.factors[param.name]
            else:
                down, up = found
                # The factor is scaled before the product, because it is smaller.
                part = (up if self.scale == 1 else self.scale * up) @ down
            parts.append(part.reshape(*batch, param.numel))
        flat = torch.cat(parts, dim=-1)
        return flat if self.base is None else flat + self.base

    @property
    def requires_grad(self) -> bool:
        """Whether the factors or the base have gradients."""
        own = self.base is not None and self.base.requires_grad
        return own or self.factors.flat.requires_grad

    def unbind(self) -> tuple[Weights, ...]:
        """One set of weights for each entry of the first batch dimension.

        Raises:
            WeightsError: There is no batch dimension.
        """
        return tuple(self._like(factors, self.base) for factors in self.factors.unbind())

    def index(self, index: Condition) -> FactoredWeights:
        """The set of weights at one index of the first batch dimension, or several.

        Only the factors are copied.

        Raises:
            WeightsError: There is no batch dimension, or these are no indices.
            IndexError: An index is out of range.
        """
        return self._like(self.factors.index(index), self.base)

    def belonging_to(self, conditions: Condition | None) -> FactoredWeights:
        """The same weights as those of other conditions.

        Raises:
            WeightsError: The number of ids is not that of the sets.
            ConditionError: An id is not a whole number from 0.
        """
        return self._like(self.factors.belonging_to(conditions), self.base)

    def to(self, *args: Any, **kwargs: Any) -> FactoredWeights:
        """Move or cast, with the arguments of `Tensor.to`."""
        base = None if self.base is None else self.base.to(*args, **kwargs)
        return self._like(self.factors.to(*args, **kwargs), base)

    def detach(self) -> FactoredWeights:
        """The same values without their history."""
        base = None if self.base is None else self.base.detach()
        return self._like(self.factors.detach(), base)

    def clone(self) -> FactoredWeights:
        """A copy."""
        base = None if self.base is None else self.base.clone()
        return self._like(self.factors.clone(), base)

    def __add__(self, other: Weights | Tensor | float) -> Weights:
        shifted = self._shifted(other, 1)
        return super().__add__(other) if shifted is None else shifted

    def __sub__(self, other: Weights | Tensor | float) -> Weights:
        shifted = self._shifted(other, -1)
        return super().__sub__(other) if shifted is None else shifted

    __radd__ = __add__

    def _shifted(self, other: Weights | Tensor | float, sign: int) -> FactoredWeights | None:
        """The sum with one plain set of weights, which joins the base."""
        if isinstance(other, Weights):
            fits = not isinstance(other, FactoredWeights) and other.spec is self.spec
            # Its conditions would be lost.
            other = other.flat if fits and other.conditions is None else math.nan
        if not isinstance(other, Tensor) or other.shape != (self.spec.numel,):
            return None
        change = other if sign > 0 else -other
        return self._like(self.factors, change if self.base is None else self.base + change)


def _check(parts: TargetSpec, spec: TargetSpec) -> None:
    """Compare the spec of factors with that of the weights.

    Raises:
        WeightsError: A tensor or a factor is missing, or has another shape.
    """
    shapes, used = dict(zip(parts.names, parts.shapes, strict=True)), 0
    for name, shape in zip(spec.names, spec.shapes, strict=True):
        down, up = shapes.get(f"{name}.{FACTOR_A}"), shapes.get(f"{name}.{FACTOR_B}")
        if down is None or up is None:
            fits, used = shapes.get(name) == shape, used + 1
        else:
            fits = down == (up[-1], math.prod(shape[1:])) and up == (shape[0], down[0])
            used += 2
        if not fits:
            raise WeightsError(
                f"the factors hold no {name} of shape {list(shape)}, and no {name}.{FACTOR_A} and"
                f" {name}.{FACTOR_B} with that product"
            )
    if used != len(parts):
        raise WeightsError(f"{len(parts)} factors are given, but {used} are used")


# Transforms map over the leading dimension of all tensors inside, which the base does
# not have: they see the weights multiplied out.
register(FactoredWeights)
