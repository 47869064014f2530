"""Chunking documents: how chunks make up a target, checked against the target."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import Field, NonNegativeInt, PositiveInt

from hypnet_core.errors import SpecError, did_you_mean, listed
from hypnet_core.specs import ParamSpec, Spec, TargetSpec

_logger = logging.getLogger(__name__)


class Piece(NamedTuple):
    """One tensor of one chunk.

    Attributes:
        group: Number of the group.
        chunk: Number of the chunk within the group.
        tensor: Number of the tensor within the chunk.
    """

    group: NonNegativeInt
    chunk: NonNegativeInt
    tensor: NonNegativeInt = 0

    def __str__(self) -> str:
        return f"(group {self.group}, chunk {self.chunk}, tensor {self.tensor})"


class ChunkGroup(Spec):
    """Chunks of the same shapes, written by one network.

    Attributes:
        shapes: Shapes of the tensors that make up a chunk.
        count: Number of chunks.
        embedding_size: Length of a chunk's embedding; may be 0 if there is one chunk.
        options: Options of the `hmlp` that writes the chunks.
    """

    shapes: tuple[tuple[PositiveInt, ...], ...] = Field(min_length=1)
    count: PositiveInt = 1
    embedding_size: NonNegativeInt = 8
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of scalars of each tensor of a chunk."""
        return tuple(math.prod(shape) for shape in self.shapes)


class Layout(Spec):
    """The pieces that make up a tensor of the target.

    Attributes:
        pieces: `[group, chunk, tensor]` of each piece.
        dim: The dimension along which they are laid end to end.
    """

    pieces: tuple[Piece, ...] = Field(min_length=1)
    dim: NonNegativeInt = 0


