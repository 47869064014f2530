"""Specs of single parameters, read from a module without importing torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from hypnet_core.errors import SpecError, clipped, did_you_mean


class ParamKind(StrEnum):
    """The role of a parameter in its layer.

    Initialisation and partial targets depend on it.
    """

    WEIGHT = "weight"
    BIAS = "bias"
    NORM_SCALE = "norm_scale"
    NORM_SHIFT = "norm_shift"
    GAIN = "gain"
    SHIFT = "shift"
    EMBEDDING = "embedding"
    OTHER = "other"


class Spec(BaseModel):
    """Base of all specs: frozen, no unknown fields.

    Raises:
        SpecError: A field is missing, unknown or impossible.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    if not TYPE_CHECKING:  # type checkers read the fields

        def __init__(self, /, **data: Any) -> None:
            try:
                super().__init__(**data)
            except ValidationError as error:
                raise SpecError(_message(type(self), error)) from None


def _message(model: type[BaseModel], error: ValidationError) -> str:
    """The first mistake that pydantic found, in one line."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"{model.__name__} has no field {field!r}{did_you_mean(field, model.model_fields)}"
    if first["type"] == "missing":
        return f"{model.__name__}: {field} is missing"
    reason = first["msg"].removeprefix("Value error, ")
    reason = f"{reason[:1].lower()}{reason[1:]}"
    place = f"{model.__name__}: {field}: " if field else f"{model.__name__}: "
    return f"{place}{reason}, got {clipped(repr(first['input']))}" if field else place + reason


class ParamSpec(Spec):
    """One parameter tensor of a network.

    Attributes:
        name: Qualified name, as `named_parameters()` gives it.
        shape: Size of each dimension; `()` for a scalar.
        kind: Role of the parameter in its layer.
        layer: Qualified name of the layer that owns it; empty if unknown.
        fan_in: Inputs that feed one output of the layer. For a weight it follows from
            the shape `[out, in, *kernel]` unless given; for a bias it is the fan-in of
            its layer's weight, `None` where there is none.
        fan_out: Outputs that one input of the layer feeds, likewise (of a grouped
            convolution those of its group).
    """

    name: str = Field(min_length=1)
    shape: tuple[NonNegativeInt, ...]
    kind: ParamKind = ParamKind.OTHER
    layer: str = ""
    fan_in: NonNegativeInt | None = None
    fan_out: NonNegativeInt | None = None

    @model_validator(mode="before")
    @classmethod
    def _fans_of_a_weight(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("kind") != ParamKind.WEIGHT:
            return data
        shape = data.get("shape", ())
        if (
            not isinstance(shape, (list, tuple))
            or len(shape) < 2
            or not all(isinstance(n, int) for n in shape)
        ):
            return data
        kernel = math.prod(shape[2:])
        # Given fans win, because `data` comes last.
        return {"fan_in": shape[1] * kernel, "fan_out": shape[0] * kernel, **data}

    @cached_property
    def numel(self) -> int:
        """Number of scalars."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.name} {list(self.shape)}"


@runtime_checkable
class ModuleLike(Protocol):
    """The part of an `nn.Module` that `TargetSpec.of` reads."""

    def named_modules(self) -> Iterator[tuple[str, Any]]:
        """Submodules with their qualified names, the module itself first, each once."""
        ...


@runtime_checkable
class DeclaresKinds(Protocol):
    """A layer that declares the kinds of its parameters.

    Standard layers need not: their kinds follow from their types.
    """

    param_kinds: Mapping[str, str]
    """From the name of a parameter in the layer to the value of its `ParamKind`."""


@runtime_checkable
class DeclaresFans(Protocol):
    """A layer whose weights are not shaped `[out, in, *kernel]`."""

    @property
    def param_fans(self) -> Mapping[str, tuple[int, int]]:
        """From the name of a parameter in the layer to its fan-in and fan-out."""
        ...


# Names of layer classes, looked up along the method resolution order: subclasses count,
# and torch need not be imported.
_NORMS = frozenset({"_NormBase", "LayerNorm", "GroupNorm", "RMSNorm"})
_EMBEDDINGS = frozenset({"Embedding", "EmbeddingBag"})
_TRANSPOSED = "_ConvTransposeNd"
_PARAMETRIZED = ".parametrizations."


