"""Moments that chunks should start with, from those of the tensors they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from hypnet_zoo.hypernets._chunking.assembly import Assembly
from hypnet_zoo.hypernets._chunking.documents import Piece
from hypnet_zoo.init.moments import Moments

PerChunk = list[list[Moments | None]]
"""For each chunk of a group the moments of its tensors, `None` for unused ones."""


def moments_of_chunks(assembly: Assembly, group: int, wanted: Mapping[str, Moments]) -> PerChunk:
    """Moments for each tensor of each chunk of a group.

    Args:
        assembly: The assembly of the target.
        group: Number of the group.
        wanted: Moments of the target's tensors, by name.
    """
    document, parts = assembly.chunking.groups[group], assembly.parts

    def moments(piece: Piece) -> Moments | None:
        # `None`, so that an unused tensor does not enter the averages.
        if piece not in parts:
            return None
        return mean_moments(wanted[param.name] for param in parts[piece])

    return [
        [moments(Piece(group, chunk, tensor)) for tensor in range(len(document.shapes))]
        for chunk in range(document.count)
    ]


def variances_of_chunks(
    sizes: Sequence[int], per_chunk: PerChunk, average: Sequence[Moments]
) -> Tensor:
    """Average variance that each chunk of a group should have, `[K]`.

    Means do not count, since biases write them.

    Args:
        sizes: Number of scalars of each tensor of a chunk.
        per_chunk: Moments of the tensors of each chunk.
        average: Their averages over chunks, which replace those of unused tensors.
    """
    variances = [
        sum(
            # A tuple is true even where both of its numbers are zero.
            size * (own or mean).variance
            for size, own, mean in zip(sizes, chunk, average, strict=True)
        )
        for chunk in per_chunk
    ]
    return torch.tensor(variances) / sum(sizes)


def mean_moments(moments: Iterable[Moments | None]) -> Moments:
    """The average of the moments that are known; zero if none is."""
    known = [one for one in moments if one is not None]
    if not known:
        return Moments(0.0, 0.0)
    return Moments(
        sum(one.mean for one in known) / len(known),
        sum(one.variance for one in known) / len(known),
    )
