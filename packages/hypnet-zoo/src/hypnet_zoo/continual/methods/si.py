"""Synaptic intelligence."""

from __future__ import annotations

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
        loss = self.loss(batch)
        loss.backward()
        self.penalizer.after_step(delta=self.optimizer.lookahead(self.penalizer.parameters))
        penalty = self.penalty(batch)
        if penalty is not None:
            penalty.backward()
        self.optimizer.step()
        found = {"loss": loss.detach()}
        return found if penalty is None else {**found, "penalty": penalty.detach()}

    def take_step(self) -> None:
        """Let the optimiser move the parameters, and integrate along that."""
        self.penalizer.before_step()
        super().take_step()
        self.penalizer.after_step()

    def end(self, task: int) -> None:
        """Turn the path of a task into importances."""
        del task
        self.penalizer.after_task()
