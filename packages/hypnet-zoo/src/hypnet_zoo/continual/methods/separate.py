"""Separate networks: one for each task."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import BatchLike
from hypnet_core.tasks import Problem
from hypnet_zoo.continual.methods._base import PredictsByDraws
from hypnet_zoo.continual.methods._networks import bytes_of


class Separate(PredictsByDraws):
    """Trains a network of its own for each task: nothing is forgotten or shared.

    Networks start as different seeds would start them. A module that was given, not
    made by name or by a function, starts every task as it was given.

    With several members, each task has an ensemble whose members start differently,
    which `infer=agreement` compares.

    Args:
        problem: The problem.
        members: Networks per task, whose predictions are averaged: probabilities of
            classes, or numbers.

    Raises:
        ConfigError: Several members would all start alike.
    """

    def __init__(self, problem: Problem, *, members: PositiveInt = 1) -> None:
        super().__init__(problem)
        if members > 1 and problem.make is None:
            raise ConfigError(
                f"members: {members} networks would all start as the module that was given: give"
                " a function that makes one instead"
            )
        self.members = members
        self.networks = nn.ModuleList()
        """One list of members for each task that was begun."""

    def begin(self, task: int) -> None:
        """Make the networks of a task, and their optimiser."""
        self._add(task)
        super().begin(task)

    def _add(self, task: int) -> None:
        # The first network of all starts as the problem's own module.
        members = [self._new(first=not task and not number) for number in range(self.members)]
        if any(_alike(*pair) for pair in itertools.combinations(members, 2)):
            raise ConfigError(
                "members: the networks of a task start alike: their weights must be drawn at random"
            )
        self.networks.append(nn.ModuleList(members).to(self.problem.device))

    def _new(self, *, first: bool) -> nn.Module:
        make = self.problem.make
        # A function may give the same one again.
        return copy.deepcopy(self.problem.module if first or make is None else make())

    def _start(self) -> None:
        own = dict(self.networks[self.task].named_parameters())
        self._optimizer = self.problem.optimizer(own, groups={"mainnet": list(own)})

    def step(self, batch: BatchLike) -> dict[str, Tensor]:
        """One step of all members of the present task."""
        self.optimizer.zero_grad()
        members = self._members(self.task)
        losses = [
            self.problem.loss(member.train()(batch.x), batch, self.task) for member in members
        ]
        torch.stack(losses).sum().backward()
        self.optimizer.step()
        return {"loss": torch.stack(losses).mean().detach()}

    def _members(self, task: int) -> Sequence[nn.Module]:
        return list(cast("nn.ModuleList", self.networks[task]))

    def end(self, task: int) -> None:
        """End a task: its networks stay as they are."""
        for parameter in self.networks[task].parameters():
            parameter.requires_grad_(False)

    @torch.no_grad()
    def predict_each(self, x: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        """Outputs by the networks of each task, `[members, B, *outputs]`."""
        return [
            torch.stack(
                [self.problem.answer(member.eval()(x), task) for member in self._members(task)]
            )
            for task in tasks
        ]

    def sizes(self) -> dict[str, int]:
        """Parameters of all networks; those of earlier tasks are kept for them."""
        parameters = sum(p.numel() for p in self.networks.parameters())
        one = sum(p.numel() for p in self.problem.module.parameters())
        earlier = [p for networks in self.networks[: self.task] for p in networks.parameters()]
        return {
            "parameters": parameters,
            "generated": one * len(self.networks),
            "memory_bytes": bytes_of(*earlier),
        }

    def state_dict(self) -> dict[str, Any]:
        """All networks, the optimiser and the number of the task."""
        return {**super().state_dict(), "networks": dict(self.networks.state_dict())}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from a state."""
        self.task = state["task"]
        # What is drawn is replaced at once: nobody's random numbers must move.
        with torch.random.fork_rng():
            for task in range(len(self.networks), self.seen):
                self._add(task)
        self.networks.load_state_dict(state["networks"])
        for task in range(self.task):
            self.end(task)
        self._load_optimizer(state)


def _alike(first: nn.Module, other: nn.Module) -> bool:
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
