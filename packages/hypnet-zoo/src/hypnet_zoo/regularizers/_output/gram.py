r"""The squared change of a linear head's outputs, through Gram matrices.

With features $\varphi$ and a head $W, b$, which were $\varphi^*$ and $W^*, b^*$ at the
start, write $D = W - W^*$, $\beta = b - b^*$ and $\delta = \varphi - \varphi^*$. An
output has changed by $D\varphi + \beta + W^*\delta$, and over all pairs of conditions
and chunks

$$ \sum \lVert D\varphi + \beta + W^*\delta \rVert^2
= \mathrm{tr}(D^\top D\, \Phi) + 2\,\mathrm{tr}(D^\top W^* A)
+ \mathrm{tr}(W^{*\top} W^* B)
+ 2 \beta^\top (D s + W^* a) + N \lVert \beta \rVert^2 $$

with $\Phi = \sum \varphi\varphi^\top$, $A = \sum \delta\varphi^\top$, $B = \sum
\delta\delta^\top$, $s = \sum \varphi$, $a = \sum \delta$ and $N$ pairs. No output is
generated. The terms hold differences alone, so that small changes are exact.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from hypnet_zoo.regularizers._output.layout import Layout


class Start:
    """A head as it was at the start.

    Args:
        weight: `[n, d]`.
        bias: `[n]`.
        layout: How much each output counts.

    Attributes:
        gram: $W^{*T} W^*$ of each segment of rows: `[S, d, d]`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, layout: Layout) -> None:
        self.weight, self.bias, self.layout = weight, bias, layout
        self.sections = layout.sections(weight.shape[1])
        self.gram = weight.new_zeros((layout.segments, weight.shape[1], weight.shape[1]))
        for rows, segment in self.sections:
            self.gram[segment].addmm_(weight[rows].mT, weight[rows])


class Sums(NamedTuple):
    r"""Sums over pairs, for each pattern of chunks.

    Attributes:
        phi: $\Phi$, `[P, d, d]`.
        cross: $A$, `[P, d, d]`.
        change: $B$, `[P, d, d]`.
        features: $s$, `[P, d]`.
        changes: $a$, `[P, d]`.
        pairs: $N$, `[P, 1]`.
    """

    phi: Tensor
    cross: Tensor
    change: Tensor
    features: Tensor
    changes: Tensor
    pairs: Tensor


class Products(NamedTuple):
    r"""Products of a head with its change, for each segment of rows.

    Attributes:
        gram: $D^\top D$, `[S, d, d]`.
        cross: $D^\top W^*$, `[S, d, d]`.
        bias: $D^\top \beta$, `[S, d]`.
        bias_start: $W^{*\top} \beta$, `[S, d]`.
        square: $\lVert \beta \rVert^2$, `[S, 1]`.
    """

    gram: Tensor
    cross: Tensor
    bias: Tensor
    bias_start: Tensor
    square: Tensor


class Fixed(NamedTuple):
    """The part that does not change during a task.

    Attributes:
        start: The head at the start.
        features: Its features at the start: `[C, K, d]`.
        phi: Sum of products of these, for each pattern: `[P, d, d]`.
        scale: Importance of each condition: `[C]`.
    """

    start: Start
    features: Tensor
    phi: Tensor
    scale: Tensor


def fixed(start: Start, features: Tensor, scale: Tensor) -> Fixed:
    """Prepare the part that does not change, from the features at the start.

    Args:
        start: The head at the start.
        features: `[C, K, d]`.
        scale: Importance of each condition: `[C]`.
    """
    layout = start.layout
    weighted = features * _importance_of_pairs(layout, scale)
    phi = torch.cat(
        [
            of_pairs.mT @ own
            for of_pairs, own in zip(
                layout.arrange(weighted), layout.arrange(features), strict=True
            )
        ]
    )
    return Fixed(start, features, phi, scale)


def penalty(features: Tensor, weight: Tensor, bias: Tensor | None, start: Fixed) -> Tensor:
    """The squared change of the outputs, a scalar.

    Args:
        features: What the head reads now: `[C, K, d]`.
        weight: The head now: `[n, d]`.
        bias: `[n]`.
        start: Head and features at the start.
    """
    # Squares of small differences need the parameters' own precision.
    with torch.autocast(weight.device.type, enabled=False):
        value: Tensor = _Penalty.apply(features.to(weight.dtype), weight, bias, start)[0]
        return value


class _Penalty(torch.autograd.Function):
    """Four products of rows and features with `[d, d]`: two forward, two backward."""

    @staticmethod
    def forward(features: Tensor, weight: Tensor, bias: Tensor | None, start: Fixed) -> Any:
        sums = _sums(features, start)
        products = _products(weight, bias, start.start)
        shares = start.start.layout.shares  # [S, P]
        of_segments = Sums(*(_mixed(shares, one) for one in sums))
        value = (
            (products.gram * of_segments.phi).sum()
            + 2 * (products.cross * of_segments.cross.mT).sum()
            + (start.start.gram * of_segments.change).sum()
            + 2 * (products.bias * of_segments.features).sum()
            + 2 * (products.bias_start * of_segments.changes).sum()
            + (products.square * of_segments.pairs).sum()
        )
        return value, *of_segments, *products

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        features, weight, bias, start = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(features, weight, bias, *output[1:])
        ctx.start = start

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        gradient = gradients[0]
        features, weight, bias, *found = ctx.saved_tensors
        if torch.is_grad_enabled():
            # Second derivatives are rare: they follow from the outputs themselves.
            return (*_differentiable(gradient, features, weight, bias, ctx.start), None)
        sums, products = Sums(*found[: len(Sums._fields)]), Products(*found[len(Sums._fields) :])
        of_features = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_features = _gradient_of_features(2 * gradient, features, products, ctx.start)
        if any(ctx.needs_input_grad[1:3]):
            of_weight, of_bias = _gradient_of_head(2 * gradient, weight, bias, sums, ctx.start)
        return of_features, of_weight, of_bias, None


