"""Placement: which weight goes to which place of a module, and in which precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hypnet_core.networks.checks import check_tensors
from hypnet_core.networks.factored import FactoredWeights
from hypnet_core.networks.hollow import check_module, hollow, places_of
from hypnet_core.networks.operands import Operand, Sets
from hypnet_core.networks.weights import Weights
from hypnet_core.specs import TargetSpec


class Placement:
    """Hollows a module out, and assigns weights to its places.

    Weights take the precision of the parameters that they replace; `convert` changes it
    with the module's.

    Args:
        module: The module; it is changed.
        target: The parameters that come from outside.

    Attributes:
        pairs: Each place with the name of its weight; tied parameters have several
            places.

    Raises:
        SpecError: Weights from outside cannot reach or replace a parameter.
    """

    def __init__(self, module: nn.Module, target: TargetSpec) -> None:
        places = places_of(module, target)
        check_module(module, places)
        self._target = target
        self.pairs = [(place, name) for name, paths in places.items() for place in paths]
        self._hollows = hollow(module, places)
        self._dtype = self._common_dtype()

    def assign(
        self, weights: Weights | Mapping[str, Tensor] | None
    ) -> tuple[dict[str, Tensor], torch.Size]:
        """The tensor for each place, and the batch shape.

        Raises:
            WeightsError: Names or shapes are not those of the target.
        """
        target = self._target
        # Identity first: weights from a hypernetwork for this target need no
        # comparison.
        if isinstance(weights, Weights) and self.fits(weights):
            if self._dtype is not None:
                # One operation for all of them, and none in the common case.
                same = weights.flat.dtype is self._dtype
                tensors = (weights if same else weights.to(self._dtype)).tensors
                return {place: tensors[name] for place, name in self.pairs}, weights.batch_shape
            given: Mapping[str, Tensor] = weights.tensors
            batch_shape = weights.batch_shape
        else:
            given = {} if weights is None else weights
            batch_shape = check_tensors(target, given)
        cast = {name: given[name].to(found.dtype) for name, found in self._hollows.items()}
        return {place: cast[name] for place, name in self.pairs}, batch_shape

    def fits(self, weights: Weights) -> bool:
        """Whether these are weights of the target."""
        target = self._target
        return weights.spec is target or (
            (weights.spec.names, weights.spec.shapes) == (target.names, target.shapes)
        )

    def operands(self, weights: FactoredWeights, sets: Sets) -> dict[str, Any]:
        """The `Operand` for each place, for a call of all sets at once.

        Args:
            weights: Weights of the target with one batch dimension.
            sets: The sets in that call.
        """
        base = None if weights.base is None else Weights(weights.base, weights.spec)
        made = {}
        for name, found in self._hollows.items():
            operand = Operand(name, found.shape, sets, scale=weights.scale)
            factors = weights.factors_of(name)
            own = None if base is None else base[name].to(found.dtype)
            if factors is None:
                whole = weights.factors[name].to(found.dtype)
                operand.whole = whole if own is None else whole + own
            else:
                operand.base = own
                operand.down, operand.up = (factor.to(found.dtype) for factor in factors)
            made[name] = operand
        return {place: made[name] for place, name in self.pairs}

    def convert(self, function: Callable[[Tensor], Tensor]) -> None:
        """Follow `module.to(dtype)`.

        Args:
            function: The one that `nn.Module._apply` maps over tensors.
        """
        for found in self._hollows.values():
            # It may move tensors too, so it is tried on an empty one.
            found.dtype = function(torch.empty(0, dtype=found.dtype)).dtype
        self._dtype = self._common_dtype()

    def _common_dtype(self) -> torch.dtype | None:
        dtypes = {found.dtype for found in self._hollows.values()}
        return dtypes.pop() if len(dtypes) == 1 else None
