"""Ids of conditions, normalised for hypernetworks and main networks alike."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, SupportsIndex, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypnet_core.errors import ConditionError, WeightsError

Condition: TypeAlias = SupportsIndex | Sequence[SupportsIndex] | Tensor | NDArray[Any]
"""One id of a condition, or several: integers, sequences, tensors, arrays."""

Ids: TypeAlias = tuple[int, ...]

_LARGEST = 2**63 - 1  # of int64, in which a bank of statistics keeps its ids


class ConditionIds(NamedTuple):
    """Normalised ids.

    Attributes:
        ids: The ids, flattened row by row.
        shape: Shape of the batch that they came in; `()` for a single id.
    """

    ids: Ids
    shape: tuple[int, ...]

    @property
    def batched(self) -> bool:
        """Whether they were given as a batch, also of one."""
        return bool(self.shape)


def condition_ids(condition: Condition, count: int | None = None) -> ConditionIds:
    """Normalise one id or a batch of ids.

    Integers of Python and numpy, sequences of them, and integer tensors and arrays of
    any shape are ids. Booleans, text, fractions (also `0.0`) and negative numbers are
    not.

    Args:
        condition: The ids.
        count: Number of conditions, if only ids below it exist.

    Raises:
        ConditionError: Something else was given, an id is negative or not below
            `count`, or the batch is empty.

    Example:
        >>> condition_ids(3).ids, condition_ids(torch.tensor([2, 0])).ids
        ((3,), (2, 0))
        >>> condition_ids(True)
        Traceback (most recent call last):
        hypnet_core.errors.ConditionError: a condition is a whole number, got True
    """
    # Called at each step: plain integers take a short way.
    # `type`, not `isinstance`: True is an `int` too.
    ids, shape = ((condition,), ()) if type(condition) is int else _flattened(condition)
    if not ids:
        raise ConditionError("the batch of conditions is empty")
    if min(ids) < 0:
        raise ConditionError(f"there is no condition {min(ids)}: ids are whole numbers from 0")
    if max(ids) > _LARGEST:
        raise ConditionError(f"there is no condition {max(ids)}: ids are at most 2**63 - 1")
    if count is not None and max(ids) >= count:
        known = f"there are {count} (0 to {count - 1})" if count else "there are none"
        raise ConditionError(f"there is no condition {max(ids)}: {known}")
    return ConditionIds(ids, shape)


def _flattened(condition: Any) -> tuple[Ids, tuple[int, ...]]:
    if isinstance(condition, (Tensor, np.ndarray)):
        if not _is_integral(condition):
            raise ConditionError(f"conditions are whole numbers, got values of {condition.dtype}")
        return tuple(map(int, condition.reshape(-1).tolist())), tuple(condition.shape)
    # Text is a sequence too, but its characters are not ids.
    if isinstance(condition, Sequence) and not isinstance(condition, (str, bytes)):
        ids = tuple(condition)
        # One pass over the types in C; numpy integers and scalars take the slow way.
        if set(map(type, ids)) != {int}:
            ids = tuple(map(_single, ids))
        return ids, (len(ids),)
    return (_single(condition),), ()


def _single(value: Any) -> int:
    """One id; a tensor or an array must hold a single integer."""
    is_array = isinstance(value, (Tensor, np.ndarray))
    # `operator.index` would accept True as 1.
    if isinstance(value, (bool, np.bool_)) or (is_array and not _is_integral(value)):
        raise ConditionError(f"a condition is a whole number, got {value!r}")
    try:
        # Accepts all integer types, and refuses fractions even if they are whole.
        return operator.index(value)
    except TypeError:
        raise ConditionError(f"a condition is a whole number, got {value!r}") from None


def _is_integral(values: Tensor | NDArray[Any]) -> bool:
    if isinstance(values, Tensor):
        kind = values.dtype
        return not (kind.is_floating_point or kind.is_complex or kind is torch.bool)
    return values.dtype.kind in "iu"


def shared_ids(one: Ids | None, other: Ids | None) -> Ids | None:
    """Ids of the combination of two sets of weights: known to one, or equal in both."""
    if one is None or other is None:
        return other if one is None else one
    return one if one == other else None


def one_each(conditions: Condition | ConditionIds, batch_shape: torch.Size) -> Ids:
    """One id for each set of weights.

    Raises:
        WeightsError: The number of ids is not that of the sets.
    """
    found = conditions if isinstance(conditions, ConditionIds) else condition_ids(conditions)
    ids = found.ids
    count = batch_shape.numel()
    # A single id stands for all sets, a batch of one does not.
    if not found.batched:
        return ids * count
    if len(ids) != count:
        raise WeightsError(f"expected {count} ids, one for each set of weights, got {len(ids)}")
    return ids


def indices_of(indices: Condition) -> int | list[int]:
    """One index of a batch dimension, or a list of them; negative ones too.

    Raises:
        WeightsError: These are no indices.
    """
    found = np.asarray(indices.tolist() if isinstance(indices, Tensor) else indices)
    if found.dtype.kind not in "iu" or found.ndim > 1:
        raise WeightsError(
            f"weights are indexed by a whole number, or by a batch of them, got {indices!r}"
        )
    return int(found) if found.ndim == 0 else [int(i) for i in found]
