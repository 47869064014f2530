"""Learning without forgetting: distillation of earlier tasks on new data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from hypnet_core.protocols import BatchLike
from hypnet_core.tasks import Problem, at_targets
from hypnet_zoo.continual.methods._base import OneNetwork, SharedOptions
from hypnet_zoo.continual.methods._distillation import Teacher, distillation


class LwF(OneNetwork):
    r"""Keeps the old network's predictions on the data of the new task.

    $$ \mathcal{L}_t + \lambda T^2 \sum_{u < t} H(p_u^{*}(x; T), p_u(x; T)) $$

    with $p^*_u$ the predictions for task $u$ by the network before task $t$, at
    temperature $T$. No old data are kept, only one copy of the network. Regression
    uses the squared difference instead.

    Args:
        problem: The problem.
        strength: $\lambda$.
        temperature: $T$.
        **options: See `SharedOptions`.

    References:
        Z. Li, D. Hoiem: Learning without forgetting. ECCV 2016, arXiv:1606.09282.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        strength: NonNegativeFloat = 1.0,
        temperature: PositiveFloat = 2.0,
        **options: Unpack[SharedOptions],
    ) -> None:
        super().__init__(problem, **options)
        self.strength = strength
        self.temperature = temperature
        self._teacher = Teacher()

    def begin(self, task: int) -> None:
        """Begin a task: keep a copy of the network as it is."""
        if task:
            self._teacher.keep(self.network)
        super().begin(task)

    def penalty(self, outputs: Tensor, batch: BatchLike) -> Tensor | None:
        """Distillation of the earlier tasks' predictions on the new data."""
        old = self._teacher.network
        if old is None:
            return None
        heads = self.problem.heads
        # Without statistics of their own, all tasks have the same outputs.
        own = self.network.has_own_statistics
        # Tasks with one head have one prediction to keep, however many there are.
        tasks = [self.task - 1] if heads.kind != "multi" else range(self.task)
        with torch.no_grad():
            before = [old(batch.x, task) for task in tasks] if own else [old(batch.x)] * len(tasks)
        now = (
            [self.network.recall(batch.x, task) for task in tasks]
            if own
            else [outputs] * len(tasks)
        )
        parts = []
        for task, wanted, found in zip(tasks, before, now, strict=True):
            units = heads.competing(task) if heads.kind != "single" else range(heads.out_features)
            parts.append(self._difference(found, wanted, units, batch))
        return self.strength * torch.stack(parts).sum()

    def _difference(
        self, outputs: Tensor, targets: Tensor, units: range, batch: BatchLike
    ) -> Tensor:
        """How far outputs are from the old ones, where there are targets."""
        spec = self.problem.specs[self.task]
        now, before = (
            at_targets(found, batch, spec)[..., units.start : units.stop]
            for found in (outputs, targets)
        )
        if spec.kind == "classification":
            return distillation(now, before, self.temperature)
        return F.mse_loss(now, before)

    def memory_bytes(self) -> int:
        """The copy of the network."""
        return self._teacher.nbytes

    def state_dict(self) -> dict[str, Any]:
        """Also the copy of the network."""
        return {**super().state_dict(), "old": self._teacher.saved()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from a state."""
        super().load_state_dict(state)
        self._teacher.resume(state["old"], self.network)
