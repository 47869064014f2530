"""How a target is cut into chunks that respect its layers: a document, and its check against the target."""

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
    """Chunks of the same shapes, which one network writes.

    Attributes:
        shapes: Shapes of the tensors that make up a chunk.
        count: How many chunks.
        embedding_size: Length of the embedding that tells which chunk to write; may be
            0 if there is one.
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


class Assembled(Spec):
    """A tensor of the target as a row of pieces.

    Attributes:
        pieces: `[group, chunk, tensor]` of each.
        dim: The dimension along which they are laid end to end.
    """

    pieces: tuple[Piece, ...] = Field(min_length=1)
    dim: NonNegativeInt = 0


class Chunking(Spec):
    """How a target is made of chunks.

    Attributes:
        groups: What is written, and how often.
        assembly: What each tensor of the target is made of, by name; empty if a
            function assembles.

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
        >>> chunking.num_chunks, Chunking.model_validate_json(chunking.model_dump_json()) == chunking
        (3, True)
        >>> chunking.check(TargetSpec.from_shapes([[10, 5], [10], [20, 5], [20]]))
    """

    groups: tuple[ChunkGroup, ...] = Field(min_length=1)
    assembly: dict[str, Assembled] = Field(default_factory=dict)

    @property
    def num_chunks(self) -> int:
        """Number of chunks of all groups together."""
        return sum(group.count for group in self.groups)

    def all_pieces(self) -> Iterator[Piece]:
        """Everything that is written, group by group and chunk by chunk."""
        for number, group in enumerate(self.groups):
            for chunk in range(group.count):
                for tensor in range(len(group.shapes)):
                    yield Piece(number, chunk, tensor)

    def shape_of(self, piece: Piece) -> tuple[int, ...]:
        """The shape of a piece.

        Raises:
            SpecError: There is no such piece.
        """
        for what, index, count in (
            ("groups", piece.group, len(self.groups)),
            (
                "chunks",
                piece.chunk,
                self.groups[piece.group].count if piece.group < len(self.groups) else 0,
            ),
            (
                "tensors",
                piece.tensor,
                len(self.groups[piece.group].shapes) if piece.group < len(self.groups) else 0,
            ),
        ):
            if index >= count:
                raise SpecError(f"there is no piece {piece}: of {what} there are {count}")
        return self.groups[piece.group].shapes[piece.tensor]

    def check_groups(self) -> None:
        """Whether every chunk can be told from its neighbours.

        Raises:
            SpecError: A group of several chunks has no embeddings.
        """
        for number, group in enumerate(self.groups):
            if group.embedding_size == 0 and group.count > 1:
                raise SpecError(
                    f"group {number} has {group.count} chunks: its embedding_size must be positive"
                )

    def check(self, target: TargetSpec) -> None:
        """Whether the assembly fills a target exactly; what is written in vain is warned of.

        Raises:
            SpecError: It names an unknown tensor or piece, leaves a tensor out, fills
                one with too little or too much, or a piece does not fit.
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
        for name, made in self.assembly.items():
            self._check_tensor(target[name], made)
        self.warn_of_unused(piece for made in self.assembly.values() for piece in made.pieces)

    def _check_tensor(self, param: ParamSpec, made: Assembled) -> None:
        if made.dim >= max(1, len(param.shape)):
            raise SpecError(f"{param} has no dimension {made.dim} to lay pieces along")
        filled = 0
        for piece in made.pieces:
            shape = self.shape_of(piece)
            fits = len(shape) == len(param.shape) and all(
                a == b
                for i, (a, b) in enumerate(zip(shape, param.shape, strict=True))
                if i != made.dim
            )
            if not fits:
                raise SpecError(
                    f"{param}: the piece {piece} of shape {list(shape)} does not fit along"
                    f" dimension {made.dim}, its other dimensions must agree"
                )
            filled += shape[made.dim] if shape else 1
        wanted = param.shape[made.dim] if param.shape else 1
        if filled != wanted:
            surplus = (filled - wanted) * param.numel // max(wanted, 1)
            excess = (
                f"{surplus:,} weights too many"
                if surplus > 0
                else f"{-surplus:,} weights are missing"
            )
            raise SpecError(
                f"{param}: its pieces fill {filled} of {wanted} along dimension {made.dim}:"
                f" {excess}"
            )

    def warn_of_unused(self, used: Iterable[Piece]) -> None:
        """Warn of what is written and not used.

        Vectors may repeat silently where the rest of their chunk is used: a layer cut
        into several chunks needs one of their biases.
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
    """Which tensors of the target each piece is a part of."""
    parts: dict[Piece, list[ParamSpec]] = {}
    for name, made in chunking.assembly.items():
        for piece in made.pieces:
            parts.setdefault(piece, []).append(target[name])
    return parts
