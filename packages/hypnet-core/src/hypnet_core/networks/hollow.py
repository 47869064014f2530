"""Hollow modules: parameters replaced by placeholders without memory."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from types import CellType, FunctionType
from typing import Any, NoReturn

import torch
from torch import nn

from hypnet_core.errors import SpecError, WeightsError
from hypnet_core.specs import TargetSpec


class StandIn:
    """Something in the place of a parameter, which has its shape."""

    shape: torch.Size

    @property
    def ndim(self) -> int:
        """Number of dimensions, as of a parameter."""
        return len(self.shape)

    def dim(self) -> int:
        """Number of dimensions, as of a parameter."""
        return len(self.shape)

    def size(self, dim: int | None = None) -> torch.Size | int:
        """The shape, or one size of it, as of a parameter."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        """Number of scalars, as of a parameter."""
        return self.shape.numel()


class Hollow(StandIn):
    """Holds the place of a parameter that comes from outside, without memory.

    Shape and dtype stay readable, for `repr` and for casts. Anything else is refused by
    name: a number computed from a placeholder would be wrong.

    Attributes:
        name: Qualified name of the place.
        shape: The parameter's shape.
        dtype: The precision that weights in this place are cast to.
    """

    def __init__(self, name: str, shape: torch.Size, dtype: torch.dtype) -> None:
        self.name = name
        self.shape = shape
        self.dtype = dtype

    @property
    def device(self) -> torch.device:
        """The device without memory."""
        return torch.device("meta")

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = next(
            (arg for arg in (*args, *(kwargs or {}).values()) if isinstance(arg, cls)), None
        )
        _refuse("a weight" if found is None else found.name)

    def __getattr__(self, attribute: str) -> Any:
        # Protocols such as copying and pickling ask for methods that are not there.
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        _refuse(self.__dict__.get("name", "a weight"))

    def __getitem__(self, index: Any) -> Any:
        del index
        _refuse(self.name)

    def __repr__(self) -> str:
        return f"Hollow({self.name}, {list(self.shape)}, {self.dtype})"


def _refuse(name: str) -> NoReturn:
    raise WeightsError(
        f"{name} comes from outside and has no value here: it is read outside of a call"
        " net(x, weights=…), or by activation checkpointing (use_reentrant=True) that was"
        " switched on after the first call"
    )


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


def check_module(module: nn.Module, places: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse modules that weights from outside cannot reach, or cannot replace.

    Raises:
        SpecError: A parameter of the target is complex or of integers, or is also kept
            in a plain attribute; or the module is scripted.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise SpecError(
            f"{type(module).__name__} is scripted (torch.jit): its parameters cannot be replaced;"
            " pass the module itself"
        )
    for name in places:
        parameter = module.get_parameter(name)
        if not parameter.is_floating_point():
            raise SpecError(
                f"{name} has dtype {parameter.dtype}, but generated weights are real numbers: keep"
                " it out with generate=, or store it as real numbers (torch.view_as_real)"
            )
    _check_registry(module, places)


def _check_registry(module: nn.Module, places: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse parameters in plain attributes, which would go on with the old values."""
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
    """The ids of the parameters in containers, plain objects and closures."""
    if isinstance(value, nn.Parameter):
        yield id(value)
    elif depth and isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from _parameters_in(item, depth - 1)
    elif depth and isinstance(value, dict):
        yield from _parameters_in(list(value.values()), depth)
    elif isinstance(value, functools.partial):
        yield from _parameters_in([*value.args, *value.keywords.values()], 1)
    elif isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
        yield from _parameters_in(cells, 1)
    elif depth and not isinstance(value, (nn.Module, torch.Tensor, type)):
        # Plain objects: their own attributes, not what those hold (an optimiser's).
        own = getattr(value, "__dict__", None)
        if isinstance(own, dict):
            yield from (id(item) for item in own.values() if isinstance(item, nn.Parameter))


def _is_filled(cell: CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def hollow(module: nn.Module, places: Mapping[str, tuple[str, ...]]) -> dict[str, Hollow]:
    """Replace parameters by placeholders.

    They are plain attributes: `parameters()`, `state_dict()`, `to()` and optimisers no
    longer see them.

    Args:
        module: The module.
        places: The places of each parameter, by its name.

    Returns:
        The placeholder for each parameter, by its name.

    Raises:
        WeightsError: A layer computes with its parameters when the module is switched
            between training and evaluation.
    """
    hollows = {}
    for name, paths in places.items():
        parameter = module.get_parameter(name)
        # One for all places of a tied parameter, which stay tied.
        placeholder = hollows[name] = Hollow(name, parameter.shape, parameter.dtype)
        for path in paths:
            owner_name, _, attribute = path.rpartition(".")
            owner = module.get_submodule(owner_name)
            # A registered parameter must be deleted before a plain attribute can take
            # its name.
            delattr(owner, attribute)
            setattr(owner, attribute, placeholder)
    for layer in module.modules():
        # Gradients with respect to generated weights are dense.
        if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)) and isinstance(
            layer.__dict__.get("weight"), Hollow
        ):
            layer.sparse = False
    _switch_modes(module)
    return hollows


def _switch_modes(module: nn.Module) -> None:
    """Let layers drop what they derived from the parameters that are gone.

    Those that cache something for evaluation drop it in `train()`.
    """
    modes = [(layer, layer.training) for layer in module.modules()]
    module.train(not module.training)
    module.train(not module.training)
    # Some layers may be in another mode than the whole.
    for layer, mode in modes:
        layer.training = mode
