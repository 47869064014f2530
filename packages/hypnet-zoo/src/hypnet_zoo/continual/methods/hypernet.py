"""Task-conditioned hypernetworks under the output regulariser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, Unpack

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from hypnet_core.errors import ConfigError, SpecError
from hypnet_core.networks import HyperNetwork, MainNetwork, Weights
from hypnet_core.plugins import HypernetChoice, with_defaults
from hypnet_core.protocols import BatchLike
from hypnet_core.specs import ConditionSpec
from hypnet_core.tasks import Problem, answering_steps
from hypnet_zoo.continual.methods._base import Base
from hypnet_zoo.continual.methods._networks import (
    GeneratedNetwork,
    Statistics,
    bytes_of,
    check_samples,
    copied,
    fisher_targets,
    target_of,
    train_embeddings,
)
from hypnet_zoo.continual.methods._output_steps import OutputSteps
from hypnet_zoo.continual.methods._protection import Protection
from hypnet_zoo.continual.methods.hypernet_options import HypernetOptions
from hypnet_zoo.continual.preparation import named
from hypnet_zoo.init import Init
from hypnet_zoo.init.mainnet import startable_names
from hypnet_zoo.init.options import init_from
from hypnet_zoo.regularizers import OutputRegularizer, fisher


class Hypernet(Base):
    r"""Generates each task's weights from an embedding, and keeps earlier ones.

    Each task $t$ has an embedding $e_t$; a hypernetwork generates the main network's
    weights $h(e_t, \theta)$. While task $t$ is learned, a regulariser keeps the weights
    of earlier tasks in place:

    $$ \mathcal{L}_t(\theta, e_t) + \frac{\beta}{t - 1} \sum_{t' < t} \lVert h(e_{t'},
    \theta) - h(e_{t'}, \theta^*) \rVert^2 $$

    with $\theta^*$ the parameters before task $t$.

    Args:
        problem: The problem.
        **options: See `HypernetOptions`.

    Raises:
        ConfigError: The main network cannot be wrapped as the options say, or options
            do not fit together.

    References:
        J. von Oswald, C. Henning, B. F. Grewe, J. Sacramento: Continual learning with
        hypernetworks. ICLR 2020, arXiv:1906.00695.
    """

    has_hypernetwork: ClassVar[bool] = True

    def __init__(self, problem: Problem, **options: Unpack[HypernetOptions]) -> None:
        super().__init__(problem)
        chosen = with_defaults(HypernetOptions, options)
        startable = startable_names(problem.module)
        network = _build(problem, chosen)
        self._take(network, chosen["protect"], chosen["distillation"])
        self.starts_own = not startable <= set(network.net.target.names)
        """Whether the main network keeps weights or biases of its own."""

    @classmethod
    def from_networks(
        cls,
        problem: Problem,
        net: MainNetwork,
        hypernet: HyperNetwork,
        *,
        protect: Protection = Protection(),  # noqa: B008  frozen
        statistics: Statistics = "per_task",
        distillation: NonNegativeFloat = 1.0,
    ) -> Self:
        """The method for networks that were built before.

        Args:
            problem: The problem.
            net: The main network.
            hypernet: Its hypernetwork, with at least one condition per task.
            protect: How earlier tasks are protected.
            statistics: Running statistics of batch norm.
            distillation: Strength of the loss of distilled statistics.

        Raises:
            ConfigError: There are fewer conditions than tasks.
        """
        if hypernet.conditions.count < len(problem.tasks):
            raise ConfigError(
                f"the hypernetwork has {hypernet.conditions.count} conditions, but there are"
                f" {len(problem.tasks)} tasks"
            )
        made = cls.__new__(cls)
        Base.__init__(made, problem)
        network = GeneratedNetwork(net, hypernet, statistics)
        made._take(network, protect, distillation)  # noqa: SLF001  of this class
        made.starts_own = True
        return made

    def _take(self, network: GeneratedNetwork, protect: Protection, distillation: float) -> None:
        self.network = network
        self.options = protect
        self.distillation = distillation
        self._steps: OutputSteps | None = None
        self._start_state: dict[str, Tensor] = {}
        self._importances: list[Tensor] = []
        check_samples(self.problem, "protect.fisher_samples", protect.fisher_samples)
        count = len(self.problem.tasks) - 1
        if protect.scale is not None and len(protect.scale) < count:
            raise ConfigError(
                f"protect.scale: {count} numbers are needed, one for each task that others"
                f" follow, got {len(protect.scale)}"
            )

    @property
    def net(self) -> MainNetwork:
        """The main network."""
        return self.network.net

    @property
    def hypernet(self) -> HyperNetwork:
        """The hypernetwork, with one condition per task."""
        return self.network.hypernet

    def begin(self, task: int) -> None:
        """Begin a task: fix the weights of the earlier ones as targets."""
        self._start_state = copied(self.hypernet) if task and self.options.beta else {}
        super().begin(task)

    def _start(self) -> None:
        first = 0 if self.options.train_previous_embeddings else self.task
        train_embeddings(self.hypernet, range(first, self.seen))
        self._optimizer = self.problem.optimizer(self._trained(), groups=self._groups())
        self._steps = OutputSteps(
            self.problem,
            self.network,
            self.task,
            options=self.options,
            optimization=self._optimizer,
            regularizer=self._regularizer(),
            distillation=self.distillation,
        )

    def _groups(self) -> dict[str, list[str]]:
        """Names of parameters, by the name of their group."""
        return self.network.groups()

    def _trained(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained, by name."""
        return dict(self.network.named_parameters())

    def _regularizer(self) -> OutputRegularizer | None:
        """The regulariser of earlier tasks; the first task has nothing to protect."""
        options, earlier = self.options, range(self.task)
        if not self.task or not options.beta:
            return None
        return OutputRegularizer(
            self.hypernet,
            earlier,
            recompute=options.recompute_targets,
            max_conditions=options.tasks_per_step,
            importance=self._importance_of(self.task),
            scale=None if options.scale is None else options.scale[: self.task],
            output_units=(
                [list(self.problem.heads.units(j)) for j in earlier] if options.used_heads else None
            ),
            # Kept for resuming in any case.
            start=self._start_state or None,
        )

    def _importance_of(self, earlier: int) -> Tensor | None:
        """The importances of the first tasks `[earlier, numel]`, if there are any.

        A task that has ended, in a state to continue from, protects only later ones.
        """
        return torch.stack(self._importances[:earlier]) if self._importances else None

    def step(self, batch: BatchLike) -> dict[str, Tensor]:
        """One training step."""
        if self._steps is None:
            raise SpecError("begin a task before the first step")
        self.network.train()
        self.optimizer.zero_grad()
        losses = self._steps.backward(batch)._asdict()
        if not self.network.distils:
            del losses["distillation"]
        losses |= self.backward_further(batch)
        self.optimizer.step()
        return losses

    def backward_further(self, batch: BatchLike) -> dict[str, Tensor]:
        """Add the gradients of further losses, and return those by name."""
        del batch
        return {}

    def end(self, task: int) -> None:
        """End a task: estimate how much its weights matter, if that is asked for."""
        kind = self.options.importance
        if kind == "none" or not self.options.beta:
            return
        spec = self.problem.specs[task]
        weights = self.hypernet(task).detach()
        size = self.net.target.numel
        plain = self.network.plain(weights.flat, task)

        def forward(batch: BatchLike) -> Tensor:
            return answering_steps(plain(batch.x), batch, spec)

        found = fisher(
            plain,
            self.problem.tasks[task].train,
            forward=forward,
            parameters=self.net.target.names,
            kind=kind,
            samples=self.options.fisher_samples,
            likelihood="gaussian" if spec.kind == "regression" else "categorical",
            **fisher_targets(self.problem, task),
        )
        # Generated statistics count fully.
        importance = torch.ones_like(weights.flat)
        importance[:size] = Weights.of(self.net.target, found).flat
        self._importances.append(importance)

    @torch.no_grad()
    def predict(self, x: Tensor, task: int | None = None) -> Tensor:
        """Outputs by the weights of a task, which must be given."""
        if task is None:
            raise SpecError("the task must be given, or inferred")
        self.network.eval()
        return self.problem.answer(self.network(x, task), task)

    @torch.no_grad()
    def predict_each(self, x: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        """Outputs by the weights of each task, all generated together."""
        self.network.eval()
        flat: Tensor = self.hypernet(list(tasks)).flat
        outputs = self.network.run(x, flat, list(tasks))
        return [
            self.problem.answer(output, task)[None]
            for output, task in zip(outputs, tasks, strict=True)
        ]

    def sizes(self) -> dict[str, int]:
        """Parameters of the hypernetwork, and the targets of its regulariser."""
        regularizer = None if self._steps is None else self._steps.regularizer
        kept = 0 if regularizer is None else regularizer.memory_bytes
        if regularizer is not None and regularizer.uses_start:
            kept += bytes_of(*self._start_state.values())
        return {
            "parameters": sum(p.numel() for p in self.network.parameters()),
            "generated": self.hypernet.target.numel,
            "memory_bytes": kept + bytes_of(*self._importances),
        }

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimiser, and the hypernetwork as it was when the task began."""
        return {
            **super().state_dict(),
            "network": dict(self.network.state_dict()),
            "start": self._start_state,
            "importances": list(self._importances),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from a state."""
        self.task = state["task"]
        self._start_state = dict(state["start"])
        self._importances = list(state["importances"])
        # Targets of the regulariser come from the hypernetwork of that time.
        if self._start_state:
            self.hypernet.load_state_dict(self._start_state)
            self._start_state = copied(self.hypernet)  # on the device of the hypernetwork
        self._load_optimizer(state)
        self.network.load_state_dict(state["network"])


def _build(problem: Problem, options: HypernetOptions) -> GeneratedNetwork:
    module, statistics = problem.module, options["statistics"]
    with named("hnet"):
        chosen = _from_module(HypernetChoice.of(options["hnet"]), module)
    with named("generate"):
        net = MainNetwork(module, generate=options["generate"])
    if statistics == "distilled" and not net.stats.params:
        raise ConfigError("statistics: the main network has no batch norm to distil")
    conditions = ConditionSpec(count=len(problem.tasks), size=options["embedding_size"])
    with named("hnet"):
        hypernet: HyperNetwork = chosen.build(target_of(net, statistics), conditions)
    return GeneratedNetwork(net, hypernet.to(problem.device), statistics)


def _from_module(choice: HypernetChoice, module: nn.Module) -> HypernetChoice:
    """The chosen hypernetwork, started as the module was built if that is asked for."""
    given = choice.options.get("init")
    if given is None or not init_from(given).from_module:
        return choice
    init = Init.of(module, init_from(given))
    return type(choice)(name=choice.name, **{**choice.options, "init": init.model_dump()})
