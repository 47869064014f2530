"""Training of one task through a hypernetwork, with earlier tasks protected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnet_core.errors import DivergedError
from hypnet_core.networks import HyperNetwork, MainNetwork, Weights
from hypnet_core.protocols import BatchLike, SplitLike
from hypnet_core.specs import TaskSpec
from hypnet_zoo.experiments._hypercl.config import ContinualConfig, TrainConfig
from hypnet_zoo.optim.choose import make_optimizer
from hypnet_zoo.optim.lookahead import lookahead
from hypnet_zoo.regularizers.output import OutputRegularizer


class Losses(NamedTuple):
    """The losses of one step: scalars without gradient history."""

    task: Tensor
    penalty: Tensor


class _Ahead(NamedTuple):
    """The next step that the task loss alone would take.

    Attributes:
        loss: The task loss.
        gradients: Its gradients before clipping, one per trained parameter.
        delta: The change of the hypernetwork's parameters, by name.
    """

    loss: Tensor
    gradients: tuple[Tensor | None, ...]
    delta: dict[str, Tensor]


class TaskTrainer:
    """Trains one task with its own condition.

    Args:
        net: The main network.
        hypernet: Its hypernetwork.
        condition: The task's condition.
        spec: The specification of the task.
        train: Options of training.
        continual: Options of the protection of earlier tasks, whose conditions are `0`
            to `condition
            - 1`.
        generator: Chooses random subsets of earlier tasks.
    """

    def __init__(
        self,
        net: MainNetwork,
        hypernet: HyperNetwork,
        condition: int,
        spec: TaskSpec,
        *,
        train: TrainConfig,
        continual: ContinualConfig,
        generator: torch.Generator | None = None,
    ) -> None:
        self.net = net
        self.hypernet = hypernet
        self.condition = condition
        self.spec = spec
        self.train = train
        self.beta = continual.beta
        self.generator = generator
        # A frozen embedding reaches neither the optimiser nor the clipping.
        for other in range(hypernet.conditions.count):
            learns = other == condition or (
                other < condition and continual.train_previous_embeddings
            )
            for parameter in hypernet.conditional_parameters(other):
                parameter.requires_grad_(learns)
        self.parameters = [
            p for p in (*hypernet.parameters(), *net.parameters()) if p.requires_grad
        ]
        self.optimizer = make_optimizer(
            self.parameters, train.optimizer, train.lr, train.optimizer_options
        )
        self.continual = continual
        # The first task has nothing to protect.
        self.regularizer = (
            OutputRegularizer(
                hypernet,
                range(condition),
                recompute=continual.recompute_targets,
                max_conditions=continual.tasks_per_step,
            )
            if condition and continual.beta
            else None
        )

    def step(self, batch: BatchLike) -> Losses:
        """One training step."""
        self.net.train()
        self.hypernet.train()
        self.optimizer.zero_grad()
        if self.regularizer is None:
            losses = self._backward_free(batch)
        elif self.continual.lookahead:
            losses = self._backward_ahead(batch, self.regularizer)
        else:
            losses = self._backward(batch, self.regularizer)
        self._clip()
        self.optimizer.step()
        return losses

    def _clip(self) -> None:
        if self.train.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.train.clip_norm)
        if self.train.clip_value is not None:
            nn.utils.clip_grad_value_(self.parameters, self.train.clip_value)

    def _backward_free(self, batch: BatchLike) -> Losses:
        """Gradients of the task loss alone."""
        loss = self.loss(batch, self.hypernet(self.condition))
        loss.backward()
        return Losses(loss.detach(), torch.zeros_like(loss))

    def _backward(self, batch: BatchLike, regularizer: OutputRegularizer) -> Losses:
        """Gradients of task loss and penalty.

        The first block of earlier conditions shares the task's pass through the
        hypernetwork.
        """
        first, *others = regularizer.blocks(generator=self.generator)
        total = len(first) + sum(map(len, others))
        loss, penalty = self._losses_together(batch, regularizer, first, total)
        (loss + self.beta * penalty).backward()
        penalty = penalty.detach()
        for block in others:
            # Block by block, so that the graph of only one is in memory.
            part = regularizer.penalty(self.hypernet(block).flat, block, total=total)
            (self.beta * part).backward()
            penalty += part.detach()
        return Losses(loss.detach(), penalty)

    def _losses_together(
        self, batch: BatchLike, regularizer: OutputRegularizer, first: list[int], total: int
    ) -> tuple[Tensor, Tensor]:
        # A separate function, so that only the graph holds the generated weights
        # during the backward pass, which then frees them before it fills the head's
        # gradient: a third less memory with many earlier tasks.
        own, earlier = self.hypernet([self.condition, *first]).flat.split([1, len(first)])
        penalty = regularizer.penalty(earlier, first, total=total)
        # Splitting the flat tensor loses the ids, which batch norm needs.
        weights = Weights(own.view(-1), self.hypernet.target, conditions=self.condition)
        return self.loss(batch, weights), penalty

    def _backward_ahead(self, batch: BatchLike, regularizer: OutputRegularizer) -> Losses:
        """Gradients with the penalty on the weights after the next step.

        The next step is the one that the task loss alone would take.
        """
        loss, gradients, delta = (
            self._step_with_graph(batch)
            if self.continual.lookahead_gradient
            else self._step_ahead(batch)
        )
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            # The penalty adds to the task's own gradient; both are clipped together.
            parameter.grad = gradient
        penalty = regularizer(delta=delta, generator=self.generator)
        (self.beta * penalty).backward()
        return Losses(loss, penalty.detach())

    def _step_ahead(self, batch: BatchLike) -> _Ahead:
        """Loss, gradients and the next step, without a graph."""
        losses = self._backward_free(batch)
        # Clipping before the look-ahead must not clip the joint gradient twice.
        gradients = tuple(None if p.grad is None else p.grad.clone() for p in self.parameters)
        self._clip()
        return _Ahead(losses.task, gradients, self._delta())

    def _step_with_graph(self, batch: BatchLike) -> _Ahead:
        """Loss, gradients and the next step, which is a function of the gradients."""
        loss = self.loss(batch, self.hypernet(self.condition))
        found: Sequence[Tensor | None] = torch.autograd.grad(
            loss, self.parameters, create_graph=True, allow_unused=True
        )
        for parameter, gradient in zip(self.parameters, self._clipped(found), strict=True):
            parameter.grad = gradient
        delta = self._delta()
        gradients = tuple(None if own is None else own.detach().clone() for own in found)
        return _Ahead(loss.detach(), gradients, delta)

    def _delta(self) -> dict[str, Tensor]:
        return lookahead(
            self.optimizer,
            {name: p for name, p in self.hypernet.named_parameters() if p.requires_grad},
            like=self.continual.lookahead_like,
            differentiable=self.continual.lookahead_gradient,
        )

    def _clipped(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The clipped gradients; torch's functions clip in place, without a graph."""
        bound, longest = self.train.clip_value, self.train.clip_norm
        if bound is not None:
            return [None if own is None else own.clamp(-bound, bound) for own in gradients]
        if longest is None:
            return list(gradients)
        norms = [own.norm() for own in gradients if own is not None]
        factor = (longest / (torch.stack(norms).norm() + 1e-6)).clamp(max=1.0)
        return [None if own is None else own * factor for own in gradients]

    def loss(self, batch: BatchLike, weights: Weights) -> Tensor:
        """The task's loss on a batch: cross-entropy, or the mean squared error."""
        return task_loss(self.net(batch.x, weights=weights), batch.y, self.spec)


