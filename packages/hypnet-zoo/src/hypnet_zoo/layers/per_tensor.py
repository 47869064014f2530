"""A gain and a shift for each tensor of a flat vector of weights."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from hypnet_core.specs import TargetSpec
from hypnet_zoo.init.moments import Start


class PerTensor(nn.Module):
    r"""$\omega_t = a_t v_t + b_t$: brings what one network writes for all tensors to the size that each of them needs.

    Gain $a_t$ and shift $b_t$ are two learned numbers per tensor. Where both are zero,
    the tensor is zero and still learns: its gradient reaches the gain first.

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
        self.register_buffer("sizes", torch.tensor(target.sizes), persistent=False)

    def forward(self, flat: Tensor) -> Tensor:
        """Stretch and shift `[B, numel]`."""
        gain, shift = (
            one.repeat_interleave(self.sizes, dim=0, output_size=self.numel)
            for one in (self.gain, self.shift)
        )
        return torch.addcmul(shift, flat, gain)

    @torch.no_grad()
    def start(self, starts: tuple[Start, ...], sample: Tensor) -> None:
        """Give every tensor the mean and variance that it should start with.

        Args:
            starts: One per tensor.
            sample: What will come in: `[B, numel]`.
        """
        means, variances = (torch.tensor(values).to(sample) for values in zip(*starts, strict=True))
        squares, found = self._mean_per_tensor(sample.square()), self._mean_per_tensor(sample)
        # Where a mean is wanted, what comes in has one of its own, small but not zero.
        found = torch.where(means == 0, 0.0, found)
        self.gain.copy_((variances / (squares - found.square()).clamp_min(1e-30)).sqrt())
        self.shift.copy_(means - self.gain * found)

    @torch.no_grad()
    def zero_(self) -> None:
        """Let all weights be zero."""
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
        return torch.stack([part.mean() if len(part) else part.sum() for part in parts])
