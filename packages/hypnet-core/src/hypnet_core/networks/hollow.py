"""Hollow modules: parameters replaced by shapes without memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from hypnet_core.errors import SpecError
from hypnet_core.specs import TargetSpec


def places_of(module: nn.Module, target: TargetSpec) -> dict[str, tuple[str, ...]]:
    """The places in a module where each parameter of a target is used.

    A tied parameter has several places; a submodule that is used twice is one place.

    Returns:
        For each name of the target, the qualified names of all its places, its own name
        first.
    """
    parameters = dict(module.named_parameters())
    # Tied parameters are one object under several names.
    names_by_id = {id(parameters[name]): name for name in target.names}
    places: dict[str, list[str]] = {name: [] for name in target.names}
    for owner_name, owner in module.named_modules():
        for attribute, parameter in owner.named_parameters(recurse=False, remove_duplicate=False):
            name = names_by_id.get(id(parameter))
            if name is not None:
                places[name].append(f"{owner_name}.{attribute}" if owner_name else attribute)
    return {name: tuple(found) for name, found in places.items()}


def check_registry(module: nn.Module, places: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse modules that also keep parameters in plain attributes.

    Weights from outside replace registered parameters; a plain list, or an attribute
    that bypasses `nn.Module.__setattr__`, would go on with the old ones.

    Raises:
        SpecError: A parameter of the target is kept so.
    """
    names = {id(module.get_parameter(name)): name for name in places}
    for owner_name, owner in module.named_modules():
        if isinstance(owner, nn.RNNBase):  # its flat list follows its parameters
            continue
        for attribute, value in vars(owner).items():
            if attribute in {"_parameters", "_buffers", "_modules"}:
                continue
            found = next((names[i] for i in _parameters_in(value, 3) if i in names), None)
            if found is not None:
                place = f"{owner_name}.{attribute}".lstrip(".")
                raise SpecError(
                    f"{place} holds the parameter {found} outside of the module's registry, where"
                    " weights from outside do not reach it: use nn.ParameterList or"
                    " nn.ParameterDict"
                )


def _parameters_in(value: Any, depth: int) -> Iterator[int]:
    """The ids of the parameters in plain containers."""
    if isinstance(value, nn.Parameter):
        yield id(value)
    elif depth and isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from _parameters_in(item, depth - 1)
    elif depth and isinstance(value, dict):
        yield from _parameters_in(list(value.values()), depth)


def hollow(module: nn.Module, places: Mapping[str, tuple[str, ...]]) -> None:
    """Replace parameters by tensors on the meta device, without memory.

    They are plain attributes: `parameters()`, `state_dict()`, `to()` and optimisers no
    longer see them.
    """
    for name, paths in places.items():
        # Shape and dtype stay readable, for `repr` and for error messages.
        shape_only = torch.empty_like(
            module.get_parameter(name), device="meta", requires_grad=False
        )
        for path in paths:
            owner_name, _, attribute = path.rpartition(".")
            owner = module.get_submodule(owner_name)
            # A registered parameter must be deleted before a plain attribute can take
            # its name.
            delattr(owner, attribute)
            setattr(owner, attribute, shape_only)
