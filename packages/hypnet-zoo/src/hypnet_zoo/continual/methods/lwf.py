"""Learning without forgetting: distillation of earlier tasks on new data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from hypnet_core.protocols import BatchLike
from hypnet_core.tasks import Problem
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

    def penalty(self, batch: BatchLike) -> Tensor | None:
        """Distillation of the earlier tasks' predictions on the new data."""
        old = self._teacher.network
        if old is None:
            return None
        heads = self.problem.heads
        # Tasks with one head have one prediction to keep, however many there are.
        tasks = [self.task - 1] if heads.kind != "multi" else range(self.task)
        parts = []
        for task in tasks:
            units = heads.competing(task) if heads.kind != "single" else range(heads.out_features)
            cut = slice(units.start, units.stop)
            with torch.no_grad():
                targets = old(batch.x, task)[..., cut]
            parts.append(self._difference(self.network(batch.x, task)[..., cut], targets))
        return self.strength * torch.stack(parts).sum()

    def _difference(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.problem.tasks[self.task].spec.kind == "classification":
            return distillation(outputs, targets, self.temperature)
        return F.mse_loss(outputs, targets)

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
