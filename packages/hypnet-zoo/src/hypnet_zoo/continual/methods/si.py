"""Synaptic intelligence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import only, with_defaults
from hypnet_core.protocols import BatchLike
from hypnet_core.tasks import Problem
from hypnet_zoo import regularizers
from hypnet_zoo.continual.methods._penalized import Penalized, PenalizedOptions
from hypnet_zoo.continual.optimization import Optimization


class SI(Penalized):
    r"""Synaptic intelligence: parameters that reduced earlier losses are held.

    $$ \mathcal{L}_t + c \sum_i \Omega_i (\theta_i - \theta_{t-1,i})^2 $$

    with importances $\Omega$ from the path integral of gradients and changes over the
    training of earlier tasks. `hypnet_zoo.regularizers.SI` is the penalty for a loop of
    one's own.

    Args:
        problem: The problem.
        strength: $c$.
        epsilon: Damping of the importances of parameters that hardly moved.
        task_loss_only: Integrate along the steps that the task's loss alone would take,
            instead of those of loss and penalty.
        **options: See `PenalizedOptions`.

    References:
        F. Zenke, B. Poole, S. Ganguli: Continual learning through synaptic
        intelligence. ICML 2017, arXiv:1703.04200.
    """

    penalizer: regularizers.SI

    def __init__(
        self,
        problem: Problem,
        *,
        strength: NonNegativeFloat = 1.0,
        epsilon: PositiveFloat = 1e-3,
        task_loss_only: bool = False,
        **options: Unpack[PenalizedOptions],
    ) -> None:
        self.strength, self.epsilon = strength, epsilon
        self.task_loss_only = task_loss_only
        chosen = with_defaults(PenalizedOptions, options)
        super().__init__(problem, only(PenalizedOptions, chosen))

    def make_penalty(self) -> regularizers.SI:
        """A quadratic penalty around the latest parameters."""
        return regularizers.SI(
            self.protected, strength=self.strength, epsilon=self.epsilon, parameters=self.mask
        )

    def begin(self, task: int) -> None:
        """Begin a task.

        Raises:
            ConfigError: The optimiser cannot look ahead, but must.
        """
        super().begin(task)
        if self.task_loss_only and not isinstance(self.optimizer, Optimization):
            raise ConfigError("task_loss_only needs the optimiser of hypnet_zoo.continual.learn")

    def step(self, batch: BatchLike) -> dict[str, Tensor]:
        """One step, and its part of the path integral."""
        if not self.task_loss_only or not isinstance(self.optimizer, Optimization):
            return super().step(batch)
        self.model.train()
        self.optimizer.zero_grad()
        outputs = self.model(batch.x, self.task)
        loss = self.loss(outputs, batch)
        loss.backward()
        self._look_ahead(self.optimizer)
        penalty = self.penalty(outputs, batch)
        if penalty is not None:
            penalty.backward()
        self.optimizer.step()
        found = {"loss": loss.detach()}
        return found if penalty is None else {**found, "penalty": penalty.detach()}

    def _look_ahead(self, optimizer: Optimization) -> None:
        """Integrate along the step that the optimiser would take now."""
        kept = _copies(optimizer)
        optimizer.clip()
        delta = optimizer.lookahead(self.penalizer.parameters)
        self.penalizer.after_step(delta=delta, gradients=self._named(kept))
        for parameter, gradient in kept.items():
            # Gradients of the penalty join these, and all are clipped together.
            parameter.grad = gradient

    def take_step(self) -> None:
        """Let the optimiser move the parameters, and integrate along that."""
        # A loss falls along its own gradient, however the step was clipped.
        optimizer, gradients = self.optimizer, None
        if isinstance(optimizer, Optimization) and optimizer.clips:
            gradients = self._named(_copies(optimizer))
        self.penalizer.before_step()
        super().take_step()
        self.penalizer.after_step(gradients=gradients)

    def _named(self, gradients: Mapping[Tensor, Tensor]) -> dict[str, Tensor]:
        """Gradients of the protected parameters, by name."""
        known = self.penalizer.parameters.items()
        return {name: gradients[parameter] for name, parameter in known if parameter in gradients}

    def end(self, task: int) -> None:
        """Turn the path of a task into importances."""
        del task
        self.penalizer.after_task()


def _copies(optimizer: Optimization) -> dict[Tensor, Tensor]:
    """Copies of the gradients, by parameter; clipping changes them in place."""
    parameters = optimizer.parameters.values()
    return {p: p.grad.clone() for p in parameters if p.grad is not None}
