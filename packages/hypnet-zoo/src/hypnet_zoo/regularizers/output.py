"""The output regulariser: protects the weights of earlier tasks from change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from hypnet_core.errors import ConditionError, SpecError, clipped
from hypnet_core.networks import HyperNetwork, Weights, condition_ids


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

    Make one for each task, then call it in each training step. All conditions go
    through the hypernetwork together, or in blocks of the size at which it is fastest.
    `blocks` and `penalty` serve training loops that add conditions to a batch of their
    own.

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
        block_size: Conditions per call of the hypernetwork, by default its
            `conditions_per_call`.

    Raises:
        ConditionError: The conditions are no ids.
        SpecError: A shape does not fit, or `output_units` is given and the target has
            no output layer.

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
        # Buffers too: norms must not use statistics of later tasks.
        state = (*hypernet.named_parameters(), *hypernet.named_buffers())
        self._start = (
            {name: tensor.detach().clone() for name, tensor in state} if recompute else None
        )
        self._targets = None if recompute else self._generate_all()

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
        blocks = self.blocks(generator=generator)
        if not blocks:
            # Nothing to protect: a zero on the right device, without history.
            return next(self.hypernet.parameters()).new_zeros(())
        total = sum(len(block) for block in blocks)
        return torch.stack(
            [self.penalty(self._generate(block, delta), block, total=total) for block in blocks]
        ).sum()

    def blocks(self, *, generator: torch.Generator | None = None) -> list[list[int]]:
        """The conditions of this step, in blocks of one call each."""
        chosen = self.conditions
        if self.max_conditions is not None and self.max_conditions < len(chosen):
            picks = torch.randperm(len(chosen), generator=generator)[: self.max_conditions].tolist()
            chosen = [chosen[i] for i in picks]
        return [chosen[i : i + self.block_size] for i in range(0, len(chosen), self.block_size)]

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

    def _generate(self, conditions: Sequence[int], delta: Mapping[str, Tensor] | None) -> Tensor:
        if delta is None:
            weights: Weights = self.hypernet(conditions)
            return weights.flat
        parameters = dict(self.hypernet.named_parameters())
        unknown = [name for name in delta if name not in parameters]
        if unknown:
            raise SpecError(
                f"delta names parameters that the hypernetwork does not have: {', '.join(unknown)}"
            )
        # Parameters without a change stay those of the module.
        moved = {name: parameters[name] + change for name, change in delta.items()}
        ahead: Weights = functional_call(self.hypernet, moved, (conditions,))
        return ahead.flat

    @torch.no_grad()
    def _generate_fixed(self, conditions: Sequence[int]) -> Tensor:
        """Generate in evaluation mode, with the kept parameters if there are any."""
        was_training = self.hypernet.training
        self.hypernet.eval()
        try:
            fixed: Weights = functional_call(self.hypernet, self._start or {}, (conditions,))
            return fixed.flat
        # The caller may be in the middle of a training step.
        finally:
            self.hypernet.train(was_training)

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
