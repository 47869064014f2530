"""The fixed part of generated weights: what they start from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_PARTS = ("lengths", "offsets", "scales")


class Origin(nn.Module):
    r"""A fixed offset and scale for each weight: $\omega_i = o_i + \pm s_i v_i$.

    A network that writes many weights with the same few outputs cannot give each its
    own mean and size. Here both are added outside of it, and not learned. The
    `state_dict` holds them once for each run of equal ones, and a seed for the signs.

    Shapes:
        - Input and output: `[B, numel]`

    Args:
        numel: Number of weights.

    Attributes:
        offset: Of each weight, `[numel]`, or `[]` where all are equal.
        scale: Of each weight, with its sign; likewise.
    """

    offset: Tensor
    scale: Tensor
    lengths: Tensor
    offsets: Tensor
    scales: Tensor
    seed: Tensor

    def __init__(self, numel: int) -> None:
        super().__init__()
        self.numel = numel
        self.register_buffer("lengths", torch.tensor([numel]))
        self.register_buffer("offsets", torch.zeros(1))
        self.register_buffer("scales", torch.ones(1))
        # 0 stands for no signs.
        self.register_buffer("seed", torch.tensor(0))
        # Not in the `state_dict`: they follow from the runs and the seed. As large as
        # the weights only where they differ.
        self.register_buffer("offset", torch.zeros(()), persistent=False)
        self.register_buffer("scale", torch.ones(()), persistent=False)
        # Asked once, because the answer waits for a device.
        self._has_effect = False

    def forward(self, flat: Tensor) -> Tensor:
        """Scale and shift `[B, numel]`."""
        return torch.addcmul(self.offset, flat, self.scale) if self._has_effect else flat

    @torch.no_grad()
    def place(self, offset: Tensor, scale: Tensor | None = None, *, seed: int = 0) -> None:
        """Set what each weight starts from.

        Args:
            offset: Of each weight, `[numel]`.
            scale: Of each weight, `[numel]`; 1 if not given.
            seed: Draws a sign for each scale; 0 for none.
        """
        scale = torch.ones_like(offset) if scale is None else scale
        new = torch.ones_like(offset, dtype=torch.bool)
        new[1:] = (offset[1:] != offset[:-1]) | (scale[1:] != scale[:-1])
        starts = new.nonzero().flatten()
        ends = torch.cat([starts[1:], starts.new_tensor([self.numel])])
        self.lengths = (ends - starts).to(self.lengths)
        self.offsets = offset[starts].to(self.offsets)
        self.scales = scale[starts].to(self.scales)
        self.seed.fill_(seed)
        self._expand()

    def reset(self) -> None:
        """Return to offset 0 and scale 1, which change nothing."""
        self.lengths = self.lengths.new_tensor([self.numel])
        self.offsets, self.scales = self.offsets.new_zeros(1), self.scales.new_ones(1)
        self.seed.zero_()
        self._expand()

    def _expand(self) -> None:
        self.offset, self.scale = self._each(self.offsets), self._each(self.scales)
        seed = int(self.seed)
        if seed:
            self.scale = self.scale * signs(seed, self.numel).to(self.scale)
        plain = not bool(self.offset.any()) and bool((self.scale == 1).all())
        self._has_effect = not plain

    def _each(self, values: Tensor) -> Tensor:
        if bool((values == values[0]).all()):
            return values[0].clone()
        return values.repeat_interleave(self.lengths, output_size=self.numel)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for name in _PARTS:
            saved = state_dict.get(prefix + name)
            if isinstance(saved, Tensor) and saved.ndim == 1:
                # Room of the saved size, for torch to copy into.
                setattr(self, name, self.get_buffer(name).new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        sizes = {len(self.get_buffer(name)) for name in _PARTS}
        if len(sizes) > 1 or int(self.lengths.sum()) != self.numel:
            args[-1].append("the origin of the weights does not fit the target")  # torch raises it
            return
        self._expand()


def signs(seed: int, count: int) -> Tensor:
    """Signs of +1 and -1 that follow from a seed alone, on all devices and versions.

    They are bits of a hash of the index (splitmix64: G. Steele et al., OOPSLA 2014).

    Returns:
        `[count]`, float32.
    """
    z = (torch.arange(1, count + 1) * _GOLDEN) + seed  # int64 wraps around
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return 1.0 - 2.0 * ((z ^ _shifted(z, 31)) & 1).float()


_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)


def _shifted(z: Tensor, bits: int) -> Tensor:
    """A logical shift to the right; torch's keeps the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
