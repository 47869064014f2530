"""The outputs of a head that count, and how much, in few numbers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_SECTION = 2**18
"""Numbers of a head in one section: few enough to stay in a processor's cache."""


class Section(NamedTuple):
    """Neighbouring rows of a head that count alike in every chunk.

    Attributes:
        rows: The rows.
        segment: Number of the run of rows that count alike; a long one has several
            sections.
    """

    rows: slice
    segment: int


class Layout:
    r"""How much the outputs of a head count: $[K, n]$ for $K$ chunks and $n$ rows.

    Neighbouring rows that count alike in every chunk are one *segment* of $S$. Chunks
    whose numbers are proportional have one *pattern* of $P$. A chunk that lies within
    one tensor counts the same everywhere, so few chunks have a pattern of their own:

    $$ w_{kr} = c_k\, U_{s(r)\,p(k)} $$

    Args:
        importance: $w$, `[K, n]`, none negative.

    Attributes:
        starts: First row of each segment, and at last $n$.
        factors: $c$, `[K]`; 0 for chunks that do not count.
        shares: $U$, `[S, P]`.
        groups: Chunks of the patterns, in the order of $U$: tensors `[patterns, chunks
            of each]`.
    """

    def __init__(self, importance: Tensor) -> None:
        self.count, self.outputs = importance.shape
        changes = (importance[:, 1:] != importance[:, :-1]).any(dim=0).nonzero().flatten() + 1
        self.starts: list[int] = [0, *changes.tolist(), self.outputs]
        of_segments = importance[:, self.starts[:-1]]  # [K, S]
        self.factors = of_segments.amax(dim=1)
        used = self.factors.nonzero().flatten()
        relative = of_segments[used] / self.factors[used, None]
        patterns, which = torch.unique(relative, dim=0, return_inverse=True)
        counts = torch.bincount(which, minlength=len(patterns))
        # Patterns of as many chunks are adjacent, so that one product serves them all.
        order = counts.argsort(stable=True)
        chunks = used[order.argsort()[which].argsort(stable=True)]
        self.shares = patterns[order].mT.contiguous()
        self.groups: list[Tensor] = []
        sizes, numbers = counts[order].unique_consecutive(return_counts=True)
        for size, number in zip(sizes.tolist(), numbers.tolist(), strict=True):
            self.groups.append(chunks[: size * number].view(number, size))
            chunks = chunks[size * number :]
        # The common case: no chunk needs to be looked up.
        self._is_plain = self.patterns == 1 and len(used) == self.count

    @property
    def segments(self) -> int:
        """Number of segments."""
        return len(self.starts) - 1

    @property
    def patterns(self) -> int:
        """Number of patterns."""
        return int(self.shares.shape[1])

    def importance(self) -> Tensor:
        """How much each output counts, `[K, n]`."""
        shares = self.factors.new_zeros((self.count, self.segments))
        patterns = iter(self.shares.mT)
        for group in self.groups:
            for chunks in group:
                shares[chunks] = next(patterns)
        lengths = torch.tensor([b - a for a, b in itertools.pairwise(self.starts)])
        of_rows = shares.repeat_interleave(lengths.to(shares.device), dim=1)
        return self.factors.unsqueeze(1) * of_rows

    def sections(self, width: int) -> list[Section]:
        """The segments, cut so that no section of a head is large.

        Args:
            width: Columns of the head.
        """
        most = max(1, _SECTION // max(width, 1))
        return [
            Section(slice(first, min(first + most, stop)), segment)
            for segment, (start, stop) in enumerate(itertools.pairwise(self.starts))
            for first in range(start, stop, most)
        ]

    def arrange(self, of_chunks: Tensor) -> list[Tensor]:
        """Sort numbers of chunks by pattern.

        Args:
            of_chunks: `[C, K, d]`.

        Returns:
            For each group `[patterns, C * chunks, d]`.
        """
        if self._is_plain:
            return [of_chunks.flatten(0, 1)[None]]
        return [of_chunks[:, group].transpose(0, 1).flatten(1, 2) for group in self.groups]

    def restore(self, arranged: Sequence[Tensor], count: int) -> Tensor:
        """Undo `arrange`; chunks that do not count get zeros.

        Args:
            arranged: For each group `[patterns, C * chunks, d]`.
            count: Number of conditions, $C$.
        """
        if self._is_plain:
            return arranged[0].view(count, self.count, -1)
        width = arranged[0].shape[-1]
        restored = arranged[0].new_zeros((count, self.count, width))
        for group, numbers in zip(self.groups, arranged, strict=True):
            restored[:, group] = numbers.unflatten(1, (count, -1)).transpose(0, 1)
        return restored
