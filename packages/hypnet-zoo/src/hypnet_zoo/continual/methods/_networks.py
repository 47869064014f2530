"""The networks that methods train: one for all tasks, or generated for each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from hypnet_core.errors import ConfigError
from hypnet_core.networks import (
    HyperNetwork,
    MainNetwork,
    StatisticsBank,
    Weights,
    evaluating,
    materialize,
    named_statistics,
)
from hypnet_core.specs import TargetSpec
from hypnet_core.tasks import Problem

Statistics = Literal["per_task", "shared", "distilled"]
"""Whose running statistics batch norm uses: each task's own, those of all tasks, or
those that a hypernetwork reproduces."""

_LEAST = 1e-5
"""Least variance, as batch norm adds it."""

SHARED = 0
"""The condition whose statistics all tasks share."""


class SharedNetwork(nn.Module):
    """One network for all tasks.

    Args:
        module: The network.
        statistics: `per_task` keeps running statistics of batch norm for each task.
    """

    def __init__(self, module: nn.Module, statistics: Literal["per_task", "shared"]) -> None:
        super().__init__()
        self.module = module
        self.bank = StatisticsBank(module) if statistics == "per_task" else None

    def forward(self, x: Tensor, task: int | None = None) -> Tensor:
        """Outputs `[B, out_features]` for inputs of one task."""
        if self.bank is None or not self.bank.names or task is None:
            output: Tensor = self.module(x)
            return output
        own = self.bank.own(self.module)
        if self.training:
            self.bank.reserve([task], own)
        found: Tensor = functional_call(self.module, self.bank.rows(task, own), (x,))
        return found

    @property
    def has_own_statistics(self) -> bool:
        """Whether outputs depend on the task, by running statistics of its own."""
        return self.bank is not None and bool(self.bank.names)

    def recall(self, x: Tensor, task: int | None = None) -> Tensor:
        """Outputs by the running statistics that are kept, which do not change."""
        norms = [part for part in self.module.modules() if _has_statistics(part)]
        with evaluating(*norms):
            found: Tensor = self(x, task)
        return found


def _has_statistics(module: nn.Module) -> bool:
    return next(named_statistics(module), None) is not None and not any(module.children())


class GeneratedNetwork(nn.Module):
    r"""A main network whose weights a hypernetwork generates for each task.

    With distilled statistics the hypernetwork generates running means and the
    logarithms of running variances as well.

    Args:
        net: The main network.
        hypernet: Its hypernetwork, one condition per task.
        statistics: Whose running statistics batch norm uses.
    """

    def __init__(self, net: MainNetwork, hypernet: HyperNetwork, statistics: Statistics) -> None:
        super().__init__()
        self.net = net
        self.hypernet = hypernet
        self.statistics = statistics

    @property
    def distils(self) -> bool:
        """Whether statistics are generated."""
        return self.statistics == "distilled"

    def groups(self) -> dict[str, list[str]]:
        """Names of parameters, by the name of their group."""
        return generated_groups(self.net, self.hypernet)

    def forward(self, x: Tensor, task: int) -> Tensor:
        """Outputs `[B, out_features]` by the weights of a task."""
        return self.run(x, self.hypernet(task).flat, task)

    def run(self, x: Tensor, flat: Tensor, tasks: int | Sequence[int]) -> Tensor:
        """Outputs by generated weights: those of one task, or of several in a batch.

        Args:
            x: Inputs `[B, *in_shape]`.
            flat: What the hypernetwork generated, `[numel]` or `[len(tasks), numel]`.
            tasks: The task, or the tasks.
        """
        weights = self._weights(flat, tasks)
        if self.distils and not self.training:
            output: Tensor = self.net(x, weights=weights, stats=self._statistics(flat))
        else:
            output = self.net(x, weights=weights)
        return output

    def plain(self, flat: Tensor, task: int) -> nn.Module:
        """The network of one task as a module of its own, as `run` evaluates it.

        Args:
            flat: What the hypernetwork generated for the task, `[numel]`.
            task: The task.
        """
        module = materialize(self.net, self._weights(flat, task))
        if self.distils:
            stats = self._statistics(flat)
            for name in stats:
                module.get_buffer(name).copy_(stats[name])
        return module

    def _weights(self, flat: Tensor, tasks: int | Sequence[int]) -> Weights:
        ids = tasks
        if self.statistics == "shared":
            ids = SHARED if isinstance(tasks, int) else [SHARED] * len(tasks)
        return Weights(flat[..., : self.net.target.numel], self.net.target, conditions=ids)

    def _statistics(self, flat: Tensor) -> Weights:
        """Generated statistics: means as they are, variances from their logarithms."""
        raw = Weights(flat[..., self.net.target.numel :], self.net.stats)
        parts = {
            name: raw[name].exp() if name.endswith("running_var") else raw[name] for name in raw
        }
        return Weights.of(raw.spec, parts)

    def distillation(self, flat: Tensor, task: int) -> Tensor:
        r"""How far generated statistics are from those of a task.

        The mean of $(\hat\mu - \mu)^2 / v$ and $(\log \hat v - \log v)^2$, which do not
        depend on the scale of activations.
        """
        raw = Weights(flat[self.net.target.numel :], self.net.stats)
        wanted = self.net.statistics(task)
        parts = []
        for name in raw:
            if name.endswith("running_var"):
                parts.append((raw[name] - wanted[name].clamp(min=_LEAST).log()).square())
            else:
                variance = wanted[name.removesuffix("mean") + "var"].clamp(min=_LEAST)
                parts.append((raw[name] - wanted[name]).square() / variance)
        return torch.cat(parts).mean()


def train_embeddings(hypernet: HyperNetwork, conditions: Collection[int]) -> None:
    """Let the embeddings of some conditions learn, and no others.

    A frozen embedding reaches neither the optimiser nor the clipping.
    """
    for condition in range(hypernet.conditions.count):
        for parameter in hypernet.conditional_parameters(condition):
            parameter.requires_grad_(condition in conditions)


def hypernet_groups(hypernet: HyperNetwork, prefix: str) -> dict[str, list[str]]:
    """Names of a hypernetwork's parameters, by the name of their group.

    Args:
        hypernet: The hypernetwork.
        prefix: What stands before its own names in those of the trained parameters.
    """
    own = hypernet.parameter_groups()
    return {
        "embeddings": [prefix + name for name in own["conditional"]],
        "theta": [prefix + name for name in own["unconditional"]],
    }


def generated_groups(net: MainNetwork, hypernet: HyperNetwork) -> dict[str, list[str]]:
    """The groups of a module that has both, as `net` and as `hypernet`."""
    mainnet = [f"net.{name}" for name, _ in net.named_parameters()]
    return {**hypernet_groups(hypernet, "hypernet."), "mainnet": mainnet}


def target_of(net: MainNetwork, statistics: Statistics) -> TargetSpec:
    """Everything that a hypernetwork has to generate for a main network."""
    if statistics != "distilled":
        return net.target
    return TargetSpec(params=(*net.target.params, *net.stats.params))


def competing_outputs(problem: Problem, now: int) -> Tensor:
    """For each task up to `now`, the outputs that compete while `now` is learned.

    Returns:
        `[tasks, out_features]`, true where an output competes; nothing does for later
        tasks.
    """
    heads = problem.heads
    allowed = torch.zeros(len(heads.sizes), heads.out_features, dtype=torch.bool)
    for task in range(now + 1):
        units = problem.competing(task, now)
        allowed[task, units.start : units.stop] = True
    return allowed.to(problem.device)


class FisherTargets(TypedDict):
    """The options of `fisher` that depend on the task."""

    output_units: list[int]
    target_transform: Callable[[Tensor], Tensor] | None


def fisher_targets(problem: Problem, task: int) -> FisherTargets:
    """Outputs and labels of a task's Fisher information: those of its loss."""
    units = problem.competing(task)
    offset = problem.heads.units(task).start - units.start

    def transform(targets: Tensor) -> Tensor:
        # Labels count from the first class that competes.
        if targets.is_floating_point():
            return F.pad(targets, (offset, 0))
        return targets + offset

    return {"output_units": list(units), "target_transform": transform if offset else None}


def bytes_of(*tensors: Tensor) -> int:
    """Memory of some tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def copied(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all tensors of a module."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def check_samples(problem: Problem, option: str, samples: int | None) -> None:
    """Refuse more samples than a task has, before the first one is learned.

    Raises:
        ConfigError: A task has fewer training samples.
    """
    for task in problem.tasks:
        if samples is not None and samples > len(task.train):
            raise ConfigError(
                f"{option}: {samples} samples were asked for, but {task.spec.name} has"
                f" {len(task.train)} training samples"
            )
