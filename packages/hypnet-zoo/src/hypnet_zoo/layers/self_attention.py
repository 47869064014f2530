"""Self-attention over the pixels of feature maps."""

from __future__ import annotations

from typing import ClassVar, Literal, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as with_spectral_norm

from hypnet_core.errors import SpecError


class SelfAttention(nn.Module):
    r"""Self-attention between all pixels, as in SAGAN: $y = \gamma \, o + x$.

    $$ o_j = \sum_i \beta_{j,i} \, h(x_i), \qquad \beta_{j,\cdot} = \mathrm{softmax}_i
    \bigl( f(x_j)^\top g(x_i) \bigr) $$

    with one-pixel convolutions $f$, $g$ (to `channels // reduction` channels) and $h$.
    $\gamma$ starts at 0: the layer starts as the identity.

    Shapes:
        - Input and output: `[N, channels, H, W]`
        - Attention map: `[N, H·W, H·W]`; row `j` holds the weights of pixel `j`'s
          output and sums to 1.

    Args:
        channels: Number of feature maps.
        reduction: By how much queries and keys are shorter.
        spectral_norm: Divide the weights of the convolutions by an estimate of their
            largest singular value.

    Raises:
        SpecError: `channels` is smaller than `reduction`, or one of them is not
            positive.

    References:
        Zhang et al., Self-Attention Generative Adversarial Networks, ICML 2019,
        arXiv:1805.08318.
    """

    param_kinds: ClassVar[dict[str, str]] = {"gamma": "gain"}

    def __init__(self, channels: int, *, reduction: int = 8, spectral_norm: bool = False) -> None:
        super().__init__()
        if reduction < 1 or channels < reduction:
            raise SpecError(
                f"channels must be at least reduction, and that at least 1: got {channels} and"
                f" {reduction}"
            )
        self.channels = channels
        self.query = nn.Conv2d(channels, channels // reduction, 1)
        self.key = nn.Conv2d(channels, channels // reduction, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        if spectral_norm:
            for convolution in (self.query, self.key, self.value):
                with_spectral_norm(convolution)
        self.gamma = nn.Parameter(torch.zeros(1))

    @overload
    def forward(self, x: Tensor, *, return_attention: Literal[False] = False) -> Tensor: ...

    @overload
    def forward(self, x: Tensor, *, return_attention: Literal[True]) -> tuple[Tensor, Tensor]: ...

    def forward(
        self, x: Tensor, *, return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Attend.

        Args:
            x: `[N, channels, H, W]`.
            return_attention: Whether to return the attention map as well. Without it
                the map need not be kept in memory.

        Raises:
            SpecError: `x` has another number of channels or dimensions.
        """
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise SpecError(f"expected inputs [N, {self.channels}, H, W], got {list(x.shape)}")
        query, key, value = (
            f(x).flatten(2).transpose(1, 2) for f in (self.query, self.key, self.value)
        )
        if not return_attention:
            # The fused kernel does not keep the map. SAGAN does not scale the products.
            mixed = F.scaled_dot_product_attention(query, key, value, scale=1.0)
            return self._add(x, mixed)
        attention = torch.softmax(query @ key.transpose(1, 2), dim=-1)
        return self._add(x, attention @ value), attention

    def _add(self, x: Tensor, mixed: Tensor) -> Tensor:
        return self.gamma * mixed.transpose(1, 2).reshape(x.shape) + x
