"""The parameters of a network as one value: named views of a flat tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from hypnet_core.errors import WeightsError, did_you_mean
from hypnet_core.networks.checks import check_tensors
from hypnet_core.networks.conditions import (
    Condition,
    ConditionIds,
    Ids,
    indices_of,
    one_each,
    shared_ids,
)
from hypnet_core.specs import TargetSpec


# A dataclass, since `DistributedDataParallel` looks for tensors in those.
@dataclass(init=False, repr=False, eq=False)
class Weights(Mapping[str, Tensor]):
    r"""Parameters $\omega$ of a network: named views of one flat tensor.

    They are immutable, a pytree (so `torch.func` and `torch.compile` see the flat
    tensor inside), and carry gradients.

    **Conditions.** Weights that a hypernetwork generated know the ids of their
    conditions, so that a main network finds the running statistics by itself.

    - `detach`, `to`, `clone`, `select`, `unbind`, `index`, `stack`, copies and pickles
      keep the ids; `stack` needs those of all sets. `==` does not compare them.
    - Arithmetic keeps them if the operands agree, or if only one of them knows its ids;
      weights of different conditions give weights of no condition.
    - Functional transforms (`vmap`, `grad`, `tree_map`) drop them, since they put other
      tensors, of other batch shapes, in the place of `flat`.

    Shapes:
        - `flat`: `[*batch, numel]`
        - `weights[name]`: `[*batch, *shape]`, a view of `flat`

    Args:
        flat: All parameters, concatenated in the order of `spec`.
        spec: Names and shapes.
        conditions: One id per set of weights, or one for all, if they belong to
            conditions.

    Raises:
        WeightsError: The last dimension of `flat` is not `spec.numel`, or the number of
            ids is not that of the sets.
        ConditionError: An id is not a whole number from 0.

    Example:
        >>> spec = TargetSpec.from_shapes([[2, 3], [2]], names=["weight", "bias"])
        >>> w = Weights(torch.arange(8.0), spec)
        >>> w["bias"], w.batch_shape
        (tensor([6., 7.]), torch.Size([]))
        >>> (w + 1.0)["weight"][0]
        tensor([1., 2., 3.])
    """

    # numpy's scalars leave arithmetic to `__rmul__` and the like.
    __array_ufunc__ = None
    __slots__ = ("_flat", "_views", "conditions", "spec")

    _flat: Tensor | None
    spec: TargetSpec
    conditions: Ids | None
    """The id of each set's condition, one per set of weights; `None` if unknown."""
    _views: dict[str, Tensor] | None

    def __init__(
        self,
        flat: Tensor,
        spec: TargetSpec,
        *,
        conditions: Condition | ConditionIds | None = None,
    ) -> None:
        given: tuple[object, object] = (flat, spec)
        if not (isinstance(given[0], Tensor) and isinstance(given[1], TargetSpec)):
            raise WeightsError(
                "Weights take a tensor and a TargetSpec, got a"
                f" {type(flat).__name__} and a {type(spec).__name__}"
            )
        if flat.ndim == 0 or flat.shape[-1] != spec.numel:
            raise WeightsError(
                f"{spec.numel} weights in the last dimension are expected, got a tensor of shape"
                f" {list(flat.shape)}"
            )
        self._flat = flat
        self.spec = spec
        self.conditions = None if conditions is None else one_each(conditions, flat.shape[:-1])
        self._views = None

    @staticmethod
    def of(spec: TargetSpec, tensors: Mapping[str, Tensor]) -> Weights:
        """Concatenate named tensors (this copies them).

        Args:
            spec: Names and shapes.
            tensors: One tensor `[*batch, *shape]` per name, all with the same batch
                shape.

        Raises:
            WeightsError: Names are missing or unknown, or shapes differ from what the
                spec says.
        """
        batch_shape = check_tensors(spec, tensors)
        parts = [
            tensors[name].reshape(*batch_shape, size)
            for name, size in zip(spec.names, spec.sizes, strict=True)
        ]
        return Weights(torch.cat(parts, dim=-1) if parts else torch.zeros(0), spec)

    @staticmethod
    def stack(sets: Sequence[Weights]) -> Weights:
        """Stack sets of weights into a batch, the inverse of `unbind` (with a copy).

        Raises:
            WeightsError: There are none, or they belong to different targets.
        """
        if not sets:
            raise WeightsError("there are no weights to stack")
        flat = torch.stack([_flat_of(one, sets[0].spec) for one in sets])
        ids = [one.conditions for one in sets]
        known = [found for found in ids if found is not None]
        conditions = sum(known, ()) if len(known) == len(ids) else None
        return Weights(flat, sets[0].spec, conditions=conditions)

    def _with(self, flat: Tensor, conditions: Ids | None) -> Weights:
        """Other values of the same target, which need no check."""
        # Past `__init__`: this runs in every arithmetic operation.
        made = object.__new__(Weights)
        made._flat, made.spec, made.conditions, made._views = flat, self.spec, conditions, None
        return made

    @property
    def flat(self) -> Tensor:
        """All parameters, concatenated: `[*batch, numel]`."""
        return self._materialized() if self._flat is None else self._flat

    def _materialized(self) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must implement _materialized()")

    @property
    def batch_shape(self) -> torch.Size:
        """Leading dimensions, empty for one set of weights."""
        return self.flat.shape[:-1]

    @property
    def requires_grad(self) -> bool:
        """Whether gradients reach what these weights were made from."""
        return self.flat.requires_grad

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All parameters by name.

        They come from one `split`, whose backward pass costs one pass over `flat`.
        """
        # Made at first use, because regularisers only need `flat`.
        if self._views is not None:
            return self._views
        flat, spec = self.flat, self.spec
        batch_shape = flat.shape[:-1]
        # A single tensor needs no `split`, which would copy its gradient.
        parts = (
            (flat,) if len(spec.sizes) == 1 else torch.split_with_sizes(flat, spec.sizes, dim=-1)
        )
        views = {
            # A vector needs no `view`, which would be one more node in the graph.
            name: part if len(shape) == 1 else part.view(batch_shape + shape)
            for name, shape, part in zip(spec.names, spec.shapes, parts, strict=True)
        }
        # Views made under `no_grad` have no history, which later calls may need.
        if torch.is_grad_enabled() or not self.requires_grad:
            self._views = views
        return views

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self.tensors[name]
        except (KeyError, TypeError):
            found: object = name
            if not isinstance(found, str):
                raise WeightsError(
                    f"weights are looked up by name, got {found!r}: index(i) gives one set of a"
                    " batch"
                ) from None
            raise WeightsError(
                f"there are no weights named {name!r}{did_you_mean(name, self.spec.names)}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.spec.names)

    def __len__(self) -> int:
        return len(self.spec.names)

    def __contains__(self, name: object) -> bool:
        return name in self.spec

    def __repr__(self) -> str:
        return (
            f"Weights({len(self)} tensors, numel={self.spec.numel},"
            f" batch_shape={list(self.batch_shape)})"
        )

    # A value with tensors inside has no useful hash.
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Weights):
            return NotImplemented
        return (
            self.spec == other.spec
            and self.flat.shape == other.flat.shape
            and bool((self.flat == other.flat).all())
        )

    def unbind(self) -> tuple[Weights, ...]:
        """One set of weights for each entry of the first batch dimension.

        Raises:
            WeightsError: There is no batch dimension.
        """
        if not self.batch_shape:
            raise WeightsError("these weights have no batch dimension to unbind")
        return tuple(
            self._with(flat, self._conditions_at(i)) for i, flat in enumerate(self.flat.unbind(0))
        )

    def index(self, index: Condition) -> Weights:
        """Set of weights at one index of the first batch dimension, or several of them.

        Args:
            index: One index, or a batch `[n]` of them, such as the adapter of each
                sample: the result then has `n` sets (and copies them).

        Raises:
            WeightsError: There is no batch dimension, or these are no indices.
            IndexError: An index is out of range.
        """
        if not self.batch_shape:
            raise WeightsError("these weights have no batch dimension to index")
        chosen = indices_of(index)
        if isinstance(chosen, int):
            return self._with(self.flat[chosen], self._conditions_at(chosen))
        known = self.conditions is not None
        ids = tuple(one for i in chosen for one in self._conditions_at(i) or ()) if known else None
        return self._with(self.flat[chosen], ids)

    def _conditions_at(self, index: int) -> Ids | None:
        """The ids of the sets at one index of the first batch dimension."""
        if self.conditions is None:
            return None
        each = self.batch_shape[1:].numel()
        # `range` raises IndexError and counts negative indices from the end, as tensors
        # do.
        start = range(self.batch_shape[0])[index] * each
        return self.conditions[start : start + each]

    def belonging_to(self, conditions: Condition | None) -> Weights:
        """The same weights as those of other conditions.

        Args:
            conditions: One id per set of weights, or one for all; `None` if unknown.

        Raises:
            WeightsError: The number of ids is not that of the sets.
            ConditionError: An id is not a whole number from 0.
        """
        ids = None if conditions is None else one_each(conditions, self.batch_shape)
        return self._with(self.flat, ids)

    def to(self, *args: Any, **kwargs: Any) -> Weights:
        """Move or cast, with the arguments of `Tensor.to`."""
        return self._with(self.flat.to(*args, **kwargs), self.conditions)

    def detach(self) -> Weights:
        """The same values without their history."""
        return self._with(self.flat.detach(), self.conditions)

    def clone(self) -> Weights:
        """A copy."""
        return self._with(self.flat.clone(), self.conditions)

    def select(self, spec: TargetSpec) -> Weights:
        """Select the parameters that `spec` names (this copies them)."""
        chosen = Weights.of(spec, {name: self[name] for name in spec.names})
        # The same sets, only fewer of their tensors.
        chosen.conditions = self.conditions
        return chosen

    def __add__(self, other: Weights | Tensor | float) -> Weights:
        return self._combined(self.flat + self._operand(other), other)

    def __sub__(self, other: Weights | Tensor | float) -> Weights:
        return self._combined(self.flat - self._operand(other), other)

    def __mul__(self, other: Weights | Tensor | float) -> Weights:
        return self._combined(self.flat * self._operand(other), other)

    def __truediv__(self, other: Weights | Tensor | float) -> Weights:
        return self._combined(self.flat / self._operand(other), other)

    def __neg__(self) -> Weights:
        return self._with(-self.flat, self.conditions)

    def __rsub__(self, other: Tensor | float) -> Weights:
        return self._combined(other - self.flat, other)

    __radd__ = __add__
    __rmul__ = __mul__

    def _combined(self, flat: Tensor, other: Weights | Tensor | float) -> Weights:
        """The result of arithmetic, with the ids on which the operands agree."""
        ids = _broadcast_ids(self, flat.shape[:-1])
        if isinstance(other, Weights):
            ids = shared_ids(ids, _broadcast_ids(other, flat.shape[:-1]))
        return self._with(flat, ids)

    def _operand(self, other: Weights | Tensor | float) -> Tensor | float:
        return _flat_of(other, self.spec) if isinstance(other, Weights) else other


def _broadcast_ids(weights: Weights, batch_shape: torch.Size) -> Ids | None:
    """The ids of weights, broadcast to a batch shape as their flat tensor is."""
    if weights.conditions is None or batch_shape == weights.batch_shape:
        return weights.conditions
    # numpy broadcasts by the same rules as torch, without a tensor on any device.
    ids = np.reshape(np.array(weights.conditions), tuple(weights.batch_shape))
    return tuple(np.broadcast_to(ids, tuple(batch_shape)).ravel().tolist())


def _flat_of(weights: Weights, spec: TargetSpec) -> Tensor:
    """The flat tensor of weights, checked to belong to a target."""
    if weights.spec is not spec and (weights.spec.names, weights.spec.shapes) != (
        spec.names,
        spec.shapes,
    ):
        raise WeightsError("weights of different targets cannot be combined")
    return weights.flat


def weights_of(module: nn.Module, spec: TargetSpec | None = None) -> Weights:
    """Copy the parameters of a module, all or those that `spec` names.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> bool((weights_of(layer)["bias"] == layer.bias).all())
        True
    """
    spec = TargetSpec.of(module) if spec is None else spec
    parameters = dict(module.named_parameters())
    return Weights.of(
        spec, {name: parameters[name].detach() for name in spec.names if name in parameters}
    )


def _flatten(weights: Weights) -> tuple[list[Tensor], TargetSpec]:
    return [weights.flat], weights.spec


def _flatten_with_keys(weights: Weights) -> tuple[list[tuple[Any, Tensor]], TargetSpec]:
    return [(pytree.GetAttrKey("flat"), weights.flat)], weights.spec


def _unflatten(leaves: Any, spec: TargetSpec) -> Weights:
    # Transforms put placeholders into the tree (axes, proxies): build without looking
    # at the leaf. They change the batch shape too, so that ids would no longer fit.
    (flat,) = leaves
    weights = object.__new__(Weights)
    weights._flat, weights.spec, weights.conditions, weights._views = flat, spec, None, None
    return weights


def register(kind: type[Weights]) -> None:
    """Make a class of weights a pytree around its flat tensor."""
    # torch has no public registration that reaches torch.func and torch.compile (2.6 to
    # 2.14); this is the one everybody uses.
    pytree.register_pytree_node(
        kind,
        _flatten,
        _unflatten,
        serialized_type_name=f"hypnet_core.{kind.__name__}",
        to_dumpable_context=lambda spec: spec.model_dump_json(),
        from_dumpable_context=TargetSpec.model_validate_json,
        flatten_with_keys_fn=_flatten_with_keys,
    )


register(Weights)
