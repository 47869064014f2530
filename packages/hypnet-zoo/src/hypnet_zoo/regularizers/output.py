"""The output regulariser: protects the weights of earlier tasks from change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hypnet_core.errors import ConditionError, SpecError, clipped
from hypnet_core.networks import HyperNetwork, condition_ids
from hypnet_zoo.regularizers._output.heads import Form
from hypnet_zoo.regularizers._output.of_heads import HeadsPenalty, forms_of
from hypnet_zoo.regularizers._output.reading import State, at_rest, generated, moved


def _copied(hypernet: HyperNetwork) -> dict[str, Tensor]:
    # Buffers too: norms must not use statistics of later tasks.
    state = (*hypernet.named_parameters(), *hypernet.named_buffers())
    return {name: tensor.detach().clone() for name, tensor in state}


def _listed(conditions: object) -> list[int]:
    if not isinstance(conditions, (Sequence, Tensor)) or isinstance(conditions, str):
        raise ConditionError(
            "conditions are the ids of earlier conditions, such as [0, 1], got"
            f" {clipped(repr(conditions))}"
        )
    return list(condition_ids(conditions).ids) if len(conditions) else []


class OutputRegularizer:
    r"""Penalises changes of the weights generated for earlier conditions.

    $$ R(\theta) = \frac{1}{T} \sum_{j=1}^{T} s_j \sum_i F_{ji}\,
    \bigl(h_i(e_j, \theta) - \omega^*_{ji}\bigr)^2 $$

    where $\omega^*_j$ are the weights of condition $j$ when this object is made, before
    the new task is learned. The importances $F$ and the scales $s$ are 1 unless given.

    Targets are generated in evaluation mode, and compared with weights generated in the
    current mode. With dropout or batch norm in the hypernetwork the penalty in training
    is therefore positive even if nothing has changed.

    Make one for each task, then call it in each training step. The penalty has two
    forms of the same value:

    - `direct` generates the weights of all conditions, together or in blocks of the
      size at which the hypernetwork is fastest, and compares them with stored ones.
    - `gram` generates none. The weights are outputs of a linear head, so their squared
      change follows from the head's change and from sums of products of its inputs.
      The head costs the same for any number of conditions. Of each condition its
      features are stored instead of its weights, and once the parameters.

    The form with fewer operations is chosen for each head. `gram` needs importances
    that are the same for all conditions, apart from `scale`, and a hypernetwork that
    tells of its linear heads: see `HasLinearHeads` in `hypnet_core.networks`. `blocks`
    and `penalty` serve training loops that add conditions to a batch of their own, in
    the direct form.

    Args:
        hypernet: The hypernetwork, as it is before the new task.
        conditions: Ids of the earlier conditions.
        recompute: Keep a copy of all parameters instead of the generated weights, and
            generate the targets anew each time: constant memory, for a second forward
            pass.
        importance: Importance of each weight for each task, such as a Fisher
            information: `[T, numel]`.
        scale: Importance of each task: `[T]`.
        output_units: For each condition, the output units of the main network that its
            task uses; weights of the others are free.
        max_conditions: Use a random subset of this many conditions in each call; the
            mean is then over the subset.
        block_size: Conditions per call of the hypernetwork in the direct form, by
            default its `conditions_per_call`.
        form: The form, for all heads that have the choice; chosen by default.
        start: A copy of the hypernetwork's parameters and buffers, by name, if the
            caller keeps one: the object does without a copy then.

    Attributes:
        forms: The form of each head, or that of the whole.

    Raises:
        ConditionError: The conditions are no ids.
        SpecError: A shape does not fit, `output_units` is given and the target has no
            output layer, or `form="gram"` is not possible.

    References:
        J. von Oswald, C. Henning, B. F. Grewe, J. Sacramento: Continual learning with
        hypernetworks. ICLR 2020, arXiv:1906.00695, eq. 2.
    """

    def __init__(
        self,
        hypernet: HyperNetwork,
        conditions: Sequence[int],
        *,
        recompute: bool = False,
        importance: Tensor | None = None,
        scale: Sequence[float] | Tensor | None = None,
        output_units: Sequence[Sequence[int]] | None = None,
        max_conditions: int | None = None,
        block_size: int | None = None,
        form: Literal["auto", "direct", "gram"] = "auto",
        start: Mapping[str, Tensor] | None = None,
    ) -> None:
        given: object = hypernet
        if not isinstance(given, HyperNetwork):
            raise SpecError(f"a hypernetwork is expected, got {clipped(repr(given))}")
        self.hypernet = hypernet
        self.conditions = _listed(conditions)
        if max_conditions is not None and max_conditions < 1:
            raise SpecError(f"max_conditions must be positive, got {max_conditions}")
        if block_size is not None and block_size < 1:
            raise SpecError(f"block_size must be positive, got {block_size}")
        self.max_conditions = max_conditions
        # Without any limit all conditions go in one call.
        self.block_size = block_size or hypernet.conditions_per_call or max(len(self.conditions), 1)
        self._place = {condition: i for i, condition in enumerate(self.conditions)}
        self._importance = self._importances(importance, output_units)
        self._scale = self._scales(scale)
        self.forms: tuple[Form, ...] = tuple(self._forms(form))
        by_heads = self.form != "direct"
        self._start: State | None = None
        if recompute or by_heads:
            self._start = _copied(hypernet) if start is None else start
        self._targets = None if recompute or by_heads else self._generate_all()
        self._heads = (
            HeadsPenalty(
                hypernet,
                self.conditions,
                self._common_importance(),
                self.forms,
                start=self._start,
                recompute=recompute,
            )
            if by_heads and self._start is not None
            else None
        )
        self._owns_start = start is None
        # One tensor for all steps that take all conditions.
        self._shares = self._importance_of(range(len(self.conditions)))

    @property
    def form(self) -> Literal["direct", "gram", "mixed"]:
        """The form of all heads, or `mixed` where they differ."""
        return self.forms[0] if len(set(self.forms)) == 1 else "mixed"

    @property
    def uses_start(self) -> bool:
        """Whether the parameters at the start are needed in each step."""
        return self._start is not None

    @property
    def memory_bytes(self) -> int:
        """Memory of all that is remembered for the conditions.

        A `start` that the caller keeps does not count.
        """
        tensors = [] if self._targets is None else [self._targets]
        tensors += list((self._start or {}).values()) if self._owns_start else []
        element = next(self.hypernet.parameters()).element_size()
        remembered = 0 if self._heads is None else element * self._heads.numbers
        return remembered + sum(one.numel() * one.element_size() for one in tensors)

    def __call__(
        self, *, delta: Mapping[str, Tensor] | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        r"""The penalty, a scalar.

        Args:
            delta: Look ahead: a change of the hypernetwork's parameters, by name, that
                is added before generating: $h(e_j, \theta + \Delta\theta)$. Parameters
                without a change may be left out.
            generator: Chooses the random subset, on the CPU.
        """
        chosen = self._chosen(generator)
        if not chosen:
            # Nothing to protect: a zero on the right device, without history.
            return next(self.hypernet.parameters()).new_zeros(())
        state = moved(self.hypernet, delta)
        if self._heads is not None:
            rows = None if chosen is self.conditions else self._rows(chosen)
            shares = self._shares if rows is None else self._importance_of(rows)
            return self._heads(self.hypernet, chosen, shares, rows=rows, state=state)
        return torch.stack(
            [
                self.penalty(generated(self.hypernet, block, state), block, total=len(chosen))
                for block in self._in_blocks(chosen)
            ]
        ).sum()

    def blocks(self, *, generator: torch.Generator | None = None) -> list[list[int]]:
        """The conditions of this step, in blocks of one call each."""
        return self._in_blocks(self._chosen(generator))

    def _in_blocks(self, chosen: list[int]) -> list[list[int]]:
        return [chosen[i : i + self.block_size] for i in range(0, len(chosen), self.block_size)]

    def _chosen(self, generator: torch.Generator | None) -> list[int]:
        """All conditions, or a random subset of them."""
        if self.max_conditions is None or self.max_conditions >= len(self.conditions):
            return self.conditions
        picks = torch.randperm(len(self.conditions), generator=generator)[: self.max_conditions]
        return [self.conditions[i] for i in picks.tolist()]

    def penalty(
        self, flat: Tensor, conditions: Sequence[int], *, total: int | None = None
    ) -> Tensor:
        """The penalty of some conditions.

        Args:
            flat: The weights generated for them now: `[len(conditions), numel]`.
            conditions: Their ids.
            total: Number of conditions in the mean; all of `conditions` by default.
        """
        targets = self.targets(conditions)
        total = len(conditions) if total is None else total
        if self._importance is None and self._scale is None:
            # Fused: no tensor of squares as large as the weights.
            return F.mse_loss(flat, targets, reduction="sum") / total
        rows = self._rows(conditions)
        squares = (flat - targets).square()
        if self._importance is not None:
            squares = squares * self._importance[rows]
        sums = squares.sum(dim=1)
        return (sums if self._scale is None else sums * self._scale[rows]).sum() / total

    def targets(self, conditions: Sequence[int]) -> Tensor:
        r"""The weights $\omega^*$ of some conditions, `[len(conditions), numel]`."""
        if self._targets is None:
            return self._generate_fixed(conditions)
        rows = self._rows(conditions)
        first, count = rows[0], len(rows)
        if rows == list(range(first, first + count)):
            return self._targets[first : first + count]  # neighbours need no copy
        return self._targets[rows]

    def _rows(self, conditions: Sequence[int]) -> list[int]:
        try:
            return [self._place[condition] for condition in conditions]
        except KeyError as error:
            raise SpecError(
                f"condition {error} is not regularised; these are: {self.conditions}"
            ) from None

    def _generate_fixed(self, conditions: Sequence[int]) -> Tensor:
        """Generate in evaluation mode, with the kept parameters if there are any."""
        with at_rest(self.hypernet):
            return generated(self.hypernet, conditions, self._start)

    def _importance_of(self, rows: Sequence[int]) -> Tensor:
        """The share of each of some conditions in the mean: `[C]`."""
        like = next(self.hypernet.parameters())
        scale = like.new_ones(len(rows)) if self._scale is None else self._scale[list(rows)]
        return scale / max(len(rows), 1)

    def _forms(self, wanted: Literal["auto", "direct", "gram"]) -> list[Form]:
        if wanted == "direct" or not self.conditions:
            return ["direct"]
        if self._importance is not None and bool((self._importance != self._importance[0]).any()):
            if wanted == "gram":
                raise SpecError('form="gram" needs the same importances for all conditions')
            return ["direct"]
        return forms_of(
            self.hypernet,
            self.conditions,
            self._common_importance(),
            count=min(self.max_conditions or len(self.conditions), len(self.conditions)),
            wanted=None if wanted == "auto" else wanted,
        )

    def _common_importance(self) -> Tensor:
        """How much each weight counts, the same for all conditions: `[numel]`."""
        if self._importance is None:
            return next(self.hypernet.parameters()).new_ones(self.hypernet.target.numel)
        return self._importance[0]

    def _generate_all(self) -> Tensor:
        like = next(self.hypernet.parameters())
        # Block by block into one tensor: concatenating would need twice the memory.
        targets = like.new_empty((len(self.conditions), self.hypernet.target.numel))
        for start in range(0, len(self.conditions), self.block_size):
            block = self.conditions[start : start + self.block_size]
            targets[start : start + len(block)] = self._generate_fixed(block)
        return targets

    def _importances(
        self, importance: Tensor | None, output_units: Sequence[Sequence[int]] | None
    ) -> Tensor | None:
        shape = (len(self.conditions), self.hypernet.target.numel)
        if importance is not None and tuple(importance.shape) != shape:
            raise SpecError(
                f"importance must have shape {list(shape)} (conditions, weights), got"
                f" {list(importance.shape)}"
            )
        if output_units is None:
            return importance
        if len(output_units) != len(self.conditions):
            raise SpecError(
                f"output_units must be given for {len(self.conditions)} conditions, got"
                f" {len(output_units)}"
            )
        like = next(self.hypernet.parameters())
        masks = torch.tensor(
            [self.hypernet.target.output_mask(units) for units in output_units], dtype=like.dtype
        ).to(like.device)
        return masks if importance is None else masks * importance

    def _scales(self, scale: Sequence[float] | Tensor | None) -> Tensor | None:
        if scale is None:
            return None
        if len(scale) != len(self.conditions):
            raise SpecError(
                f"scale must have {len(self.conditions)} values, one per condition, got"
                f" {len(scale)}"
            )
        return torch.as_tensor(scale).to(next(self.hypernet.parameters()))
