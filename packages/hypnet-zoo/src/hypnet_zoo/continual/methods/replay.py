"""Replay of kept samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import BatchLike
from hypnet_core.tasks import Problem, Split
from hypnet_zoo.continual.methods._base import OneNetwork, SharedOptions
from hypnet_zoo.continual.methods._memory.exemplars import Exemplars, Selection, herded
from hypnet_zoo.continual.methods._memory.mixed import mixed_loss


class Replay(OneNetwork):
    r"""Trains on kept samples of earlier tasks beside those of the present one.

    $$ \frac{1}{t} \mathcal{L}_t + \Bigl(1 - \frac{1}{t}\Bigr) \mathcal{L}_{memory} $$

    while task $t$ is learned.

    Args:
        problem: The problem.
        budget: Number of samples that are kept, of all tasks together.
        selection: Which samples are kept: a uniform draw (`reservoir`), the last ones
            of each class (`ring`), or those that represent the mean feature of their
            class best (`herding`), features being the inputs of the last linear layer.
        replay_batch: Kept samples per training step; as many as new ones by default.
        **options: See `SharedOptions`.

    Raises:
        ConfigError: There is less than one sample for each class.

    References:
        G. M. van de Ven, A. S. Tolias: Three scenarios for continual learning. 2019,
        arXiv:1904.07734. A. Chaudhry et al.: On tiny episodic memories in continual
        learning. 2019, arXiv:1902.10486.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        budget: PositiveInt = 200,
        selection: Selection = "reservoir",
        replay_batch: PositiveInt | None = None,
        **options: Unpack[SharedOptions],
    ) -> None:
        super().__init__(problem, **options)
        classes = _classes(problem)
        if budget < classes:
            raise ConfigError(
                f"budget: {budget} samples are less than one for each of {classes} classes"
            )
        self.selection = selection
        self.replay_batch = replay_batch
        self.exemplars = Exemplars(problem, budget)

    @property
    def _quota(self) -> int:
        """Samples per class, of the classes so far."""
        heads, last = self.problem.heads, max(self.task, 0)
        first = self.problem.tasks[0].spec
        so_far = heads.classes(last).stop if first.kind == "classification" else last + 1
        return max(self.exemplars.budget // so_far, 1)

    def step(self, batch: BatchLike) -> dict[str, Tensor]:
        """One step on new and kept samples; new ones are offered to the memory."""
        losses = super().step(batch)
        if self.selection == "reservoir":
            self.exemplars.offer(batch, self.task)
        elif self.selection == "ring":
            self.exemplars.keep_last(batch, self.task, self._quota)
        return losses

    @property
    def loss_weight(self) -> float:
        """The weight of new samples: all tasks count alike."""
        return 1.0 / self.seen if self.task and len(self.exemplars) else 1.0

    def penalty(self, outputs: Tensor, batch: BatchLike) -> Tensor | None:
        """The weighted loss of kept samples of earlier tasks."""
        del outputs
        drawn = self.exemplars.draw(self.replay_batch or len(batch), before=self.task)
        if drawn is None:
            return None
        return (1.0 - 1.0 / self.seen) * mixed_loss(self.problem, self.network, drawn, self.task)

    def end(self, task: int) -> None:
        """Choose the samples of a task that are kept."""
        if self.selection == "herding":
            self.exemplars.limit(self._quota, newest=False)
            self._herd(task)

    @torch.no_grad()
    def _herd(self, task: int) -> None:
        """Keep the samples that follow the mean feature of their class best."""
        self.network.eval()
        fields: dict[str, list[Tensor]] = {}
        features = []
        train = self.problem.tasks[task].train
        # Samples themselves, not random variants of them.
        split = train.unaugmented() if isinstance(train, Split) else train
        for batch in split.batches(1000, device=self.problem.device):
            features.append(self._features(batch.x, task).cpu())
            for name, field in self.exemplars.fields_of(batch, task).items():
                fields.setdefault(name, []).append(field)
        whole = {name: torch.cat(parts) for name, parts in fields.items()}
        found = torch.cat(features)
        for label in whole["class"].unique():
            rows = (whole["class"] == label).nonzero().squeeze(1)
            best = rows[herded(found[rows], self._quota)]
            self.exemplars.add({name: field[best] for name, field in whole.items()})

    def _features(self, x: Tensor, task: int) -> Tensor:
        """Inputs of the last linear layer, flat; the samples themselves without one."""
        layers = [part for part in self.network.modules() if isinstance(part, nn.Linear)]
        if not layers:
            return x.flatten(1)
        seen: list[Tensor] = []
        handle = layers[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self.network(x, task)
        finally:
            handle.remove()
        return seen[-1].flatten(1)

    def memory_bytes(self) -> int:
        """The kept samples."""
        return self.exemplars.nbytes

    def state_dict(self) -> dict[str, Any]:
        """Also the kept samples."""
        return {**super().state_dict(), "exemplars": self.exemplars.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from a state."""
        super().load_state_dict(state)
        self.exemplars.load_state_dict(state["exemplars"])


def _classes(problem: Problem) -> int:
    """Number of classes of all tasks; a regression counts as one."""
    if problem.tasks[0].spec.kind != "classification":
        return len(problem.tasks)
    return problem.heads.classes(len(problem.tasks) - 1).stop