def task_loss(outputs: Tensor, targets: Tensor, spec: TaskSpec) -> Tensor:
    """Cross-entropy with labels or probabilities, or the mean squared error."""
    if spec.kind == "classification":
        # Tasks of fewer classes use the first outputs.
        return F.cross_entropy(outputs[:, : spec.classes], targets)
    return F.mse_loss(outputs.reshape(targets.shape), targets)


def check_finite(losses: Losses, where: str) -> None:
    """Refuse losses that are not finite, before a checkpoint is written.

    Raises:
        DivergedError: A loss is NaN or infinite.
    """
    for name, value in zip(("loss", "penalty"), losses, strict=True):
        if not bool(torch.isfinite(value)):
            raise DivergedError(
                f"the {name} became {value.item()} in {where}: try a lower train.lr, or"
                " train.clip_norm"
            )


def check_networks(networks: Iterable[nn.Module], where: str) -> None:
    """Refuse networks that are not finite, before a checkpoint is written.

    The last step of a task may have diverged after its losses were checked.

    Raises:
        DivergedError: A parameter or a running statistic is NaN or infinite.
    """
    for network in networks:
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise DivergedError(
                    f"{name} became infinite or NaN in {where}: try a lower train.lr, or"
                    " train.clip_norm"
                )


@torch.no_grad()
def evaluate(
    net: MainNetwork,
    hypernet: HyperNetwork,
    condition: int,
    spec: TaskSpec,
    split: SplitLike,
    *,
    batch_size: int,
    device: torch.device,
) -> float:
    """Accuracy in percent, or the mean squared error, of one condition on a split."""
    net.eval()
    hypernet.eval()
    # One generation serves all batches.
    weights = hypernet(condition)
    # The sum stays on the device: one transfer at the end.
    score = torch.zeros((), dtype=torch.float64, device=device)
    for batch in split.batches(batch_size, device=device):
        outputs = net(batch.x, weights=weights)
        if spec.kind == "classification":
            classes = batch.y.argmax(dim=1) if batch.y.is_floating_point() else batch.y
            score += (outputs[:, : spec.classes].argmax(dim=1) == classes).sum()
        else:
            score += (
                (outputs.reshape(batch.y.shape) - batch.y).square().flatten(1).mean(dim=1).sum()
            )
    return float(score) / len(split) * (100.0 if spec.kind == "classification" else 1.0)
