"""Penalties of a hypernetwork's heads, each in the form that costs less."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hypnet_core.networks import LinearHead
from hypnet_zoo.regularizers._output import gram
from hypnet_zoo.regularizers._output.layout import Layout

Form = Literal["direct", "gram"]

# In multiplications; see `_cheaper`.
_PER_OUTPUT = 60
_PER_NUMBER_OF_HEAD = 40
_PER_SECTION = 1_000_000


class GramHead:
    """The squared change of a head's outputs, from its features.

    Args:
        start: The head at the start.
        layout: How much each of its outputs counts.
    """

    form: Form = "gram"

    def __init__(self, start: LinearHead, layout: Layout) -> None:
        weight = _weight_of(start)
        self._start = gram.Start(weight, start.bias, layout)
        self._last: gram.Fixed | None = None

    def kept(self, start: LinearHead) -> Tensor:
        """The numbers to remember of each condition: its features, `[C, K, d]`."""
        return start.features

    def penalty(self, head: LinearHead, kept: Tensor, scale: Tensor) -> Tensor:
        """The penalty of some conditions.

        Args:
            head: The head now.
            kept: What `kept` gave for these conditions at the start.
            scale: Importance of each condition: `[C]`.
        """
        last = self._last
        # The same tensors come again in every step that takes all conditions.
        if last is None or last.features is not kept or last.scale is not scale:
            self._last = last = gram.fixed(self._start, kept, scale)
        return gram.penalty(head.features, _weight_of(head), head.bias, last)


class DirectHead:
    """The squared change of a head's outputs, from the outputs.

    Args:
        importance: How much each output counts: `[K, n]`.
    """

    form: Form = "direct"

    def __init__(self, importance: Tensor) -> None:
        self._importance = importance

    def kept(self, start: LinearHead) -> Tensor:
        """The numbers to remember of each condition: its outputs, `[C, K, n]`."""
        return _outputs(start)

    def penalty(self, head: LinearHead, kept: Tensor, scale: Tensor) -> Tensor:
        """The penalty of some conditions; see `GramHead.penalty`."""
        squares = (_outputs(head) - kept).square() * self._importance
        return (squares.sum(dim=(1, 2)) * scale).sum()


def chosen_forms(
    heads: Sequence[LinearHead], importance: Sequence[Tensor], conditions: int, form: Form | None
) -> list[Form]:
    """The form of each head.

    Args:
        heads: The heads, with the features of any number of conditions.
        importance: How much each output counts: `[K, n]` for each head.
        conditions: Number of conditions in a step.
        form: The form of all heads that have the choice; `None` to choose.
    """
    return [
        "direct"
        if head.weight is None or not counted.any()
        else form or _cheaper(head.weight, Layout(counted), conditions)
        for head, counted in zip(heads, importance, strict=True)
    ]


def _cheaper(weight: Tensor, layout: Layout, conditions: int) -> Form:
    """Compare the operations of a step, forward and backward.

    The direct form multiplies every row with the features of every pair three times,
    and reads and writes the outputs; the other multiplies rows and features with a
    square matrix four times, and looks at the head twice.
    """
    rows, width = weight.shape
    pairs = conditions * sum(group.numel() for group in layout.groups)
    direct = rows * pairs * (3 * width + _PER_OUTPUT)
    mixing = 3 * layout.segments * layout.patterns * width**2
    by_gram = (
        4 * width**2 * (rows + pairs)
        + mixing
        + _PER_NUMBER_OF_HEAD * rows * width
        + _PER_SECTION * layout.segments
    )
    return "gram" if by_gram < direct else "direct"


def _weight_of(head: LinearHead) -> Tensor:
    if head.weight is None:
        raise TypeError("an identity has no Gram matrix of its own")
    return head.weight


def _outputs(head: LinearHead) -> Tensor:
    if head.weight is None:
        return head.features
    return F.linear(head.features, head.weight, head.bias)


def outputs_differ_as(
    heads: Sequence[LinearHead], importance: Sequence[Tensor], change: Tensor
) -> bool:
    """Whether the heads tell how far the weights of two conditions are from each other.

    Args:
        heads: The heads, for two conditions.
        importance: How much each output counts, if each weight counts 1.
        change: The difference of the two sets of weights: `[numel]`.
    """
    found = change.new_zeros(())
    for head, counted in zip(heads, importance, strict=True):
        one, other = _outputs(head)
        found = found + ((one - other).square() * counted).sum()
    wanted = change.square().sum()
    return bool(torch.isclose(found, wanted, rtol=1e-3, atol=1e-6 * change.numel()))
