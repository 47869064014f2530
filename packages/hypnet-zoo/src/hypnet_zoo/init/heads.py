r"""Initial values of a hypernetwork's linear heads.

A head row $g$ writes the weight $\omega = g^\top z$ from the features $z$ of length
$d$. Over random rows

$$ E[\omega^2] = \mathrm{Var}(g)\, E\lVert z \rVert^2, $$

so rows of variance $v / E\lVert z \rVert^2$ give weights of variance $v$ (hyperfan; O.
Chang, L. Flokas, H. Lipson, ICLR 2020, where $E\lVert z \rVert^2 = d
\,\mathrm{Var}(e)$). Here $E\lVert z \rVert^2$ is measured instead of assumed, on the
hypernetwork's own embeddings where it has any. The measurement accounts for depth,
activation, finite width and unevenly scaled inputs. A tensor has few rows and features
are correlated, so each drawn tensor is then scaled to the variance $v$ exactly.
`docs/initialisation.md` derives the rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from hypnet_core.errors import SpecError
from hypnet_core.networks import EMBEDDING, UNCONDITIONAL, HyperNetwork, Weights
from hypnet_core.specs import TargetSpec
from hypnet_zoo.init.embeddings import equalize_
from hypnet_zoo.init.moments import Moments
from hypnet_zoo.init.options import Init, init_from

_SAMPLES = 512


def calibration_inputs(
    hypernet: HyperNetwork, init: Init | None = None, *, samples: int = _SAMPLES
) -> Tensor:
    """Sample inputs `[B, n]` of `generate` as they are at the start.

    The hypernetwork's own embeddings are used, each as often as needed. Where it keeps
    none, random directions of one length represent those that the caller passes in.

    Args:
        hypernet: The hypernetwork.
        init: Gives the variances of inputs that come from the caller.
        samples: Smallest number of rows.
    """
    rules = init_from(init)
    like = next(hypernet.parameters())  # device and dtype
    count = hypernet.conditions.count
    # Every condition must be seen equally often, or its embedding would weigh more.
    rows = -(-samples // count) * count if count else samples

    def drawn(size: int, variance: float) -> Tensor:
        noise = torch.randn(rows, size, device=like.device, dtype=like.dtype)
        return noise * math.sqrt(variance)

    def of_equal_length(size: int, variance: float) -> Tensor:
        return equalize_(drawn(size, 1.0), math.sqrt(variance))

    parts = []
    for name, size in hypernet.input_sizes.items():
        if name == UNCONDITIONAL:
            parts.append(drawn(size, rules.uncond_var))
        elif count:
            own = torch.stack([p.detach().flatten() for p in hypernet.parameters_of(name)])
            parts.append(own.repeat(rows // count, 1))
        else:
            # As the embeddings that are kept here, and as the documents ask for.
            parts.append(
                of_equal_length(size, rules.cond_var) if name == EMBEDDING else drawn(size, 1.0)
            )
    return torch.cat(parts, dim=1) if parts else like.new_empty((rows, 0))


@torch.no_grad()
def draw_heads(
    heads: list[nn.Linear],
    features: Tensor | Sequence[Tensor],
    target: TargetSpec,
    moments: tuple[Moments, ...],
) -> None:
    """Draw the heads so that every tensor of the target starts with the wanted moments.

    Args:
        heads: Linear layers whose rows, one after the other, write the target's
            scalars. A tensor lies within one head.
        features: Inputs of the heads at the start, `[B, d]`: one sample for all tensors
            of the target, or one each.
        target: The tensors that the heads write.
        moments: Mean and variance of each tensor. A head without biases cannot write a
            mean; its square then counts as variance.
    """
    # A head may write several tensors, and a tensor belongs to one head.
    samples = [features] * len(target) if isinstance(features, Tensor) else features
    remaining = iter(heads)
    head, offset = next(remaining), 0
    for param, wanted, sample in zip(target.params, moments, samples, strict=True):
        if param.numel == 0:
            continue
        if offset == head.out_features:
            head, offset = next(remaining), 0
        rows = slice(offset, offset + param.numel)
        offset += param.numel
        bias: Tensor | None = head.bias
        weight = _rows_of_variance(
            sample, param.numel, wanted.mean_square if bias is None else wanted.variance
        )
        # Spectral norm sets the scale of its weight itself.
        if not is_parametrized(head):
            head.weight[rows] = weight
        if bias is not None:
            # The rows themselves have a mean over conditions and tensor, small but not
            # zero: a wanted mean allows for it.
            own = (weight @ sample.mean(dim=0)).mean()  # mean over the tensor
            bias[rows] = wanted.mean - own if wanted.mean else 0.0


def _rows_of_variance(features: Tensor, count: int, variance: float) -> Tensor:
    """Rows `[count, d]` whose products with the features have this mean square."""
    rows = torch.randn(count, features.shape[1], device=features.device, dtype=features.dtype)
    # The mean of (G z)^2 over rows and samples follows from the second moments of z,
    # without a product as large as the target.
    moments = features.t() @ features / max(1, len(features))  # [d, d]
    mean_square = ((rows @ moments) * rows).sum(dim=1).mean()
    # The comparison is also false for NaN.
    if not mean_square > 0:
        return torch.zeros_like(rows)
    return rows * (variance / mean_square).sqrt()


@torch.no_grad()
def zero_heads(heads: Iterable[nn.Module]) -> None:
    """Set all parameters of the heads to zero, so that they write zeros.

    Raises:
        SpecError: A head has a spectral norm, which keeps its weight at norm 1.
    """
    for head in heads:
        if is_parametrized(head):
            raise SpecError(
                "a hypernetwork with spectral norm cannot start at zero: its heads have norm 1"
            )
        for parameter in head.parameters():
            parameter.zero_()


@torch.no_grad()
def start_by_bias(heads: list[nn.Linear], draw: Weights) -> None:
    """Let every condition start at one conventional draw.

    The weights of the heads become zero and their biases the draw.

    Args:
        heads: Linear layers whose rows, one after the other, write the target's
            scalars.
        draw: One set of weights, such as `weights_of(module)`.

    Raises:
        SpecError: The heads have no biases, or do not have one row per weight.
    """
    sizes = [head.out_features for head in heads]
    without_bias = any(len(list(head.parameters())) < 2 for head in heads)
    if without_bias or sum(sizes) != draw.spec.numel:
        raise SpecError("initialisation by bias needs heads with a bias for every generated weight")
    for head, values in zip(heads, draw.flat.detach().split(sizes), strict=True):
        head.weight.zero_()
        head.bias.copy_(values)
