"""Specs of targets, conditions and tasks, shared by all packages.

Nothing here needs torch. A spec is frozen, hashable and round-trips through JSON.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Literal, Self

from pydantic import NonNegativeInt, PositiveInt, field_validator

from hypnet_core.errors import SpecError, clipped, did_you_mean
from hypnet_core.params import ModuleLike, ParamKind, ParamSpec, Spec, params_of

__all__ = ["ConditionSpec", "ParamKind", "ParamSpec", "Spec", "TargetSpec", "TaskKind", "TaskSpec"]


class TargetSpec(Spec):
    """The parameters that a hypernetwork must generate, in order.

    One flat vector holds them all: parameter `i` occupies `flat[offsets[i] : offsets[i]
    + sizes[i]]`, row-major.

    Example:
        >>> target = TargetSpec.from_shapes([[10, 5], [10]])
        >>> target.numel, target.names, target.offsets
        (60, ('0', '1'), (0, 50))
        >>> TargetSpec.model_validate_json(target.model_dump_json()) == target
        True
    """

    params: tuple[ParamSpec, ...]

    @field_validator("params")
    @classmethod
    def _names_are_unique(cls, params: tuple[ParamSpec, ...]) -> tuple[ParamSpec, ...]:
        seen: set[str] = set()
        for param in params:
            if param.name in seen:
                raise ValueError(f"the parameter name {param.name!r} appears twice")
            seen.add(param.name)
        return params

    @classmethod
    def of(cls, module: ModuleLike) -> Self:
        """The spec of all parameters of a module, in the order of `named_parameters()`.

        Tied parameters appear once. Kinds come from the types of the layers, see
        `hypnet_core.params.params_of`.
        """
        return cls(params=tuple(params_of(module)))

    @classmethod
    def from_shapes(
        cls, shapes: Iterable[Sequence[int]], *, names: Sequence[str] | None = None
    ) -> Self:
        """A spec from plain shapes.

        Tensors of two or more dimensions are weights, others biases of the weight
        before.

        Args:
            shapes: One shape per parameter.
            names: One name per parameter; `"0"`, `"1"`, … by default.

        Raises:
            SpecError: The numbers of names and shapes differ, or a size is no whole
                number from 0.
        """
        try:
            all_shapes = [tuple(map(operator.index, shape)) for shape in shapes]
        except TypeError:
            raise SpecError(
                f"shapes are written as [[10, 5], [10]], got {clipped(repr(shapes))}"
            ) from None
        if names is None:
            names = [str(i) for i in range(len(all_shapes))]
        if len(names) != len(all_shapes):
            raise SpecError(f"{len(names)} names were given for {len(all_shapes)} shapes")
        params: list[ParamSpec] = []
        weight: ParamSpec | None = None
        for name, shape in zip(names, all_shapes, strict=True):
            if any(n < 0 for n in shape):
                raise SpecError(
                    f"parameter {name!r}: sizes must not be negative, got {list(shape)}"
                )
            if len(shape) > 1:
                weight = ParamSpec(name=name, shape=shape, kind=ParamKind.WEIGHT)
                params.append(weight)
            else:
                fan_in, fan_out = (
                    (None, None) if weight is None else (weight.fan_in, weight.fan_out)
                )
                params.append(
                    ParamSpec(
                        name=name, shape=shape, kind=ParamKind.BIAS, fan_in=fan_in, fan_out=fan_out
                    )
                )
        return cls(params=tuple(params))

    def __len__(self) -> int:
        return len(self.params)

    # Over parameters, not over the fields of pydantic.
    def __iter__(self) -> Iterator[ParamSpec]:  # type: ignore[override]
        return iter(self.params)

    def __getitem__(self, name: str) -> ParamSpec:
        try:
            return self.params[self._index[name]]
        except KeyError:
            raise SpecError(
                f"there is no parameter {name!r}{did_you_mean(name, self.names)}"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._index

    @cached_property
    def _index(self) -> dict[str, int]:
        # Cached, because look-ups by name are frequent.
        return {param.name: i for i, param in enumerate(self.params)}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Qualified names."""
        return tuple(param.name for param in self.params)

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes."""
        return tuple(param.shape for param in self.params)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of scalars of each parameter."""
        return tuple(param.numel for param in self.params)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Start of each parameter in the flat vector."""
        starts, total = [], 0
        for size in self.sizes:
            starts.append(total)
            total += size
        return tuple(starts)

    @cached_property
    def numel(self) -> int:
        """Total number of scalars."""
        return sum(self.sizes)

    def slice_of(self, name: str) -> slice:
        """Slice of the parameter `name` in the flat vector."""
        param = self[name]
        start = self.offsets[self._index[name]]
        return slice(start, start + param.numel)

    def select(
        self,
        *,
        kinds: Iterable[ParamKind | str] | None = None,
        names: str | Iterable[str] | None = None,
        where: Callable[[ParamSpec], bool] | None = None,
    ) -> TargetSpec:
        """The parameters that fulfil all given criteria, in the same order.

        Args:
            kinds: Kinds to keep.
            names: Globs over qualified names (`"layer4.*"`), at least one of which must
                match.
            where: A predicate.

        Raises:
            SpecError: A kind does not exist, or a glob matches no parameter.
        """
        keep = list(self.params)
        if kinds is not None:
            wanted = {_kind(kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)}
            keep = [param for param in keep if param.kind in wanted]
        if names is not None:
            globs = [names] if isinstance(names, str) else list(names)
            for glob in globs:
                if not any(fnmatchcase(name, glob) for name in self.names):
                    raise SpecError(
                        f"no parameter matches {glob!r}{did_you_mean(glob, self.names)}"
                    )
            keep = [param for param in keep if any(fnmatchcase(param.name, glob) for glob in globs)]
        if where is not None:
            keep = [param for param in keep if where(param)]
        return TargetSpec(params=tuple(keep))

    def output_params(self) -> tuple[ParamSpec, ...]:
        """The weight and the bias, if any, of the fully connected output layer.

        That is the layer of the last two-dimensional weight, provided that no other
        layer's weight comes after it.

        Raises:
            SpecError: The last weight is not two-dimensional: the network has no fully
                connected output layer.
        """
        weights = [param for param in self.params if param.kind is ParamKind.WEIGHT]
        if not weights or len(weights[-1].shape) != 2:
            last = f"its last weight is {weights[-1]}" if weights else "it has no weight"
            raise SpecError(f"the target has no fully connected output layer: {last}")
        weight = weights[-1]
        after = self.params[self._index[weight.name] + 1 :] if not weight.layer else self.params
        # Plain shapes know no layers: there the bias follows its weight.
        biases = (
            param
            for param in after
            if param.kind is ParamKind.BIAS
            and param.layer == weight.layer
            and param.shape == weight.shape[:1]
        )
        bias = next(biases, None)
        return (weight,) if bias is None else (weight, bias)

    def output_mask(self, units: Iterable[int]) -> tuple[bool, ...]:
        """A mask of the scalars that matter if only some output units are used.

        It covers everything before the output layer and the rows of `units` in it.

        Args:
            units: Indices of output units.

        Returns:
            One flag per scalar, `numel` in all.

        Raises:
            SpecError: There is no fully connected output layer, or it has no such unit.
        """
        outputs = self.output_params()
        count = outputs[0].shape[0]  # rows of the weight
        wanted = set(units)
        for unit in sorted(wanted):
            if not 0 <= unit < count:
                raise SpecError(
                    f"there is no output unit {unit}: the output layer has {count} (0 to"
                    f" {count - 1})"
                )
        mask = [True] * self.numel
        for param in outputs:
            start, row = self.offsets[self._index[param.name]], param.numel // count
            for unit in range(count):
                # A row per unit: for the bias it is one scalar.
                mask[start + unit * row : start + (unit + 1) * row] = [unit in wanted] * row
        return tuple(mask)


def _kind(kind: ParamKind | str) -> ParamKind:
    try:
        return ParamKind(kind)
    except ValueError:
        raise SpecError(
            f"there is no parameter kind {kind!r}{did_you_mean(kind, [k.value for k in ParamKind])}"
        ) from None


class ConditionSpec(Spec):
    r"""The inputs of a hypernetwork.

    The input of a hypernetwork is $[e; u]$: the embedding $e$ of a condition, and an
    unconditional vector $u$ that the caller passes.

    Attributes:
        count: How many conditions have a learned embedding. With 0 the caller passes
            $e$ at every call.
        size: Length of $e$; 0 for none.
        input_size: Length of $u$ (noise, for instance); 0 for none.
    """

    count: NonNegativeInt = 1
    size: NonNegativeInt = 8
    input_size: NonNegativeInt = 0


TaskKind = Literal["classification", "regression"]


class TaskSpec(Spec):
    """The interface of a task: shapes of one sample, and the kind of problem.

    Attributes:
        name: The task's name.
        kind: `"classification"` or `"regression"`.
        in_shape: `(C, H, W)` for images, `(F,)` for vectors and for one frame of a
            sequence.
        out_shape: `(classes,)`, or the shape of one regression target.
        sequence: Whether samples are sequences `[T, *in_shape]`.
        labels: The labels of the original dataset, in the order of this task's classes;
            `None` if they are the same or there are none.
        normalization: Mean and standard deviation that were subtracted from and divided
            into the inputs, per channel.
    """

    name: str
    kind: TaskKind
    in_shape: tuple[PositiveInt, ...]
    out_shape: tuple[PositiveInt, ...]
    sequence: bool = False
    labels: tuple[int, ...] | None = None
    normalization: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @property
    def classes(self) -> int:
        """Number of classes.

        Raises:
            SpecError: The task is not a classification.
        """
        if self.kind != "classification":
            raise SpecError(f"task {self.name!r} is a {self.kind}: it has no classes")
        return self.out_shape[0]