class Chunking(Spec):
    """A document that describes how chunks make up a target.

    Attributes:
        groups: The chunks that are generated.
        assembly: The pieces of each tensor of the target, by name; empty if a function
            assembles.

    Example:
        >>> chunking = Chunking(
        ...     groups=[{"shapes": [[10, 5], [10]], "count": 3}],
        ...     assembly={
        ...         "0": {"pieces": [[0, 0, 0]]},
        ...         "1": {"pieces": [[0, 0, 1]]},
        ...         "2": {"pieces": [[0, 1, 0], [0, 2, 0]]},
        ...         "3": {"pieces": [[0, 1, 1], [0, 2, 1]]},
        ...     },
        ... )
        >>> chunking.num_chunks
        3
        >>> Chunking.model_validate_json(chunking.model_dump_json()) == chunking
        True
        >>> chunking.check(TargetSpec.from_shapes([[10, 5], [10], [20, 5], [20]]))
    """

    groups: tuple[ChunkGroup, ...] = Field(min_length=1)
    assembly: dict[str, Layout] = Field(default_factory=dict)

    @property
    def num_chunks(self) -> int:
        """Number of chunks of all groups together."""
        return sum(group.count for group in self.groups)

    def all_pieces(self) -> Iterator[Piece]:
        """All pieces that are generated, group by group and chunk by chunk."""
        for number, group in enumerate(self.groups):
            for chunk in range(group.count):
                for tensor in range(len(group.shapes)):
                    yield Piece(number, chunk, tensor)

    def shape_of(self, piece: Piece) -> tuple[int, ...]:
        """The shape of a piece.

        Raises:
            SpecError: There is no such piece.
        """
        known = piece.group < len(self.groups)
        group = self.groups[piece.group] if known else None
        # In this order: an unknown group is reported before its chunks.
        limits = (
            ("groups", piece.group, len(self.groups)),
            ("chunks", piece.chunk, group.count if group else 0),
            ("tensors", piece.tensor, len(group.shapes) if group else 0),
        )
        for plural, index, count in limits:
            if index >= count:
                raise SpecError(f"there is no piece {piece}: there are {count} {plural}")
        return self.groups[piece.group].shapes[piece.tensor]

    def check_groups(self) -> None:
        """Check that embeddings distinguish the chunks of a group.

        Raises:
            SpecError: A group of several chunks has no embeddings.
        """
        for number, group in enumerate(self.groups):
            if group.embedding_size == 0 and group.count > 1:
                raise SpecError(
                    f"group {number} has {group.count} chunks: its embedding_size must be positive"
                )

    def check(self, target: TargetSpec) -> None:
        """Check that the assembly fills a target exactly, and warn of unused chunks.

        Raises:
            SpecError: The assembly names an unknown tensor or piece, leaves a tensor
                out, fills one with too few or too many weights, or a piece does not
                fit.
        """
        self.check_groups()
        for name in self.assembly:
            if name not in target:
                raise SpecError(
                    f"the assembly fills {name!r}, which is not in the"
                    f" target{did_you_mean(name, target.names)}"
                )
        missing = [
            param for param in target.params if param.numel and param.name not in self.assembly
        ]
        if missing:
            total = sum(param.numel for param in missing)
            raise SpecError(
                f"the assembly leaves {len(missing)} of {len(target)} tensors empty, {total:,}"
                f" weights: {listed(map(str, missing))}"
            )
        for name, layout in self.assembly.items():
            self._check_tensor(target[name], layout)
        # Last, so that an error is not accompanied by warnings.
        self.warn_of_unused(piece for layout in self.assembly.values() for piece in layout.pieces)

    def _check_tensor(self, param: ParamSpec, layout: Layout) -> None:
        if layout.dim >= max(1, len(param.shape)):
            raise SpecError(f"{param} has no dimension {layout.dim} to lay pieces along")
        filled = 0
        for piece in layout.pieces:
            shape = self.shape_of(piece)
            fits = len(shape) == len(param.shape) and all(
                a == b
                for i, (a, b) in enumerate(zip(shape, param.shape, strict=True))
                if i != layout.dim
            )
            if not fits:
                raise SpecError(
                    f"{param}: the piece {piece} of shape {list(shape)} does not fit along"
                    f" dimension {layout.dim}, its other dimensions must agree"
                )
            # A scalar counts as one row.
            filled += shape[layout.dim] if shape else 1
        wanted = param.shape[layout.dim] if param.shape else 1
        if filled != wanted:
            # In weights: rows too many or missing, times the weights of a row.
            excess = excess_of((filled - wanted) * param.numel // max(wanted, 1))
            raise SpecError(
                f"{param}: its pieces fill {filled} of {wanted} along dimension {layout.dim}:"
                f" {excess}"
            )

    def warn_of_unused(self, used: Iterable[Piece]) -> None:
        """Warn of chunks and pieces that are generated but not used.

        Unused vectors of a used chunk are normal: a layer cut into several chunks needs
        only one of their biases.
        """
        counted = Counter(used)
        unused: dict[tuple[int, int], list[Piece]] = {}
        for piece in self.all_pieces():
            unused.setdefault((piece.group, piece.chunk), []).extend(
                [piece] * (piece not in counted)
            )
        for (group, chunk), pieces in unused.items():
            shapes = self.groups[group].shapes
            if len(pieces) == len(shapes):
                _logger.warning("chunk %d of group %d is generated but not used", chunk, group)
                continue
            for piece in pieces:
                if len(shapes[piece.tensor]) > 1:
                    _logger.warning("the piece %s is generated but not used", piece)


def pieces_of(chunking: Chunking, target: TargetSpec) -> Mapping[Piece, list[ParamSpec]]:
    """The tensors of the target that each piece is a part of."""
    parts: dict[Piece, list[ParamSpec]] = {}
    for name, layout in chunking.assembly.items():
        for piece in layout.pieces:
            parts.setdefault(piece, []).append(target[name])
    return parts


def excess_of(surplus: int) -> str:
    """How many weights are too many or missing, for messages."""
    return f"{surplus:,} weights too many" if surplus > 0 else f"{-surplus:,} weights are missing"
