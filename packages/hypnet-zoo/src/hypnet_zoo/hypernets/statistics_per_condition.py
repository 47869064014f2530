"""Running statistics of a hypernetwork's batch norms for each condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from hypnet_core.errors import ConditionError, SpecError
from hypnet_core.networks import (
    Condition,
    HyperNetwork,
    StatisticsBank,
    Weights,
    check_tensors,
    condition_ids,
    named_statistics,
    statistics_spec,
)
from hypnet_core.specs import TargetSpec
from hypnet_zoo.hypernets.wrapper import Wrapper


class StatisticsPerCondition(Wrapper):
    """A hypernetwork whose batch norms have running statistics for each condition.

    Batch norm makes the weights of one row depend on the other rows of its batch; it
    suits batches of noise (`uncond_input`) under one condition. A call with one
    condition reads and, in training, updates that condition's statistics alone. In a
    batch of conditions, the rows of each condition are normalised by themselves. A
    condition that has not been trained uses the statistics of the hypernetwork itself.

    Args:
        inner: The hypernetwork.

    Raises:
        SpecError: The hypernetwork has no running statistics.

    Example:
        >>> from hypnet_core.specs import ConditionSpec
        >>> from hypnet_zoo.hypernets import HMLP
        >>> conditions = ConditionSpec(count=2, input_size=4)
        >>> inner = HMLP(TargetSpec.from_shapes([[3, 2]]), conditions, batch_norm=True)
        >>> hnet = StatisticsPerCondition(inner)
        >>> hnet(1, uncond_input=torch.randn(32, 4)).batch_shape
        torch.Size([32])
        >>> bool(hnet.statistics(1).flat.equal(hnet.statistics(0).flat))
        False
    """

    def __init__(self, inner: HyperNetwork) -> None:
        super().__init__(inner.target, inner)
        self.stats: TargetSpec = statistics_spec(inner)
        if not self.stats.params:
            raise SpecError(
                f"{type(inner).__name__} has no running statistics: build it with batch_norm=True"
            )
        self.bank = StatisticsBank(inner)

    def statistics(self, condition: int) -> Weights:
        """A copy of the running means and variances of one condition, to be distilled.

        Raises:
            ConditionError: The id is not a whole number from 0.
        """
        (i,) = condition_ids(condition).ids
        rows = self.bank.rows(i, dict(named_statistics(self.inner)))
        return Weights.of(self.stats, {name: rows[name] for name in self.stats.names})

    def forward(
        self,
        condition: Condition | None = None,
        *,
        cond_input: Tensor | Mapping[str, Tensor] | None = None,
        uncond_input: Tensor | None = None,
        statistics_of: int | None = None,
        stats: Mapping[str, Tensor] | None = None,
    ) -> Weights:
        """Generate weights.

        Args:
            condition: One id, or a batch of ids.
            cond_input: As the inner hypernetwork takes it.
            uncond_input: `[input_size]` or `[B, input_size]`.
            statistics_of: Condition whose statistics to use for the whole batch; by
                default each condition's own, and for `cond_input` those of the
                hypernetwork itself.
            stats: Statistics to use instead, for example distilled ones: one tensor per
                name of `self.stats`. They are not changed.

        Raises:
            WeightsError: Names or shapes of `stats` are not those expected.
            ConditionError: An id is out of range, or an input is missing or of the
                wrong size.
        """
        given = {"cond_input": cond_input, "uncond_input": uncond_input}
        if stats is not None:
            check_tensors(self.stats, stats)
            return self._run(
                # Batch norm updates its buffers in place: the given tensors must stay.
                {name: tensor.detach().clone() for name, tensor in stats.items()},
                condition,
                given,
            )
        ids = () if condition is None else self.ids_of(condition).ids
        if statistics_of is not None:
            (which,) = condition_ids(statistics_of).ids
        elif len(set(ids)) > 1:
            return self._each(ids, given)
        elif ids:
            which = ids[0]
        else:
            return self._run({}, condition, given)
        own = dict(named_statistics(self.inner))
        # Evaluation only reads, so it makes no room for a condition that is new.
        if self.training:
            self.bank.reserve([which], own)
        return self._run(self.bank.rows(which, own), condition, given)

    def _each(self, ids: tuple[int, ...], given: Mapping[str, Any]) -> Weights:
        """Generate the rows of each condition by themselves, and restore the order."""
        noise = given["uncond_input"]
        if given["cond_input"] is not None:
            raise ConditionError(
                "a batch of several conditions takes no cond_input here: pass one condition at a"
                " time"
            )
        flat: list[Tensor] = [torch.empty(0)] * len(ids)
        # Each condition once, in the order of the batch.
        for one in dict.fromkeys(ids):
            places = [place for place, other in enumerate(ids) if other == one]
            own = (
                # Noise has one row per id, or is the same for all.
                noise[places]
                if noise is not None and noise.ndim > 1 and len(noise) == len(ids)
                else noise
            )
            for place, row in zip(
                places, self([one] * len(places), uncond_input=own).flat, strict=True
            ):
                flat[place] = row
        return Weights(torch.stack(flat), self.target, conditions=ids)

    def _run(self, buffers: Mapping[str, Tensor], condition: Any, given: dict[str, Any]) -> Weights:
        weights: Weights = functional_call(self.inner, dict(buffers), (condition,), given)
        return weights
