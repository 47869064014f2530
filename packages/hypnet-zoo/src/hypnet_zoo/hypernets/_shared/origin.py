"""The fixed part of generated weights: what they start from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Origin(nn.Module):
    r"""A fixed offset and scale for each weight: $\omega_i = o_i + s_i v_i$.

    A network that writes many weights with the same few outputs cannot give each its
    own mean and size. Here both are added outside of it, and not learned.

    Shapes:
        - Input and output: `[B, numel]`

    Args:
        numel: Number of weights.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, numel: int) -> None:
        super().__init__()
        self.register_buffer("offset", torch.zeros(numel))
        self.register_buffer("scale", torch.ones(numel))
        # Asked once, because the answer waits for a device.
        self._has_effect = False

    def forward(self, flat: Tensor) -> Tensor:
        """Scale and shift `[B, numel]`."""
        return torch.addcmul(self.offset, flat, self.scale) if self._has_effect else flat

    @torch.no_grad()
    def place(self, offset: Tensor, scale: Tensor | None = None) -> None:
        """Set offset and scale, each `[numel]`; the scale is 1 if not given."""
        self.offset.copy_(offset)
        self.scale.fill_(1.0)
        if scale is not None:
            self.scale.copy_(scale)
        self._look()

    def reset(self) -> None:
        """Return to offset 0 and scale 1, which change nothing."""
        self.place(torch.zeros_like(self.offset))

    def _look(self) -> None:
        self._has_effect = bool(self.offset.any()) or not bool((self.scale == 1).all())

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._look()
