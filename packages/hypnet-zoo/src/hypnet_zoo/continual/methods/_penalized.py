"""The common part of methods that penalise changes of important parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from hypnet_core.errors import ConfigError
from hypnet_core.networks import MainNetwork
from hypnet_core.plugins import HypernetChoice, with_defaults
from hypnet_core.protocols import BatchLike
from hypnet_core.specs import ConditionSpec
from hypnet_core.tasks import Problem
from hypnet_zoo.continual.methods._base import OneNetwork, SharedOptions
from hypnet_zoo.continual.methods._networks import GeneratedNetwork, train_embeddings
from hypnet_zoo.continual.preparation import named
from hypnet_zoo.regularizers import EWC, SI, OnlineEWC


class PenalizedOptions(SharedOptions, total=False):
    """Options of methods with a penalty on parameters."""

    parameters: Annotated[
        tuple[str, ...] | str | None,
        Field(
            default=None,
            description=(
                "Kinds or globs of the parameters that are protected; by default all, or θ of a"
                " hypernetwork."
            ),
        ),
    ]
    hypernet: Annotated[
        HypernetChoice | None,
        Field(
            default=None,
            description=(
                "A hypernetwork that generates the network's weights from an embedding of each"
                " task, and whose θ is protected instead; for known tasks."
            ),
        ),
    ]
    embedding_size: Annotated[
        PositiveInt, Field(default=8, description="Length of a task's embedding, for `hypernet`.")
    ]


class Penalized(OneNetwork):
    """Learns all tasks with one network, or one hypernetwork, under a penalty.

    Args:
        problem: The problem.
        options: See `PenalizedOptions`.

    Raises:
        ConfigError: The tasks of test samples are unknown, but a hypernetwork needs
            them.
    """

    def __init__(self, problem: Problem, options: PenalizedOptions) -> None:
        chosen = with_defaults(PenalizedOptions, options)
        super().__init__(problem, statistics=chosen["statistics"])
        self.protected: nn.Module = problem.module
        """The module whose parameters are protected."""
        self.mask = chosen["parameters"]
        self._generated: GeneratedNetwork | None = None
        if chosen["hypernet"] is not None:
            self._generate(chosen)
        self.penalizer = self.make_penalty()

    def _generate(self, options: PenalizedOptions) -> None:
        """Train a hypernetwork instead, with one condition per task."""
        problem = self.problem
        if problem.scenario != "task":
            raise ConfigError(
                "hypernet: its weights depend on the task of a sample, which is unknown in the"
                f" scenario {problem.scenario}: use the method hypernet there"
            )
        with named("hypernet"):
            net = MainNetwork(problem.module)
            conditions = ConditionSpec(count=len(problem.tasks), size=options["embedding_size"])
            found = HypernetChoice.of(options["hypernet"] or "").build(net.target, conditions)
        self._generated = GeneratedNetwork(net, found.to(problem.device), "per_task")
        self.model, self.protected = self._generated, self._generated.hypernet
        self.mask = "unconditional" if self.mask is None else self.mask

    def make_penalty(self) -> EWC | OnlineEWC | SI:
        """The penalty on `self.protected`."""
        raise NotImplementedError

    def _start(self) -> None:
        if self._generated is not None:
            train_embeddings(self._generated.hypernet, {self.task})
        super()._start()

    def _trained(self) -> Mapping[str, nn.Parameter]:
        return (
            super()._trained() if self._generated is None else dict(self.model.named_parameters())
        )

    def _groups(self, trained: Mapping[str, nn.Parameter]) -> Mapping[str, list[str]]:
        if self._generated is None:
            return super()._groups(trained)
        return self._generated.groups()

    def penalty(self, outputs: Tensor, batch: BatchLike) -> Tensor | None:
        """The penalty, from the second task on."""
        del outputs, batch
        return self.penalizer() if self.task else None

    def memory_bytes(self) -> int:
        """Importances and the parameters that they hold."""
        if self.task < 1:
            return 0
        return 2 * sum(p.numel() * p.element_size() for p in self.penalizer.importance.values())

    def state_dict(self) -> dict[str, Any]:
        """Also the penalty."""
        return {**super().state_dict(), "penalty": self.penalizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from a state."""
        super().load_state_dict(state)
        self.penalizer.load_state_dict(state["penalty"])
