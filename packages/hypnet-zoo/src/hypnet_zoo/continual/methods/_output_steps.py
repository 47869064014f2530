"""Steps of a hypernetwork under the output regulariser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import BatchLike, OptimizerLike
from hypnet_core.tasks import Problem
from hypnet_zoo.continual.methods._networks import GeneratedNetwork
from hypnet_zoo.continual.methods._protection import Protection
from hypnet_zoo.continual.optimization import Optimization
from hypnet_zoo.regularizers.output import OutputRegularizer


class Losses(NamedTuple):
    """The losses of one step: scalars without gradient history.

    Attributes:
        loss: The task's own.
        penalty: That of earlier tasks, with its strength.
        distillation: That of distilled statistics, with its strength; zero without.
    """

    loss: Tensor
    penalty: Tensor
    distillation: Tensor


class _Own(NamedTuple):
    """The losses of the present task.

    Attributes:
        task: The task loss.
        distillation: The loss of distilled statistics; `None` without.
    """

    task: Tensor
    distillation: Tensor | None

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return self.task if self.distillation is None else self.task + self.distillation

    def reported(self, penalty: Tensor) -> Losses:
        """These losses and the penalty, without history."""
        distilled = torch.zeros_like(self.task) if self.distillation is None else self.distillation
        return Losses(self.task.detach(), penalty.detach(), distilled.detach())


class _Ahead(NamedTuple):
    """The next step that the task loss alone would take.

    Attributes:
        own: The losses of the task.
        gradients: Their gradients before clipping, one per trained parameter.
        delta: The change of the hypernetwork's parameters, by name.
    """

    own: _Own
    gradients: tuple[Tensor | None, ...]
    delta: dict[str, Tensor]


class OutputSteps:
    """Computes gradients for one task with its own condition.

    Args:
        problem: The problem.
        network: Main network and hypernetwork.
        task: Number of the task, which is its condition.
        options: How earlier tasks are protected.
        optimization: The optimiser of the task.
        regularizer: The output regulariser; `None` without earlier tasks or protection.
        distillation: Strength of the loss of distilled statistics.

    Raises:
        ConfigError: The optimiser cannot look ahead, but must.
    """

    def __init__(
        self,
        problem: Problem,
        network: GeneratedNetwork,
        task: int,
        *,
        options: Protection,
        optimization: OptimizerLike,
        regularizer: OutputRegularizer | None,
        distillation: float = 1.0,
    ) -> None:
        self.problem = problem
        self.network = network
        self.task = task
        self.options = options
        if options.lookahead and not isinstance(optimization, Optimization):
            raise ConfigError("protect.lookahead needs the optimiser of hypnet_zoo.continual.learn")
        self._optimization = cast("Optimization", optimization)
        self.regularizer = regularizer
        self.distillation = distillation
        self.parameters = [p for p in network.parameters() if p.requires_grad]

    def backward(self, batch: BatchLike) -> Losses:
        """Fill the gradients for a batch, and return its losses."""
        if self.regularizer is None:
            return self._free(batch)
        if self.options.lookahead:
            return self._ahead(batch, self.regularizer)
        return self._together(batch, self.regularizer)

    def _free(self, batch: BatchLike) -> Losses:
        """Gradients of the task loss alone."""
        own = self.loss(batch, self.network.hypernet(self.task).flat)
        own.total.backward()
        return own.reported(torch.zeros_like(own.task))

    def _together(self, batch: BatchLike, regularizer: OutputRegularizer) -> Losses:
        """Gradients of task loss and penalty.

        In the direct form the first block of earlier conditions shares the task's pass
        through the hypernetwork.
        """
        beta = self.options.beta
        if regularizer.form != "direct":
            own = self.loss(batch, self.network.hypernet(self.task).flat)
            penalty = beta * regularizer()
            (own.total + penalty).backward()
            return own.reported(penalty)
        first, *others = regularizer.blocks()
        total = len(first) + sum(map(len, others))
        own, penalty = self._losses_together(batch, regularizer, first, total)
        (own.total + beta * penalty).backward()
        penalty = penalty.detach()
        for block in others:
            # Block by block, so that the graph of only one is in memory.
            part = regularizer.penalty(self.network.hypernet(block).flat, block, total=total)
            (beta * part).backward()
            penalty += part.detach()
        return own.reported(beta * penalty)

    def _losses_together(
        self, batch: BatchLike, regularizer: OutputRegularizer, first: list[int], total: int
    ) -> tuple[_Own, Tensor]:
        # A separate function, so that only the graph holds the generated weights
        # during the backward pass, which then frees them before it fills the head's
        # gradient: a third less memory with many earlier tasks.
        flat: Tensor = self.network.hypernet([self.task, *first]).flat
        own, earlier = flat.split([1, len(first)])
        penalty = regularizer.penalty(earlier, first, total=total)
        return self.loss(batch, own.view(-1)), penalty

    def _ahead(self, batch: BatchLike, regularizer: OutputRegularizer) -> Losses:
        """Gradients with the penalty on the weights after the next step.

        The next step is the one that the task loss alone would take.
        """
        own, gradients, delta = (
            self._step_with_graph(batch)
            if self.options.lookahead_gradient
            else self._step_ahead(batch)
        )
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            # The penalty adds to the task's own gradient; both are clipped together.
            parameter.grad = gradient
        penalty = self.options.beta * regularizer(delta=delta)
        penalty.backward()
        return own.reported(penalty)

    def _step_ahead(self, batch: BatchLike) -> _Ahead:
        """Loss, gradients and the next step, without a graph."""
        own = self.loss(batch, self.network.hypernet(self.task).flat)
        own.total.backward()
        # Clipping before the look-ahead must not clip the joint gradient twice.
        gradients = tuple(None if p.grad is None else p.grad.clone() for p in self.parameters)
        self._optimization.clip()
        return _Ahead(own, gradients, self._delta())

    def _step_with_graph(self, batch: BatchLike) -> _Ahead:
        """Loss, gradients and the next step, which is a function of the gradients."""
        own = self.loss(batch, self.network.hypernet(self.task).flat)
        found: Sequence[Tensor | None] = torch.autograd.grad(
            own.total, self.parameters, create_graph=True, allow_unused=True
        )
        clipped = self._optimization.clipped(found)
        for parameter, gradient in zip(self.parameters, clipped, strict=True):
            parameter.grad = gradient
        delta = self._delta()
        gradients = tuple(None if one is None else one.detach().clone() for one in found)
        return _Ahead(own, gradients, delta)

    def _delta(self) -> dict[str, Tensor]:
        hypernet = self.network.hypernet
        return self._optimization.lookahead(
            {name: p for name, p in hypernet.named_parameters() if p.requires_grad},
            like=self.options.lookahead_like,
            differentiable=self.options.lookahead_gradient,
        )

    def loss(self, batch: BatchLike, flat: Tensor) -> _Own:
        """The losses of the task itself on a batch, by generated weights."""
        outputs = self.network.run(batch.x, flat, self.task)
        loss = self.problem.loss(outputs, batch, self.task)
        if not self.network.distils:
            return _Own(loss, None)
        return _Own(loss, self.distillation * self.network.distillation(flat, self.task))
