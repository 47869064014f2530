"""Sums of squared per-sample gradients, by the fastest way that a network allows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp

from hypnet_core.errors import SpecError
from hypnet_core.protocols import BatchLike
from hypnet_core.tasks import Batch
from hypnet_zoo.regularizers._importance.closed_forms import (
    ClosedForms,
    NoClosedForm,
    Outputs,
    Squares,
    add_squares,
    squared,
)
from hypnet_zoo.regularizers._importance.data import rows_of

Gradients: TypeAlias = Literal["auto", "closed_form", "vmap", "loop"]
Directed: TypeAlias = Callable[[Tensor, BatchLike], Iterator[Tensor]]
"""From outputs and samples to the directions that gradients are taken in."""

# Why one of the faster ways may fail.
_IMPOSSIBLE = (
    NoClosedForm,
    RuntimeError,
    NotImplementedError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
)
# Relative difference between two ways, far above rounding, far below a wrong result.
_ROUNDING = 1e-2
# Numbers that the directions of one block may take.
_MOST_NUMBERS = 1 << 24
# Bytes that the gradients of one block of samples may take: larger blocks leave the
# cache of a processor, and smaller ones do not fill an accelerator.
_BYTES_ON_CPU, _BYTES_ELSEWHERE = 1 << 23, 1 << 28
# Samples that closed forms are compared with the loop on.
_TRIAL = 2


class SquaredGradients:
    r"""Sums over samples $b$ and directions $v$ of $(J_b^\top v_b)^2$.

    Args:
        module: The module that owns the parameters.
        parameters: The parameters by name.
        outputs: From a batch to one row per sample, through the module.
        directions: The directions $v$ of a batch.
        way: Closed forms, `torch.func.vmap`, a loop over batches of one, or the first
            of these that works.

    Raises:
        SpecError: The way that was asked for is impossible.
    """

    def __init__(
        self,
        module: nn.Module,
        parameters: Mapping[str, Tensor],
        outputs: Outputs,
        directions: Directed,
        way: Gradients = "auto",
    ) -> None:
        self.parameters = parameters
        self.outputs = outputs
        self.directions = directions
        self.asked = way
        self.way = way
        """The way that is used, known after the first batch."""
        self._call = _Call(module, outputs)
        self._forms: ClosedForms | None = None
        if way in {"auto", "closed_form"}:
            try:
                self._forms = ClosedForms(module, parameters)
            except NoClosedForm:
                self._refuse("closed_form")

    def __call__(self, batch: BatchLike) -> Squares:
        """The sums over one batch; parameters without influence may be missing."""
        if self.way == "auto":
            self.way = self._choose(batch)
        if self._forms is not None and self.way == "closed_form":
            try:
                return self._forms.squares(self.outputs, batch, self.directions)
            # A forward pass may do something else with other samples.
            except NoClosedForm:
                self._refuse("closed_form")
                self.way = "auto"
                return self(batch)
        with torch.no_grad():
            outputs = self.outputs(batch)
        # There may be as many directions as outputs, each as large as they.
        step = max(1, _MOST_NUMBERS // max(1, outputs[0].numel() ** 2))
        squares = self._vmapped if self.way == "vmap" else self._looped
        total: Squares = {}
        for start in range(0, len(batch), step):
            rows = slice(start, start + step)
            part = rows_of(batch, rows)
            directions = list(self.directions(outputs[rows], part))
            add_squares(total, squares(part, directions))
        return total

    def _refuse(self, way: Gradients) -> None:
        if self.asked == way:
            raise SpecError(
                f"gradients={way!r} is impossible for this model: a chosen parameter does not"
                " belong to a layer that is applied once, to one row per sample"
            )
        self._forms = None

    def _choose(self, batch: BatchLike) -> Gradients:
        """The first way that gives what the loop gives, on a few samples."""
        trial = rows_of(batch, slice(_TRIAL))
        with torch.no_grad():
            outputs = self.outputs(trial)
        # Any direction shows whether the Jacobian is right; drawing one would change
        # what the caller's generator draws next.
        places = torch.arange(outputs.numel(), device=outputs.device, dtype=outputs.dtype)
        directions = [places.cos().view_as(outputs)]
        expected = self._looped(trial, directions)
        ways: dict[Gradients, Callable[[], Squares]] = {}
        forms = self._forms
        if forms is not None:
            ways["closed_form"] = lambda: forms.squares(
                self.outputs, trial, lambda *_: iter(directions)
            )
        ways["vmap"] = lambda: self._vmapped(trial, directions)
        for way, squares in ways.items():
            # The loop has just shown that the model itself works: what fails here is a
            # missing rule of vmap, or Python that looks at values.
            with suppress(*_IMPOSSIBLE, UserWarning), warnings.catch_warnings():
                # Torch's own fall-back, a loop that is slower than ours, warns.
                warnings.filterwarnings("error", message=".*batching rule")
                if _agree(squares(), expected):
                    return way
        return "loop"

    def _looped(self, batch: BatchLike, directions: Sequence[Tensor]) -> Squares:
        """A loop over batches of one: the slow way that every model allows."""
        total: Squares = {}
        names, tensors = list(self.parameters), list(self.parameters.values())
        for row in range(len(batch)):
            outputs = self.outputs(rows_of(batch, slice(row, row + 1)))
            if not outputs.requires_grad:
                raise SpecError("the outputs do not depend on the chosen parameters")
            for direction in directions:
                gradients: Sequence[Tensor | None] = torch.autograd.grad(
                    outputs,
                    tensors,
                    direction[row : row + 1].to(outputs),
                    retain_graph=True,
                    allow_unused=True,
                )
                found = zip(names, gradients, strict=True)
                add_squares(total, {name: squared(g) for name, g in found if g is not None})
        return total

    def _vmapped(self, batch: BatchLike, directions: Sequence[Tensor]) -> Squares:
        """All samples of a block at once, as many as fit the memory."""
        parameters = {name: tensor.detach() for name, tensor in self.parameters.items()}
        stacked = torch.stack(list(directions), dim=1)
        on_cpu = stacked.device.type == "cpu"
        size = sum(tensor.nbytes for tensor in parameters.values())
        block = max(1, (_BYTES_ON_CPU if on_cpu else _BYTES_ELSEWHERE) // max(1, size))
        each = torch.func.vmap(partial(self._one, parameters), randomness="different")
        total: Squares = {}
        for start in range(0, len(batch), block):
            rows = slice(start, start + block)
            part = rows_of(batch, rows)
            tensors = {"x": part.x, "y": part.y, "ids": part.ids}
            if part.lengths is not None:
                tensors["lengths"] = part.lengths
            found = each(tensors, stacked[rows])
            add_squares(total, {name: squares.sum(0) for name, squares in found.items()})
        return total

    def _one(
        self, parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor], directions: Tensor
    ) -> Squares:
        """Squares of one sample, summed over directions; runs under vmap."""
        batch = Batch(**{name: tensor[None] for name, tensor in tensors.items()})

        def run(changed: Mapping[str, Tensor]) -> Tensor:
            moved = {f"module.{name}": tensor for name, tensor in changed.items()}
            outputs: Tensor = functional_call(self._call, moved, (batch,))
            return outputs[0]

        pulled: Any = vjp(run, parameters)
        outputs, pull = pulled
        total: Squares = {}
        for direction in directions.unbind(0):
            gradients = pull(direction.to(outputs))[0]
            add_squares(total, {name: squared(g) for name, g in gradients.items()})
        return total


class _Call(nn.Module):
    """A call through a module, as a module: its parameters can be replaced."""

    def __init__(self, module: nn.Module, outputs: Outputs) -> None:
        super().__init__()
        self.module = module
        self.outputs = outputs

    def forward(self, batch: BatchLike) -> Tensor:
        return self.outputs(batch)


def _agree(found: Squares, expected: Squares) -> bool:
    """Whether both are the same but for rounding, tensor by tensor."""
    for name in expected.keys() | found.keys():
        pair = [squares.get(name) for squares in (found, expected)]
        known = [tensor for tensor in pair if tensor is not None]
        # A parameter without influence is missing, or has zeros.
        first, second = known if len(known) == 2 else (known[0], torch.zeros_like(known[0]))
        if not (first - second).norm() <= _ROUNDING * second.norm():
            return False
    return True
