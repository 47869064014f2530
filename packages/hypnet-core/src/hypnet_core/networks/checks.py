"""Checks of arguments: named tensors against a spec, and specs themselves."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hypnet_core.errors import SpecError, WeightsError, did_you_mean, listed
from hypnet_core.specs import ConditionSpec, TargetSpec


def check_tensors(spec: TargetSpec, tensors: Mapping[str, Tensor]) -> torch.Size:
    """Compare named tensors with a spec and return their common batch shape.

    Raises:
        WeightsError: Names are missing or unknown, or shapes differ from what the spec
            says.
    """
    # The common case costs no messages and no lists.
    if _fits_exactly(spec, tensors):
        return torch.Size()
    missing = [name for name in spec.names if name not in tensors]
    extra = [name for name in tensors if name not in spec]
    if missing or extra:
        raise WeightsError(_names_message(spec, missing, extra))
    batch_shape: torch.Size | None = None
    for param in spec.params:
        if not isinstance(tensors[param.name], Tensor):
            raise WeightsError(
                f"{param.name} must be a tensor, got {type(tensors[param.name]).__name__}"
            )
        shape = tensors[param.name].shape
        own = len(shape) - len(param.shape)
        if own < 0 or tuple(shape[own:]) != param.shape:
            raise WeightsError(
                f"{param.name} has shape {list(shape)}, expected"
                f" [{', '.join(map(str, ('*batch', *param.shape)))}]"
            )
        if batch_shape is None:
            batch_shape = shape[:own]
        elif shape[:own] != batch_shape:
            raise WeightsError(
                f"{param.name} has batch shape {list(shape[:own])}, but {spec.names[0]} has"
                f" {list(batch_shape)}: they must agree"
            )
    return torch.Size() if batch_shape is None else batch_shape


def _fits_exactly(spec: TargetSpec, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the tensors are one unbatched set, checked fast."""
    if len(tensors) != len(spec.names):
        return False
    try:
        return all(
            tensors[name].shape == shape
            for name, shape in zip(spec.names, spec.shapes, strict=True)
        )
    # Whatever is wrong, the slow way names it.
    except (KeyError, AttributeError):
        return False


def _names_message(spec: TargetSpec, missing: list[str], extra: list[str]) -> str:
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {len(spec)} weights are missing: {listed(missing)}")
    if extra:
        hint = did_you_mean(extra[0], missing or spec.names)
        parts.append(f"not expected: {listed(extra)}{hint}")
    return "; ".join(parts)


_KEYWORDS = ("weights", "stats", "paired")
"""Names that `MainNetwork.forward` uses itself."""


def check_inputs(module: nn.Module, inputs: Mapping[str, inspect.Parameter]) -> None:
    """Refuse inputs that cannot be passed on.

    Args:
        module: The module.
        inputs: The parameters of its `forward`.

    Raises:
        SpecError: One is keyword-only and has a name that main networks use themselves.
    """
    for name in _KEYWORDS:
        if name in inputs and inputs[name].kind is inspect.Parameter.KEYWORD_ONLY:
            raise SpecError(
                f"{type(module).__name__}.forward has a keyword-only input {name!r}, a name that"
                " main networks use themselves: rename it"
            )


def check_keywords(
    module: nn.Module, *, weights: object = None, stats: object = None, paired: object = False
) -> None:
    """Refuse what was meant for an input of the module with the same name.

    Raises:
        WeightsError: The value is not what a main network takes by that name.
    """
    if (
        (weights is None or isinstance(weights, Mapping))
        and (stats is None or isinstance(stats, Mapping))
        and type(paired) is bool
    ):
        return
    found = {"weights": weights, "stats": stats, "paired": paired}
    name = next(
        name
        for name, value in found.items()
        if not isinstance(value, bool if name == "paired" else Mapping | None)
    )
    wanted = {"paired": "True or False", "weights": "Weights or a mapping from names to tensors"}
    own = name in inspect.signature(module.forward).parameters
    hint = "; the module's own input of that name is passed by position" if own else ""
    raise WeightsError(
        f"{name} must be {wanted.get(name, 'a mapping from names to tensors')}, got"
        f" {type(found[name]).__name__}{hint}"
    )


def check_arguments(target: object, conditions: object) -> None:
    """Refuse anything but the specs that a hypernetwork is built from.

    Raises:
        SpecError: An argument has another type.
    """
    if not isinstance(target, TargetSpec):
        found = getattr(target, "target", None)
        hint = ": pass its `target`" if isinstance(found, TargetSpec) else ""
        raise SpecError(f"the target must be a TargetSpec, got {_named(target)}{hint}")
    if not isinstance(conditions, ConditionSpec):
        hint = f": write ConditionSpec(count={conditions})" if type(conditions) is int else ""
        raise SpecError(f"the conditions must be a ConditionSpec, got {_named(conditions)}{hint}")


def _named(value: object) -> str:
    return repr(value) if isinstance(value, (int, float, str)) else f"a {type(value).__name__}"
