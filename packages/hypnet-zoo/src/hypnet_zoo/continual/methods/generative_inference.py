"""Task inference by generative replay: HNET+TIR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Unpack

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from hypnet_core.plugins import only, with_defaults
from hypnet_core.protocols import BatchLike
from hypnet_core.tasks import Problem
from hypnet_zoo.continual.methods._vae import GeneratedVAE, GeneratorOptions, mlp
from hypnet_zoo.continual.methods.generative_replay import check_generates
from hypnet_zoo.continual.methods.hypernet import Hypernet
from hypnet_zoo.continual.methods.hypernet_options import HypernetOptions


class InferenceOptions(HypernetOptions, GeneratorOptions, total=False):
    """Options of `GenerativeInference`."""

    inference_hidden: Annotated[
        tuple[PositiveInt, ...],
        Field(default=(128, 128), description="Hidden layers of the network that infers tasks."),
    ]


class GenerativeInference(Hypernet):
    r"""Infers the task of a sample by a network of its own, then generates: HNET+TIR.

    The method `hypernet` protects each task's weights. Beside it, a classifier
    $\alpha(x)$ learns which task an input belongs to, from the inputs of the present
    task and from generated ones of earlier tasks, by a variational autoencoder whose
    decoder another hypernetwork generates. Here all tasks count alike in its loss.

    Args:
        problem: The problem.
        **options: See `InferenceOptions`.

    Raises:
        ConfigError: The tasks are regressions or sequences, or options do not fit
            together.

    References:
        J. von Oswald et al.: Continual learning with hypernetworks. ICLR 2020,
        arXiv:1906.00695, section 2 and appendix.
    """

    def __init__(self, problem: Problem, **options: Unpack[InferenceOptions]) -> None:
        check_generates(problem)
        chosen = with_defaults(InferenceOptions, options)
        super().__init__(problem, **only(HypernetOptions, chosen))
        self.replay_batch = chosen["replay_batch"]
        self.vae = GeneratedVAE(problem, only(GeneratorOptions, chosen))
        widths = (self.vae.size, *chosen["inference_hidden"], len(problem.tasks))
        self.classifier = mlp(widths).to(problem.device)

    def begin(self, task: int) -> None:
        """Begin a task: fix earlier weights and decoders."""
        self.vae.begin(task)
        super().begin(task)

    def _trained(self) -> dict[str, nn.Parameter]:
        parts = {"vae": self.vae, "classifier": self.classifier}
        own = {
            f"{part}.{name}": parameter
            for part, module in parts.items()
            for name, parameter in module.named_parameters()
        }
        return {**super()._trained(), **own}

    def _groups(self) -> dict[str, list[str]]:
        own, others = super()._groups(), self.vae.groups()
        return {name: [*own[name], *others.get(name, [])] for name in own}

    def backward_further(self, batch: BatchLike) -> dict[str, Tensor]:
        """Gradients of the generative model and of the classifier of tasks."""
        self.vae.train()
        self.classifier.train()
        generative = self.vae.loss(batch.x, self.task)
        inference = self._inference(batch.x)
        (generative + inference).backward()
        return {"generative": generative.detach(), "inference": inference.detach()}

    def _inference(self, x: Tensor) -> Tensor:
        """The loss of the classifier; its first task is the only one."""
        own = self._task_loss(x, torch.full((len(x),), self.task, device=x.device))
        if not self.task:
            return own
        replayed, tasks = self.vae.replayed(self.task, self.replay_batch or len(x))
        share = 1.0 / self.seen
        return share * own + (1.0 - share) * self._task_loss(replayed, tasks)

    def _task_loss(self, x: Tensor, tasks: Tensor) -> Tensor:
        return F.cross_entropy(self.classifier(x.flatten(1))[:, : self.seen], tasks)

    @torch.no_grad()
    def infer_task(self, x: Tensor) -> Tensor:
        """The most probable task of each input, `[B]`."""
        self.classifier.eval()
        logits: Tensor = self.classifier(x.flatten(1))
        return logits[:, : self.seen].argmax(dim=1)

    def sizes(self) -> dict[str, int]:
        """Also the generative model and the classifier of tasks."""
        found = super().sizes()
        extra = sum(p.numel() for part in (self.vae, self.classifier) for p in part.parameters())
        return {
            **found,
            "parameters": found["parameters"] + extra,
            "memory_bytes": found["memory_bytes"] + self.vae.kept_bytes(self.task),
        }

    def state_dict(self) -> dict[str, Any]:
        """Also the generative model and the classifier."""
        return {
            **super().state_dict(),
            "vae": self.vae.saved(),
            "classifier": dict(self.classifier.state_dict()),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from a state."""
        self.vae.resume(state["vae"], state["task"])
        super().load_state_dict(state)
        self.classifier.load_state_dict(state["classifier"])