def params_of(module: ModuleLike) -> Iterator[ParamSpec]:
    """The specs of all parameters of a module, in the order of `named_parameters()`.

    Tied parameters appear once. The type of the owning layer tells the kind: norms have
    scales and shifts, `nn.Embedding` an embedding, every other layer weights (two or
    more dimensions) and biases (named so). Other layers implement `DeclaresKinds` and,
    if their weights are not shaped `[out, in, *kernel]`, `DeclaresFans`.

    Raises:
        SpecError: This is no module, or a parameter of a lazy module has no shape yet.
    """
    if isinstance(module, type):
        raise SpecError(f"a module is expected, got the class {module.__name__}: build it first")
    if not isinstance(module, ModuleLike):
        raise SpecError(f"a module is expected, got {clipped(repr(module))}")
    modules = dict(module.named_modules())
    # Ids, since tensors compare by their entries.
    seen: set[int] = set()
    for owner_name, owner in modules.items():
        # Layer by layer, since the type of the owner determines the kind.
        for attribute, tensor in owner.named_parameters(recurse=False):
            # A tied parameter belongs to the layer where it is found first.
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            name = f"{owner_name}.{attribute}" if owner_name else attribute
            layer_name, tensor_name = owner_name, attribute
            if (
                _PARAMETRIZED in f".{name}"
            ):  # torch.nn.utils.parametrize: LAYER.parametrizations.TENSOR.original
                layer_name, _, rest = f".{name}".partition(_PARAMETRIZED)
                layer_name, tensor_name = layer_name.removeprefix("."), rest.partition(".")[0]
            layer = modules[layer_name]
            shape = _shape_of(name, tensor)
            kind = _kind_of(layer, tensor_name, shape)
            # Declared fans come first: only the layer knows an unusual layout.
            declared = layer.param_fans if isinstance(layer, DeclaresFans) else {}
            fan_in, fan_out = declared.get(tensor_name) or _fans(layer, kind, tensor_name, shape)
            yield ParamSpec(
                name=name,
                shape=shape,
                kind=kind,
                layer=layer_name,
                fan_in=fan_in,
                fan_out=fan_out,
            )


def _shape_of(name: str, tensor: Any) -> tuple[int, ...]:
    try:
        return tuple(tensor.shape)
    # Lazy modules do not know their sizes before the first call.
    except RuntimeError:
        raise SpecError(
            f"{name} has no shape yet: run the lazy module once, then its parameters are known"
        ) from None


def _types(layer: object) -> frozenset[str]:
    return frozenset(cls.__name__ for cls in type(layer).__mro__)


def _kind_of(layer: Any, attribute: str, shape: tuple[int, ...]) -> ParamKind:
    if isinstance(layer, DeclaresKinds) and attribute in layer.param_kinds:
        return ParamKind(layer.param_kinds[attribute])
    types = _types(layer)
    if types & _NORMS:
        return ParamKind.NORM_SHIFT if "bias" in attribute else ParamKind.NORM_SCALE
    if types & _EMBEDDINGS:
        return ParamKind.EMBEDDING
    if "bias" in attribute:
        return ParamKind.BIAS
    if "embedding" in attribute:
        return ParamKind.EMBEDDING
    # A weight by name, or a matrix under a name of its own; not a token [1, 1, C], a
    # position [1, T, C] or a scale [C, 1, 1].
    is_weight = len(shape) > 1 and ("weight" in attribute or min(shape[:2]) > 1)
    return ParamKind.WEIGHT if is_weight else ParamKind.OTHER


def _fans(
    layer: Any, kind: ParamKind, attribute: str, shape: tuple[int, ...]
) -> tuple[int | None, int | None]:
    """Fan-in and fan-out of the layer's weight, for its weights and biases."""
    if kind not in {ParamKind.WEIGHT, ParamKind.BIAS}:
        return None, None
    if kind is ParamKind.BIAS:
        # A bias has the fans of its own weight, or of the first one there is.
        shapes = {name: tuple(p.shape) for name, p in layer.named_parameters() if p.ndim > 1}
        shape = shapes.get(attribute.replace("bias", "weight"), next(iter(shapes.values()), ()))
    if len(shape) < 2:
        return None, None
    kernel = math.prod(shape[2:])
    # Convolutions have groups; other layers have a single one.
    groups = getattr(layer, "groups", 1)
    if _TRANSPOSED in _types(layer):  # stored as [in, out / groups, *kernel]
        return shape[0] // groups * kernel, shape[1] * kernel
    return shape[1] * kernel, shape[0] // groups * kernel
