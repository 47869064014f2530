"""Assembly of a target's flat weights from chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from hypnet_core.errors import SpecError
from hypnet_core.networks import Weights
from hypnet_core.specs import ParamSpec, TargetSpec
from hypnet_zoo.hypernets._chunking.documents import Chunking, Piece, excess_of, pieces_of

AssembleFunction: TypeAlias = Callable[
    [list[list[Tensor]]], "Sequence[Tensor] | Mapping[str, Tensor]"
]
"""From chunks, each a list of tensors `[B, *shape]`, to the target's tensors.

The result is in the order of the target, or by name.
"""


class Assembly:
    """Assembles a target from chunks, by a document or by a function.

    Args:
        target: The parameters to assemble.
        chunking: The chunks, and how they are assembled unless a function does it.
        function: Assembles instead. It may cut, lay end to end and leave out, but not
            change values.

    Raises:
        SpecError: The target is not filled exactly.
    """

    def __init__(
        self, target: TargetSpec, chunking: Chunking, function: AssembleFunction | None
    ) -> None:
        self.target = target
        self.chunking = chunking
        self.function = function
        self.parts: Mapping[Piece, list[ParamSpec]]
        """The tensors of the target that each piece is a part of."""
        if function is None:
            chunking.check(target)
            self.parts = pieces_of(chunking, target)
            return
        if chunking.assembly:
            raise SpecError(
                "a function assembles the chunks: the assembly of the chunking must be empty"
            )
        chunking.check_groups()
        # A function cannot be read like a document, so a trial run shows its effect.
        self.parts = self._trace(function)
        chunking.warn_of_unused(self.parts)

    def __call__(self, outputs: Sequence[Tensor]) -> Tensor:
        """Map one tensor `[B, chunks, scalars]` per group to weights `[B, numel]`."""
        # One view `[B, scalars]` for each (group, tensor) and chunk. One `unbind` per
        # tensor keeps the graph small; indexing would add a node for every chunk.
        written = {
            (number, tensor): rows.unbind(1)
            for number, (group, output) in enumerate(
                zip(self.chunking.groups, outputs, strict=True)
            )
            for tensor, rows in enumerate(output.split(group.sizes, dim=2))
        }
        if self.function is None:
            # All rows of all tensors in one concatenation.
            return torch.cat(
                [
                    part
                    for param in self.target.params
                    if param.numel
                    for part in self._laid(param, written)
                ],
                dim=1,
            )
        chunks = [
            [
                # `unflatten` refuses an empty shape, so a scalar passes through (1,).
                written[number, tensor][chunk].unflatten(1, shape or (1,)).view(-1, *shape)
                for tensor, shape in enumerate(group.shapes)
            ]
            for number, group in enumerate(self.chunking.groups)
            for chunk in range(group.count)
        ]
        return self._named(self.function(chunks)).flat

    def _laid(
        self, param: ParamSpec, written: Mapping[tuple[int, int], Sequence[Tensor]]
    ) -> list[Tensor]:
        """The flat pieces of a tensor, in order."""
        layout = self.chunking.assembly[param.name]
        flat = [written[group, tensor][chunk] for group, chunk, tensor in layout.pieces]
        if layout.dim == 0 or len(flat) == 1:
            return flat  # the caller joins the rows of all tensors at once
        pieces = [
            rows.unflatten(1, self.chunking.shape_of(piece))
            for rows, piece in zip(flat, layout.pieces, strict=True)
        ]
        # The batch comes first, so dimensions of the tensor are one further.
        return [torch.cat(pieces, dim=1 + layout.dim).flatten(1)]

    def _named(self, result: Sequence[Tensor] | Mapping[str, Tensor]) -> Weights:
        if not isinstance(result, Mapping):
            if not isinstance(result, Sequence):
                raise SpecError(
                    "the assembly must give a list of tensors or a mapping, gave a"
                    f" {type(result).__name__}"
                )
            if len(result) != len(self.target):
                raise SpecError(
                    f"the assembly gives {len(result)} tensors, the target has {len(self.target)}"
                )
            result = dict(zip(self.target.names, result, strict=True))
        for param in self.target.params:
            if param.name in result and tuple(result[param.name].shape[1:]) != param.shape:
                found = result[param.name]
                surplus = found[0].numel() - param.numel
                raise SpecError(
                    f"{param}: the assembly gives a tensor of shape {list(found.shape[1:])}"
                    + (f": {excess_of(surplus)}" if surplus else "")
                )
        return Weights.of(self.target, result)

    def _trace(self, function: AssembleFunction) -> Mapping[Piece, list[ParamSpec]]:
        """Run the function on numbered pieces to see which tensors they reach."""
        pieces = list(self.chunking.all_pieces())
        chunks: dict[tuple[int, int], list[Tensor]] = {}
        for number, piece in enumerate(pieces):
            # Float64 holds the numbers of all pieces exactly, and assembling must not
            # change them.
            numbered = torch.full(
                (1, *self.chunking.shape_of(piece)), float(number), dtype=torch.float64
            )
            chunks.setdefault((piece.group, piece.chunk), []).append(numbered)
        weights = self._named(function(list(chunks.values())))
        parts: dict[Piece, list[ParamSpec]] = {}
        for param in self.target.params:
            # The numbers that are left tell which pieces reached this tensor.
            for number in weights[param.name].unique().tolist():
                if number not in range(len(pieces)):
                    raise SpecError(
                        f"{param}: the assembly changes values; it may only cut, lay end to end and"
                        " leave out"
                    )
                parts.setdefault(pieces[int(number)], []).append(param)
        return parts
