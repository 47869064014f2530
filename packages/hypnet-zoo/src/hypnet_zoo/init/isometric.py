r"""Hidden layers that keep the length of their input.

The weights that a linear head writes have a variance proportional to the squared length
of its features. If features differ in length from condition to condition, so do all
layers of the generated network, and the differences multiply with its depth. Here
inputs of equal length give features of equal length.

Half of a layer's units read $a = Q x$, the other half $-a$. Since $\max(0, a)^2 +
\max(0, -a)^2 = a^2$, rectified features have the length $\lVert Q x \rVert$, which is
$\lVert x \rVert$ if $Q$ has orthonormal columns. The next layer reads the difference of
both halves, $\max(0, a) - \max(0, -a) = a$, so the same holds at every depth. The
identity is exact for rectifiers, leaky ones included, and close for other activations,
whose squares add up over many units. Odd activations need no second half.

A layer with fewer pairs of units than inputs has orthonormal rows instead, and keeps
lengths on average.

References:
    D. Balduzzi et al.: The shattered gradients problem. ICML 2017, arXiv:1702.08591,
    section 4, for layers that look linear.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from hypnet_zoo.init.activations import gain_of, is_odd, odd_moment


@torch.no_grad()
def draw_isometric(
    layers: Iterable[nn.Linear],
    activation: Callable[[], nn.Module] | None,
    factor: float = 1.0,
) -> None:
    """Draw layers that keep the length of their input; biases become zero.

    Args:
        layers: The layers in the order in which they are applied, each followed by the
            activation.
        activation: Module class of the nonlinearity; `None` is the identity.
        factor: Multiplies what every layer feeds to the activation. Bounded activations
            spread inputs further over their range then.
    """
    gain = gain_of(activation) * factor
    mirrored = not is_odd(activation)
    pairs = 0  # of units that the layer before has
    for layer in layers:
        if layer.bias is not None:
            layer.bias.zero_()
        outputs, inputs = layer.weight.shape
        # A unit without a partner starts as usual.
        layer.weight.normal_(0.0, gain / math.sqrt(inputs))
        rows = outputs // 2 if mirrored else outputs
        # An even function gives both halves the same features: there is no difference.
        if pairs and odd_moment(activation, gain) > 1e-6:
            # The mean square of the differences need not be that of the features.
            size = gain / math.sqrt(odd_moment(activation, gain))
            block = _frame(rows, pairs, layer.weight) * size
            layer.weight[:rows] = 0.0
            layer.weight[:rows, : 2 * pairs] = torch.cat([block, -block], dim=1)
        elif not pairs:
            layer.weight[:rows] = _frame(rows, inputs, layer.weight) * gain
        if mirrored:
            layer.weight[rows : 2 * rows] = -layer.weight[:rows]
            pairs = rows


def _frame(rows: int, columns: int, like: Tensor) -> Tensor:
    """Orthogonal rows or columns, whichever are fewer; rows have mean square norm 1."""
    # Half precision has no QR decomposition.
    dtype = torch.promote_types(like.dtype, torch.float32)
    frame = like.new_empty(rows, columns, dtype=dtype)
    if frame.numel():
        # Orthonormal columns leave the rows with a norm of columns / rows.
        nn.init.orthogonal_(frame, max(1.0, math.sqrt(rows / columns)))
    return frame.to(like.dtype)
