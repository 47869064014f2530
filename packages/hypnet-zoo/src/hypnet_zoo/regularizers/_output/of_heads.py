"""The penalty of a hypernetwork, head by head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hypnet_core.errors import SpecError
from hypnet_core.networks import HasLinearHeads, HyperNetwork
from hypnet_zoo.regularizers._output.heads import (
    DirectHead,
    Form,
    GramHead,
    chosen_forms,
    outputs_differ_as,
)
from hypnet_zoo.regularizers._output.layout import Layout
from hypnet_zoo.regularizers._output.reading import State, at_rest, generated, heads_of


class HeadsPenalty:
    """The penalty of some conditions by their heads' features.

    Args:
        hypernet: The hypernetwork.
        conditions: Ids of the earlier conditions.
        importance: How much each weight counts: `[numel]`.
        forms: The form of each head.
        start: The parameters at the start; heads refer to them without a copy.
        recompute: Compute the features at the start anew each time.
    """

    def __init__(
        self,
        hypernet: HyperNetwork,
        conditions: Sequence[int],
        importance: Tensor,
        forms: Sequence[Form],
        *,
        start: State,
        recompute: bool,
    ) -> None:
        self.forms = tuple(forms)
        self._start = start
        counted = _importance_of_outputs(hypernet, importance)
        with at_rest(hypernet):
            heads = heads_of(hypernet, conditions, start) or []
            self._parts = [
                GramHead(head, Layout(one)) if form == "gram" else DirectHead(one)
                for head, one, form in zip(heads, counted, forms, strict=True)
            ]
            self._kept = (
                None
                if recompute
                else [part.kept(head) for part, head in zip(self._parts, heads, strict=True)]
            )

    def __call__(
        self,
        hypernet: HyperNetwork,
        conditions: Sequence[int],
        scale: Tensor,
        *,
        rows: Sequence[int] | None = None,
        state: State | None = None,
    ) -> Tensor:
        """The penalty, a scalar.

        Args:
            hypernet: The hypernetwork now.
            conditions: Ids of the conditions.
            scale: Importance of each: `[C]`.
            rows: Their places among those that were given at the start; `None` for
                all of them, in the same order.
            state: Parameters in place of the hypernetwork's own.
        """
        heads = heads_of(hypernet, conditions, state) or []
        kept = self._kept_of(hypernet, conditions, rows)
        first, *others = (
            part.penalty(head, of_part, scale)
            for part, head, of_part in zip(self._parts, heads, kept, strict=True)
        )
        return sum(others, first)

    @property
    def numbers(self) -> int:
        """How many numbers are remembered of the conditions."""
        return sum(one.numel() for one in self._kept or [])

    def _kept_of(
        self, hypernet: HyperNetwork, conditions: Sequence[int], rows: Sequence[int] | None
    ) -> list[Tensor]:
        if self._kept is not None:
            return self._kept if rows is None else [one[list(rows)] for one in self._kept]
        with at_rest(hypernet):
            heads = heads_of(hypernet, conditions, self._start) or []
            return [part.kept(head) for part, head in zip(self._parts, heads, strict=True)]


def forms_of(
    hypernet: HyperNetwork,
    conditions: Sequence[int],
    importance: Tensor,
    *,
    count: int,
    wanted: Form | None,
) -> list[Form]:
    """The form of each head; a single "direct" for the whole, where no head differs.

    Args:
        hypernet: The hypernetwork, at the start.
        conditions: Ids of the earlier conditions.
        importance: How much each weight counts: `[numel]`.
        count: Number of conditions in a step.
        wanted: The form of all heads that have the choice; `None` to choose.

    Raises:
        SpecError: Gram matrices are wanted, but the heads cannot be read.
    """
    direct: list[Form] = ["direct"]
    if wanted == "direct":
        return direct
    with at_rest(hypernet):
        one = heads_of(hypernet, conditions[:1])
        if one is None:
            return _refused(wanted, f"a {type(hypernet).__name__} cannot be read so")
        forms = chosen_forms(one, _importance_of_outputs(hypernet, importance), count, wanted)
        if "gram" not in forms:
            return direct
        if not _tells_the_truth(hypernet, conditions[0]):
            # A subclass may have changed what is generated, but not what is told.
            return _refused(wanted, "the heads that it tells of do not write its weights")
    return forms


def _refused(wanted: Form | None, reason: str) -> list[Form]:
    if wanted == "gram":
        raise SpecError(f'form="gram" needs linear heads (see HasLinearHeads): {reason}')
    return ["direct"]


def _tells_the_truth(hypernet: HyperNetwork, condition: int) -> bool:
    others = [other for other in range(hypernet.conditions.count) if other != condition]
    pair = [condition, *others[:1]] if others else [condition, condition]
    one, other = generated(hypernet, pair)
    ones = one.new_ones(len(one))
    heads = heads_of(hypernet, pair) or []
    return outputs_differ_as(heads, _importance_of_outputs(hypernet, ones), one - other)


def _importance_of_outputs(hypernet: HyperNetwork, importance: Tensor) -> list[Tensor]:
    if not isinstance(hypernet, HasLinearHeads):
        return []
    return hypernet.importance_of_outputs(importance)
