"""Tensors cut into pieces that one thread works on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Up to this size torch's elementwise operations run on the calling thread. Handing half
# of a few thousand numbers to another thread gains nothing, and on a busy machine costs
# milliseconds of waiting.
_PIECE = 1 << 15
# From this size on threads are worth it.
_LARGE = 1 << 20


class Pieces:
    """Some parameters, those of middling size in pieces.

    Args:
        tensors: The parameters; their storage may be replaced later.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = list(tensors)
        self._counts = [_count(t) for t in self._tensors]
        self._middling = [t for t, n in zip(self._tensors, self._counts, strict=True) if n > 1]
        self._look()

    def _look(self) -> None:
        self._places = [t.data_ptr() for t in self._middling]
        self._now = [piece for piece in self.of(self._tensors) if piece is not None]

    @property
    def now(self) -> list[Tensor]:
        """The parameters."""
        # Pieces are views, which do not follow `parameter.data = …`.
        if self._places != [t.data_ptr() for t in self._middling]:
            self._look()
        return self._now

    def of(self, tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Tensors of the same shapes, such as gradients, cut alike, or missing."""
        if not self._middling:
            return list(tensors)
        found: list[Tensor | None] = []
        for tensor, count in zip(tensors, self._counts, strict=True):
            if count == 1:
                found.append(tensor)
            elif tensor is None:
                found.extend([None] * count)
            else:
                # Without Python's part of `Tensor.split`, in each step.
                found.extend(torch.unsafe_split(tensor.detach().reshape(-1), _PIECE))
        return found

    def views(self, flat: Tensor) -> list[Tensor]:
        """Views of a flat buffer, cut alike."""
        parts = flat.split([t.numel() for t in self._tensors])
        shaped = [part.view_as(t) for part, t in zip(parts, self._tensors, strict=True)]
        return [piece for piece in self.of(shaped) if piece is not None]


def _count(tensor: Tensor) -> int:
    """Number of pieces."""
    threads = torch.get_num_threads() if tensor.device.type == "cpu" else 1
    middling = _PIECE < tensor.numel() <= _LARGE and tensor.is_contiguous()
    if threads == 1 or not middling:
        return 1
    return -(-tensor.numel() // _PIECE)
