"""The main network `tinynet`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn


class TinyNet(nn.Module):
    """Two linear layers with a tanh in between.

    Args:
        in_shape: Shape of one input.
        out_features: Number of outputs.
        width: Number of hidden units.
        bias: Whether the layers have biases.
    """

    def __init__(
        self, in_shape: Sequence[int], out_features: int, *, width: int = 8, bias: bool = True
    ) -> None:
        super().__init__()
        self.inner = nn.Linear(math.prod(in_shape), width, bias=bias)
        self.outer = nn.Linear(width, out_features, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, *in_shape]` to `[B, out_features]`."""
        outputs: Tensor = self.outer(self.inner(x.flatten(1)).tanh())
        return outputs
