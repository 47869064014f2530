"""A gain and a shift for each tensor of a flat vector of weights."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from hypnet_core.specs import TargetSpec
from hypnet_zoo.init.moments import Moments


class PerTensor(nn.Module):
    r"""A learned gain and shift for each tensor: $\omega_t = a_t v_t + b_t$.

    It brings the output of a network that several tensors share to the size that each
    tensor needs. Where gain $a_t$ and shift $b_t$ are both zero, the tensor is zero and
    still learns: its gradient reaches the gain first.

    Shapes:
        - Input and output: `[B, numel]`

    Args:
        target: The tensors.
    """

    param_kinds: ClassVar[dict[str, str]] = {"gain": "gain", "shift": "shift"}

    sizes: Tensor

    def __init__(self, target: TargetSpec) -> None:
        super().__init__()
        self.numel = target.numel
        self.gain = nn.Parameter(torch.ones(len(target)))
        self.shift = nn.Parameter(torch.zeros(len(target)))
        # Not in the `state_dict`: the target determines it.
        self.register_buffer("sizes", torch.tensor(target.sizes), persistent=False)

    def forward(self, flat: Tensor) -> Tensor:
        """Scale and shift `[B, numel]`."""
        gain, shift = (
            # A known size spares the wait for a GPU to compute it.
            one.repeat_interleave(self.sizes, dim=0, output_size=self.numel)
            for one in (self.gain, self.shift)
        )
        return torch.addcmul(shift, flat, gain)

    @torch.no_grad()
    def fit(self, moments: tuple[Moments, ...], sample: Tensor) -> None:
        """Set gains and shifts so that every tensor has given moments.

        Args:
            moments: Mean and variance of each tensor.
            sample: Sample inputs: `[B, numel]`.
        """
        means, variances = (
            torch.tensor(values).to(sample) for values in zip(*moments, strict=True)
        )
        squares, found = self._mean_per_tensor(sample.square()), self._mean_per_tensor(sample)
        # Inputs have a small mean that is not zero; it matters where a mean is wanted.
        found = torch.where(means == 0, 0.0, found)
        # The variance of the sample; rounding may leave it just below zero.
        self.gain.copy_((variances / (squares - found.square()).clamp_min(1e-30)).sqrt())
        self.shift.copy_(means - self.gain * found)

    @torch.no_grad()
    def zero_(self) -> None:
        """Set gains and shifts to zero, and with them all weights."""
        self.gain.zero_()
        self.shift.zero_()

    @torch.no_grad()
    def scale_(self, factor: Tensor) -> None:
        """Multiply all weights."""
        self.gain.mul_(factor)
        self.shift.mul_(factor)

    def _mean_per_tensor(self, sample: Tensor) -> Tensor:
        """The mean over each tensor, 0 for one without scalars: `[T]`."""
        parts = sample.mean(dim=0).split(self.sizes.tolist())
        # The mean of an empty tensor would be NaN.
        return torch.stack([part.mean() if len(part) else part.sum() for part in parts])
