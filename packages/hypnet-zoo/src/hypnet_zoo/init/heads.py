r"""Initialisation of hypernetworks by what they generate.

A head row $g$ writes the weight $\omega = g^\top z$ from the features $z$ of length
$d$. Over random rows

$$ E[\omega^2] = \mathrm{Var}(g)\, E\lVert z \rVert^2, $$

so rows of variance $v / E\lVert z \rVert^2$ give weights of variance $v$ (hyperfan; O.
Chang, L. Flokas, H. Lipson, ICLR 2020, where $E\lVert z \rVert^2 = d
\,\mathrm{Var}(e)$). Here $E\lVert z \rVert^2$ is not assumed but measured, on the
hypernetwork's own embeddings where it has any, so depth, activation, finite width and
unevenly scaled inputs are all allowed for. A tensor has few rows and features are
correlated, so each drawn tensor is then brought to $v$ exactly.
`docs/initialisation.md` has the whole story.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from hypnet_core.errors import SpecError
from hypnet_core.networks import EMBEDDING, UNCONDITIONAL, HyperNetwork, Weights
from hypnet_core.specs import TargetSpec
from hypnet_zoo.init.moments import Start

_SAMPLES = 512


def calibration_inputs(
    hypernet: HyperNetwork,
    *,
    cond_var: float = 1.0,
    uncond_var: float = 1.0,
    samples: int = _SAMPLES,
) -> Tensor:
    """Inputs `[B, n]` as `generate` will get them at the start.

    Args:
        hypernet: The hypernetwork. Its own embeddings are used, each as often as
            needed; where it keeps none, normal draws.
        cond_var: Variance of embeddings that come from the caller.
        uncond_var: Variance of unconditional inputs.
        samples: At least how many.

    Raises:
        SpecError: A variance is negative.
    """
    if min(cond_var, uncond_var) < 0:
        raise SpecError(
            f"cond_var and uncond_var must not be negative, got {cond_var} and {uncond_var}"
        )
    like = next(hypernet.parameters())
    count = hypernet.conditions.count
    rows = -(-samples // count) * count if count else samples
    parts = []
    for name, size in hypernet.input_sizes.items():
        if name == UNCONDITIONAL:
            parts.append(
                uncond_var**0.5 * torch.randn(rows, size, device=like.device, dtype=like.dtype)
            )
        elif count:
            own = torch.stack([p.detach().flatten() for p in hypernet.parameters_of(name)])
            parts.append(own.repeat(rows // count, 1))
        else:
            variance = cond_var if name == EMBEDDING else 1.0
            parts.append(
                variance**0.5 * torch.randn(rows, size, device=like.device, dtype=like.dtype)
            )
    return torch.cat(parts, dim=1) if parts else like.new_empty((rows, 0))


@torch.no_grad()
def init_heads(
    heads: list[nn.Linear],
    features: Tensor | Sequence[Tensor],
    target: TargetSpec,
    starts: tuple[Start, ...],
) -> None:
    """Draw the heads so that every tensor of the target starts as wanted.

    Args:
        heads: Linear layers whose rows, one after the other, write the target's
            scalars. A tensor lies within one head.
        features: What reaches them at the start, `[B, d]`: one sample for all tensors
            of the target, or one each.
        target: What they write.
        starts: What each tensor should start like. Without biases a mean cannot be
            written; its square then counts as variance.
    """
    samples = [features] * len(target) if isinstance(features, Tensor) else features
    remaining = iter(heads)
    head, offset = next(remaining), 0
    for param, start, sample in zip(target.params, starts, samples, strict=True):
        if param.numel == 0:
            continue
        if offset == head.out_features:
            head, offset = next(remaining), 0
        rows = slice(offset, offset + param.numel)
        offset += param.numel
        bias: Tensor | None = head.bias
        weight = _rows_of_variance(
            sample, param.numel, start.mean_square if bias is None else start.variance
        )
        if not is_parametrized(head):
            head.weight[rows] = weight
        if bias is not None:
            # The rows themselves have a mean over conditions and tensor, small but not
            # zero: a wanted mean allows for it.
            bias[rows] = start.mean - (weight @ sample.mean(dim=0)).mean() if start.mean else 0.0


def _rows_of_variance(features: Tensor, count: int, variance: float) -> Tensor:
    """Rows `[count, d]` whose products with the features have exactly this mean square."""
    rows = torch.randn(count, features.shape[1], device=features.device, dtype=features.dtype)
    # mean of (G z)^2 over rows and samples, through the second moments of z: no product
    # as large as the target
    moments = features.t() @ features / max(1, len(features))
    mean_square = ((rows @ moments) * rows).sum(dim=1).mean()
    if not mean_square > 0:
        return torch.zeros_like(rows)
    return rows * (variance / mean_square).sqrt()


@torch.no_grad()
def zero_heads(heads: Iterable[nn.Module]) -> None:
    """Let everything that layers write be exactly zero.

    Raises:
        SpecError: One has a spectral norm, which brings every weight to size 1.
    """
    for head in heads:
        if is_parametrized(head):
            raise SpecError(
                "a hypernetwork with spectral norm cannot start at zero: its heads have norm 1"
            )
        for parameter in head.parameters():
            parameter.zero_()


@torch.no_grad()
def init_by_bias(heads: list[nn.Linear], draw: Weights) -> None:
    """Every condition starts at one conventional draw: head weights zero, head biases the draw.

    Args:
        heads: Linear layers whose rows, one after the other, write the target's
            scalars.
        draw: One set of weights, such as `weights_of(module)`.

    Raises:
        SpecError: The heads have no biases, or do not have one row per weight.
    """
    if (
        any(len(list(head.parameters())) < 2 for head in heads)
        or sum(head.out_features for head in heads) != draw.spec.numel
    ):
        raise SpecError("initialisation by bias needs heads with a bias for every generated weight")
    flat = draw.flat.detach()
    for head, values in zip(heads, flat.split([head.out_features for head in heads]), strict=True):
        head.weight.zero_()
        head.bias.copy_(values)
