"""Weights of many sets as operands of one call.

The sets are laid along the first dimension of the activations. Where an operation reads
an `Operand`, each set's rows meet the weights of that set: the base multiplies all rows
at once, and a batched product of the factors is added.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from hypnet_core.networks.hollow import StandIn

Handlers = Mapping[Any, Callable[..., Any]]
"""By operation of torch: the function of the same arguments that takes operands."""


class UnfactoredError(RuntimeError):
    """Raised where an operation reads an operand that it must have as a whole."""


@dataclass
class Sets:
    """The sets of weights of one call.

    Attributes:
        count: Number of sets.
        rows: Entries of all sets together in the first dimension of the activations.
        reads: What has read operands so far: place, operation, rows for each row of
            the inputs (0 where all share one), and further sizes.
        handlers: The operations that take operands.
        refusal: Why the call was given up, if it was.
    """

    count: int
    rows: int
    handlers: Handlers
    reads: list[tuple[str, str, float, tuple[int, ...]]] = field(default_factory=list)
    refusal: str = ""

    def refuse(self, reason: str) -> NoReturn:
        """Give up, and remember why: a module may catch the error.

        Raises:
            UnfactoredError: Always.
        """
        self.refusal = self.refusal or reason
        raise UnfactoredError(reason)

    def along(self, x: Tensor, operand: Operand, operation: str) -> Tensor:
        """The activations that meet an operand, all rows in front: `[k · rows, …]`.

        Raises:
            UnfactoredError: It is not known which rows belong to which set.
        """
        length = x.shape[0] if x.ndim else 0
        if length == 1:  # such as the positions of tokens, the same for all
            x, length = x.expand(self.rows, *x.shape[1:]), 0
        elif not length or length % self.rows:
            self.refuse(
                f"{operand.place} meets activations of shape {list(x.shape)}, which do not begin"
                f" with {self.rows} rows"
            )
        self.reads.append((operand.place, operation, length / self.rows, tuple(x.shape[1:])))
        return x


@dataclass(eq=False)
class Operand(StandIn):
    """A weight of which each set has its own, in the place of a parameter.

    Either `whole` or the factors are there.

    Attributes:
        place: The name of the weight.
        shape: Shape of one set's weight.
        sets: The sets of this call.
        whole: One tensor for each set, `[count, *shape]`.
        base: What all sets share, `[*shape]`.
        down: The second factor `[count, r, columns]`.
        up: The first factor `[count, out, r]`.
        scale: In front of the product.
    """

    place: str
    shape: torch.Size
    sets: Sets
    whole: Tensor | None = None
    base: Tensor | None = None
    down: Tensor | None = None
    up: Tensor | None = None
    scale: float = 1.0

    @property
    def _tensors(self) -> list[Tensor | None]:
        return [self.whole, self.base, self.down, self.up]

    @property
    def _any(self) -> Tensor:
        return next(tensor for tensor in self._tensors if tensor is not None)

    @property
    def dtype(self) -> torch.dtype:
        """Precision, as of a parameter."""
        return self._any.dtype

    @property
    def device(self) -> torch.device:
        """Device, as of a parameter."""
        return self._any.device

    @property
    def is_cuda(self) -> bool:
        """Whether it is on a GPU, as of a parameter."""
        return self._any.is_cuda

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient is asked for, as of a parameter."""
        return any(tensor is not None and tensor.requires_grad for tensor in self._tensors)

    def is_floating_point(self) -> bool:
        """True, as of a parameter."""
        return True

    def rows_between(self, start: int, stop: int) -> Operand:
        """The weight's rows from `start` to `stop`."""
        whole = None if self.whole is None else self.whole[:, start:stop]
        base = None if self.base is None else self.base[start:stop]
        up = None if self.up is None else self.up[:, start:stop]
        shape = torch.Size((stop - start, *self.shape[1:]))
        return replace(self, shape=shape, whole=whole, base=base, up=up)

    def t(self) -> Operand:
        """The transpose of a matrix."""
        if self.ndim != 2:
            self.sets.refuse(f"{self.place} is transposed")
        return replace(
            self,
            shape=torch.Size(reversed(self.shape)),
            whole=None if self.whole is None else self.whole.mT,
            base=None if self.base is None else self.base.t(),
            down=None if self.up is None else self.up.mT,
            up=None if self.down is None else self.down.mT,
        )

    T = property(t)

    def multiplied(self) -> Tensor:
        """The whole tensor for each set, `[count, *shape]`."""
        if self.whole is not None:
            return self.whole
        if self.down is None or self.up is None:
            raise AssertionError(f"{self.place} is neither whole nor factored")
        whole = (self.scale * self.up @ self.down).view(-1, *self.shape)
        return whole if self.base is None else whole + self.base

    def each(self, x: Tensor, operation: str) -> Tensor:
        """A whole tensor for each row of activations `[rows, …]`."""
        shape = self.shape
        if len(shape) == x.ndim and shape[0] == 1:
            shape = shape[1:]  # the parameter has a dimension for the batch
        if len(shape) >= x.ndim:
            self.sets.refuse(f"{self.place} meets activations of shape {list(x.shape)}")
        if self.sets.along(x, self, operation).shape[0] != x.shape[0]:
            self.sets.refuse(f"{self.place} meets activations that all sets share")
        # Factors are multiplied out where that is no more than the activations.
        if self.whole is None and self.sets.count * self.numel() > x.numel():
            self.sets.refuse(f"{operation} reads {self.place} as a whole")
        rows = self.multiplied().repeat_interleave(x.shape[0] // self.sets.count, dim=0)
        ones = (1,) * (x.ndim - 1 - len(shape))
        return rows.reshape(x.shape[0], *ones, *shape)

    def expand(self, *sizes: int) -> Tensor:
        """A parameter `[1, …]` such as the token of a class, for each row."""
        if self.shape[0] != 1 or sizes[0] != self.sets.rows:
            self.sets.refuse(f"{self.place} is expanded to {list(sizes)}")
        rows = self.multiplied().repeat_interleave(self.sets.rows // self.sets.count, dim=0)
        return rows.reshape(self.sets.rows, *self.shape[1:]).expand(*sizes)

    def to(self, *args: Any, **kwargs: Any) -> Operand:
        """Cast it."""
        cast = [None if t is None else t.to(*args, **kwargs) for t in self._tensors]
        whole, base, down, up = cast
        return replace(self, whole=whole, base=base, down=down, up=up)

    def float(self) -> Operand:
        """Cast it to single precision."""
        return self.to(torch.float32)

    def __add__(self, other: Any) -> Any:
        return elementwise(torch.add, self, other)

    def __mul__(self, other: Any) -> Any:
        return elementwise(torch.mul, self, other)

    __radd__ = __add__
    __rmul__ = __mul__

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        first = next(arg for arg in pytree.tree_leaves((args, kwargs), is_leaf=_is) if _is(arg))
        handler = first.sets.handlers.get(function)
        if handler is None:
            name = getattr(function, "__name__", str(function))
            first.sets.refuse(f"{name} reads {first.place} as a whole")
        return handler(*args, **(kwargs or {}))

    def __getattr__(self, attribute: str) -> NoReturn:
        # Protocols such as copying ask for methods that are not there.
        if attribute.startswith("__") or "sets" not in self.__dict__:
            raise AttributeError(attribute)
        self.sets.refuse(f"the module reads {self.place}.{attribute}")

    def __getitem__(self, index: Any) -> NoReturn:
        self.sets.refuse(f"the module reads a part of {self.place}")


def _is(value: Any) -> bool:
    return isinstance(value, Operand)


def elementwise(function: Callable[..., Tensor], one: Any, other: Any) -> Any:
    """A sum or a product in which operands take part."""
    operand, x = (one, other) if isinstance(one, Operand) else (other, one)
    if isinstance(x, Tensor) and x.ndim:
        return function(x, operand.each(x, function.__name__))
    if operand.whole is None or isinstance(x, Operand):
        operand.sets.refuse(f"{function.__name__} reads {operand.place} as a whole")
    return replace(operand, whole=function(operand.whole, x))


def _flatten(operand: Operand) -> tuple[list[Any], Any]:
    leaves = [operand.whole, operand.base, operand.down, operand.up]
    return leaves, (operand.place, operand.shape, operand.sets, operand.scale)


def _unflatten(leaves: Any, context: Any) -> Operand:
    place, shape, sets, scale = context
    whole, base, down, up = leaves
    return Operand(place, shape, sets, whole, base, down, up, scale)


# Modules that recompute activations run as one node of the graph, whose inputs are the
# tensors inside.
pytree.register_pytree_node(Operand, _flatten, _unflatten)
