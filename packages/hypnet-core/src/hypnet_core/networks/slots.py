"""Slots: where tensors from outside go while a module runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hypnet_core.errors import WeightsError
from hypnet_core.networks.hollow import Hollow

Tensors = Mapping[str, Tensor]


class _Slot(NamedTuple):
    owner: nn.Module
    attribute: str


class Slots:
    """Puts tensors into a module for the time of one call.

    During the call they are parameters and buffers like any others, so that
    `next(self.parameters())` inside a module gives what it expects.

    Args:
        module: The module, hollow or not.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._slots: dict[str, _Slot] = {}
        self._parametrized = any(parametrize.is_parametrized(part) for part in module.modules())
        # They keep a list of their weights beside the registered ones.
        self._recurrent = [layer for layer in module.modules() if isinstance(layer, nn.RNNBase)]

    def run(self, tensors: Tensors, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call a function while the tensors are in their places.

        Args:
            tensors: By qualified name: hollow places, buffers or parameters.
            function: What to call.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
        """
        slots = [self._slots.get(name) or self._found(name) for name in tensors]
        lists = [
            (layer, layer.__dict__["_flat_weights"], layer.__dict__.get("_flat_weight_refs"))
            for layer in self._recurrent
        ]
        before = [_fill(slot, tensor) for slot, tensor in zip(slots, tensors.values(), strict=True)]
        try:
            if self._parametrized:
                return _uncached(function, args, kwargs)
            return function(*args, **kwargs)
        finally:
            for slot, tensor, old in zip(slots, tensors.values(), before, strict=True):
                _restore(slot, tensor, old)
            for layer, flat, refs in lists:
                # Else the last weights would stay alive, and copies would fail.
                layer.__dict__["_flat_weights"] = flat
                layer.__dict__["_flat_weight_refs"] = refs

    def _found(self, name: str) -> _Slot:
        owner, _, attribute = name.rpartition(".")
        # Kept, because a look-up by path in every call would cost more than the call of
        # a small network.
        found = self._slots[name] = _Slot(self.module.get_submodule(owner), attribute)
        return found


def _fill(slot: _Slot, tensor: Tensor) -> Any:
    """Put a tensor in its place, and return what was there."""
    # Past `nn.Module.__setattr__`, which accepts parameters only and takes longer.
    attributes, attribute = vars(slot.owner), slot.attribute
    before = attributes.pop(attribute, None)
    store = attributes["_parameters"]
    if before is None:
        if attribute in attributes["_buffers"]:
            store = attributes["_buffers"]
        before = store[attribute]
    store[attribute] = tensor
    return before


def _restore(slot: _Slot, tensor: Tensor, before: Any) -> None:
    attributes, attribute = vars(slot.owner), slot.attribute
    if isinstance(before, Hollow):
        attributes["_parameters"].pop(attribute, None)
        attributes[attribute] = before
    elif attribute in attributes["_buffers"]:
        now = attributes["_buffers"][attribute]
        attributes["_buffers"][attribute] = before
        # A module may replace its buffer instead of writing into it.
        if now is not tensor and isinstance(now, Tensor):
            if now.shape != tensor.shape:
                raise WeightsError(
                    f"{attribute} of a {type(slot.owner).__name__} grows from"
                    f" {list(tensor.shape)} to {list(now.shape)}: a buffer that belongs to a"
                    " condition keeps its shape"
                )
            with torch.no_grad():
                tensor.copy_(now)
    else:
        attributes["_parameters"][attribute] = before


def _uncached(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call a function outside of `parametrize.cached()`.

    Else it would find what was computed from other weights.
    """
    # There is no public switch.
    state = vars(parametrize)
    before = state["_cache_enabled"]
    if not before:
        return function(*args, **kwargs)
    state["_cache_enabled"] = 0
    try:
        return function(*args, **kwargs)
    finally:
        state["_cache_enabled"] = before


def trainable(module: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """The module's own trainable parameters, without those in `names`."""
    taken = set(names)
    return {
        name: parameter
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and name not in taken
    }
