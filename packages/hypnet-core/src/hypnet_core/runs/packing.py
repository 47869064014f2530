"""Nested states of objects, taken apart into named tensors and JSON.

A state is what `state_dict()` gives: dictionaries, lists and tuples of tensors, numbers
and text. JSON has neither tuples nor keys that are numbers, so those are marked.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hypnet_core.errors import CheckpointError

_MARK = "$"


def pack(name: str, state: Any) -> tuple[dict[str, Tensor], Any]:
    """Take a state apart.

    Args:
        name: Name of the object; the names of its tensors start with it.
        state: The state.

    Returns:
        Tensors by dotted name, and the rest as JSON that refers to them.

    Raises:
        CheckpointError: It holds something else than containers, tensors, arrays,
            numbers and text.

    Example:
        >>> tensors, rest = pack("adam", {"state": {0: (torch.ones(2), 0.5)}})
        >>> list(tensors)
        ['adam.state.0.0']
        >>> unpack(tensors, rest)
        {'state': {0: (tensor([1., 1.]), 0.5)}}
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _packed(state, name, tensors)


def unpack(tensors: Mapping[str, Tensor], packed: Any) -> Any:
    """Put a state together again; the inverse of `pack`.

    Raises:
        CheckpointError: A tensor is missing, or the JSON is damaged.
    """
    if isinstance(packed, list):
        return [unpack(tensors, part) for part in packed]
    if not isinstance(packed, dict):
        return packed
    kinds = [key for key in packed if key.startswith(_MARK)]
    if not kinds:
        return {key: unpack(tensors, part) for key, part in packed.items()}
    try:
        return _UNPACK[kinds[0]](tensors, packed[kinds[0]])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"a state in the checkpoint is damaged: {error!r}") from error


def _packed(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        # Two dotted names may coincide: {"a.b": …} and {"a": {"b": …}}.
        while name in tensors:
            name += "'"
        tensors[name] = value
        return {"$tensor": name}
    if isinstance(value, np.ndarray):
        tensor = _packed(torch.from_numpy(_signed(value)), name, tensors)
        return {"$array": [tensor, str(value.dtype)]}
    if isinstance(value, Mapping):
        return _packed_mapping(value, name, tensors)
    if isinstance(value, (list, tuple)):
        parts = [_packed(part, f"{name}.{i}", tensors) for i, part in enumerate(value)]
        return {"$tuple": parts} if isinstance(value, tuple) else parts
    return _packed_scalar(value.item() if isinstance(value, np.generic) else value, name)


def _packed_scalar(value: Any, name: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise CheckpointError(
        f"{name}: a {type(value).__name__} cannot be saved, expected tensors, arrays, numbers,"
        " text, or dictionaries and lists of them"
    )


def _packed_mapping(value: Mapping[Any, Any], name: str, tensors: dict[str, Tensor]) -> Any:
    pairs = [
        (_packed(key, f"{name} (key)", tensors), _packed(part, f"{name}.{key}", tensors))
        for key, part in value.items()
    ]
    if isinstance(value, Counter):  # `MultiStepLR` has one
        return {"$counter": pairs}
    if all(isinstance(key, str) and not key.startswith(_MARK) for key in value):
        return dict(pairs)
    return {"$items": pairs}


def _signed(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array in a type that torch has; safetensors and torch lack uint32."""
    plain = np.ascontiguousarray(array)
    return plain.view(f"i{plain.itemsize}") if plain.dtype.kind == "u" else plain


def _array(tensors: Mapping[str, Tensor], found: Any) -> np.ndarray[Any, Any]:
    tensor, dtype = found
    values: np.ndarray[Any, Any] = unpack(tensors, tensor).cpu().numpy()
    return values.view(dtype)


def _pairs(tensors: Mapping[str, Tensor], found: Any) -> dict[Any, Any]:
    return {unpack(tensors, key): unpack(tensors, part) for key, part in found}


_UNPACK: Mapping[str, Callable[[Mapping[str, Tensor], Any], Any]] = {
    "$tensor": lambda tensors, name: tensors[name],
    "$array": _array,
    "$float": lambda _, text: float(text),
    "$tuple": lambda tensors, parts: tuple(unpack(tensors, part) for part in parts),
    "$items": _pairs,
    "$counter": lambda tensors, found: Counter(_pairs(tensors, found)),
}
