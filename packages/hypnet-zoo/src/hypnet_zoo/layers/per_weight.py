"""A fixed scale and shift for each weight that chunks write."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from hypnet_core.specs import TargetSpec
from hypnet_zoo.init.moments import Moments

# Weights that start at a constant keep this standard deviation, because they could not
# learn if they were multiplied by zero.
_ALMOST_CONSTANT = 0.01


class PerWeight(nn.Module):
    r"""Brings chunks to the moments of the tensors that they hold.

    All weights of a chunk have one variance and the mean 0. Tensors that share a chunk
    may need others: scales of norms start at 1, biases at 0. Fixed numbers make up for
    it, weight by weight: $\omega_i = \mu_i + s_i v_i$. They follow from two numbers per
    tensor and one per chunk, which are all that a state dict holds.

    Shapes:
        - Input and output: `[B, numel]`

    Args:
        target: The tensors.
        chunk_size: Number of weights of a chunk.
    """

    means: Tensor
    deviations: Tensor
    written: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, target: TargetSpec, chunk_size: int) -> None:
        super().__init__()
        self.sizes, self.numel, self.chunk_size = target.sizes, target.numel, chunk_size
        chunks = -(-target.numel // chunk_size)
        self.register_buffer("means", torch.zeros(len(target)))
        self.register_buffer("deviations", torch.ones(len(target)))
        self.register_buffer("written", torch.ones(chunks))
        # As large as the target; they follow from the numbers above.
        self.register_buffer("shift", torch.zeros(target.numel), persistent=False)
        self.register_buffer("scale", torch.ones(target.numel), persistent=False)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._spread()

    def forward(self, flat: Tensor) -> Tensor:
        """Scale and shift `[B, numel]`."""
        return torch.addcmul(self.shift, flat, self.scale)

    @torch.no_grad()
    def fit(self, moments: tuple[Moments, ...], written: Tensor) -> None:
        """Give every tensor its moments.

        Args:
            moments: Mean and variance of each tensor.
            written: The mean square with which each chunk is written, `[K]`.
        """
        self.means.copy_(torch.tensor([one.mean for one in moments]))
        # Zero stands for "almost constant": see `_spread`.
        self.deviations.copy_(torch.tensor([math.sqrt(one.variance) for one in moments]))
        self.written.copy_(written.sqrt())
        self._spread()

    @torch.no_grad()
    def reset(self) -> None:
        """Pass chunks on as they are written."""
        for buffer in (self.means, self.shift):
            buffer.zero_()
        for buffer in (self.deviations, self.written, self.scale):
            buffer.fill_(1.0)

    @torch.no_grad()
    def zero_mean_(self) -> None:
        """Forget the means, so that weights are zero where chunks are."""
        self.means.zero_()
        self._spread()

    @torch.no_grad()
    def _spread(self) -> None:
        """Write the numbers of tensors and chunks to their weights."""
        sizes = torch.tensor(self.sizes, device=self.means.device)
        means, deviations = (
            one.repeat_interleave(sizes, output_size=self.numel)
            for one in (self.means, self.deviations)
        )
        written = self.written.repeat_interleave(self.chunk_size)[: self.numel]
        constant = written.clamp_max(_ALMOST_CONSTANT)
        self.shift.copy_(means)
        self.scale.copy_(torch.where(deviations > 0, deviations, constant) / written)