def _sums(features: Tensor, start: Fixed) -> Sums:
    layout = start.start.layout
    change = features - start.features
    pairs = _importance_of_pairs(layout, start.scale)
    cross, changed, summed, changes, counts = [], [], [], [], []
    for now, delta, importance in zip(
        layout.arrange(features),
        layout.arrange(change),
        layout.arrange(pairs.expand(*features.shape[:2], 1)),
        strict=True,
    ):
        weighted = (delta * importance).mT  # [patterns, d, pairs]
        cross.append(weighted @ now)
        changed.append(weighted @ delta)
        summed.append((importance.mT @ now).squeeze(1))
        changes.append(weighted.sum(dim=2))
        counts.append(importance.sum(dim=1))
    a, b = torch.cat(cross), torch.cat(changed)
    # Of the features as they are now, two products suffice for all three sums.
    phi = start.phi + a + a.mT - b
    return Sums(phi, a, b, torch.cat(summed), torch.cat(changes), torch.cat(counts))


def _products(weight: Tensor, bias: Tensor | None, start: Start) -> Products:
    segments, width = len(start.gram), weight.shape[1]
    gram, cross = (weight.new_zeros((segments, width, width)) for _ in range(2))
    of_bias, of_start = (weight.new_zeros((segments, width)) for _ in range(2))
    square = weight.new_zeros((segments, 1))
    for rows, segment in start.sections:
        then = start.weight[rows]
        change = weight[rows] - then
        gram[segment].addmm_(change.mT, change)
        cross[segment].addmm_(change.mT, then)
        if bias is not None and start.bias is not None:
            shift = bias[rows] - start.bias[rows]
            of_bias[segment].addmv_(change.mT, shift)
            of_start[segment].addmv_(then.mT, shift)
            square[segment] += shift.square().sum()
    return Products(gram, cross, of_bias, of_start, square)


def _gradient_of_features(
    factor: Tensor, features: Tensor, products: Products, start: Fixed
) -> Tensor:
    layout = start.start.layout
    shares = layout.shares.mT  # [P, S]
    sizes = [len(group) for group in layout.groups]
    by_now = (factor * _mixed(shares, products.gram + products.cross)).split(sizes)
    by_change = (factor * _mixed(shares, products.cross.mT + start.start.gram)).split(sizes)
    by_bias = (factor * _mixed(shares, products.bias + products.bias_start)).split(sizes)
    arranged = [
        torch.baddbmm(torch.baddbmm(shift.unsqueeze(1), now, of_now), delta, of_change)
        for now, delta, of_now, of_change, shift in zip(
            layout.arrange(features),
            layout.arrange(features - start.features),
            by_now,
            by_change,
            by_bias,
            strict=True,
        )
    ]
    return layout.restore(arranged, len(features)) * _importance_of_pairs(layout, start.scale)


def _gradient_of_head(
    factor: Tensor, weight: Tensor, bias: Tensor | None, sums: Sums, start: Fixed
) -> tuple[Tensor, Tensor | None]:
    phi, cross, _, features, changes, pairs = (factor * one for one in sums)
    of_weight = torch.empty_like(weight)
    of_bias = None if bias is None else torch.empty_like(bias)
    for rows, segment in start.start.sections:
        then = start.start.weight[rows]
        change = weight[rows] - then
        # Into one tensor, section by section: a large one in between would cost more
        # than the products.
        part = torch.mm(change, phi[segment], out=of_weight[rows])
        part.addmm_(then, cross[segment])
        if bias is not None and of_bias is not None and start.start.bias is not None:
            shift = bias[rows] - start.start.bias[rows]
            part.addr_(shift, features[segment])
            own = torch.mv(change, features[segment], out=of_bias[rows])
            own.addmv_(then, changes[segment]).addcmul_(shift, pairs[segment])
    return of_weight, of_bias


def _differentiable(
    gradient: Tensor, features: Tensor, weight: Tensor, bias: Tensor | None, start: Fixed
) -> list[Tensor | None]:
    """The gradients as functions of the inputs, by way of all outputs."""
    layout, then = start.start.layout, start.start
    given = [one for one in (features, weight, bias) if one is not None]
    importance = layout.importance() * start.scale[:, None, None]
    change = torch.nn.functional.linear(features, weight, bias) - torch.nn.functional.linear(
        start.features, then.weight, then.bias
    )
    value = (importance * change.square()).sum()
    wanted = [one for one in given if one.requires_grad]
    found = iter(torch.autograd.grad(value, wanted, gradient, create_graph=True))
    return [
        next(found) if one is not None and one.requires_grad else None
        for one in (features, weight, bias)
    ]


def _importance_of_pairs(layout: Layout, scale: Tensor) -> Tensor:
    """`[C, K, 1]`."""
    return (scale[:, None] * layout.factors).unsqueeze(2)


def _mixed(shares: Tensor, of_each: Tensor) -> Tensor:
    """Weighted sums over the first dimension."""
    return (shares @ of_each.flatten(1)).view(len(shares), *of_each.shape[1:])
