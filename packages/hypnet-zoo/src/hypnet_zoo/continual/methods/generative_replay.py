"""Generative replay: HNET+R."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import with_defaults
from hypnet_core.protocols import BatchLike
from hypnet_core.tasks import Problem
from hypnet_zoo.continual.methods._base import OneNetwork
from hypnet_zoo.continual.methods._distillation import Teacher, distillation
from hypnet_zoo.continual.methods._networks import competing_outputs
from hypnet_zoo.continual.methods._vae import GeneratedVAE, GeneratorOptions


class GenerativeReplay(OneNetwork):
    r"""Trains one classifier on generated samples of earlier tasks: HNET+R.

    A variational autoencoder whose decoder a hypernetwork generates for each task draws
    inputs of earlier tasks; a copy of the classifier from before the present task says
    how sure it is of each class. With $t$ tasks so far the loss is

    $$ \frac{1}{t} \mathcal{L}_t + \Bigl(1 - \frac{1}{t}\Bigr) \mathcal{L}_{distilled} +
    \mathcal{L}_{VAE} $$

    Args:
        problem: The problem.
        temperature: Temperature of the copy's predictions.
        **options: See `GeneratorOptions`.

    Raises:
        ConfigError: The tasks are regressions or sequences.

    References:
        J. von Oswald et al.: Continual learning with hypernetworks. ICLR 2020,
        arXiv:1906.00695, section 2 and appendix. Without hypernetworks: H. Shin et al.,
        NIPS 2017, arXiv:1705.08690.
    """

    has_hypernetwork: ClassVar[bool] = True

    def __init__(
        self,
        problem: Problem,
        *,
        temperature: PositiveFloat = 2.0,
        **options: Unpack[GeneratorOptions],
    ) -> None:
        super().__init__(problem)
        check_generates(problem)
        chosen = with_defaults(GeneratorOptions, options)
        self.temperature = temperature
        self.replay_batch = chosen["replay_batch"]
        self.vae = GeneratedVAE(problem, chosen)
        self._teacher = Teacher()
        self._competing = self._taught = torch.empty(0)

    def begin(self, task: int) -> None:
        """Begin a task: keep a copy of the classifier, and fix earlier decoders."""
        if task:
            self._teacher.keep(self.network)
        self.vae.begin(task)
        super().begin(task)

    def _start(self) -> None:
        # For each task, the outputs that compete now, and those before this task.
        self._competing = competing_outputs(self.problem, self.task)
        self._taught = competing_outputs(self.problem, self.task - 1)
        super()._start()

    def _trained(self) -> Mapping[str, nn.Parameter]:
        own = {f"vae.{name}": p for name, p in self.vae.named_parameters()}
        return {**super()._trained(), **own}

    def _groups(self, trained: Mapping[str, nn.Parameter]) -> Mapping[str, list[str]]:
        return {"mainnet": [n for n in trained if not n.startswith("vae.")], **self.vae.groups()}

    def step(self, batch: BatchLike) -> dict[str, Tensor]:
        """One step of classifier and generative model."""
        self.vae.train()
        return super().step(batch)

    @property
    def loss_weight(self) -> float:
        """The weight of new samples: all tasks count alike."""
        return 1.0 / self.seen

    def penalty(self, outputs: Tensor, batch: BatchLike) -> Tensor:
        """Losses of generated samples and of the generative model."""
        del outputs
        loss = self.vae.loss(batch.x, self.task)
        old = self._teacher.network
        if old is None:
            return loss
        x, tasks = self.vae.replayed(self.task, self.replay_batch or len(batch))
        with torch.no_grad():
            targets = old(x)
        found = distillation(
            self.network(x),
            targets,
            self.temperature,
            competing=self._competing[tasks],
            taught=self._taught[tasks],
        )
        return loss + (1.0 - 1.0 / self.seen) * found

    def sizes(self) -> dict[str, int]:
        """Also the generative model."""
        found = super().sizes()
        extra = sum(p.numel() for p in self.vae.parameters())
        return {**found, "parameters": found["parameters"] + extra}

    def memory_bytes(self) -> int:
        """The copy of the classifier, and the targets of the decoder's regulariser."""
        return self.vae.kept_bytes(self.task) + self._teacher.nbytes

    def state_dict(self) -> dict[str, Any]:
        """Also the generative model and the copy."""
        return {
            **super().state_dict(),
            "vae": self.vae.saved(),
            "old": self._teacher.saved(),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from a state."""
        self.vae.resume(state["vae"], state["task"])
        super().load_state_dict(state)
        self._teacher.resume(state["old"], self.network)


def check_generates(problem: Problem) -> None:
    """Refuse tasks whose inputs cannot be generated and labelled.

    Raises:
        ConfigError: The tasks are regressions or sequences.
    """
    first = problem.tasks[0].spec
    if first.kind != "classification" or first.sequence:
        what = "sequences" if first.sequence else "regression"
        raise ConfigError(
            f"method: generative replay is for classes of single inputs, not for {what}"
        )
