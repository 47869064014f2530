"""The loss of a posterior on one task: fit and divergence from the prior."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hypnet_core.networks import Weights
from hypnet_core.protocols import BatchLike
from hypnet_core.tasks import Batch, Problem
from hypnet_zoo.bayes.posteriors import (
    Discriminator,
    HasDensity,
    Posterior,
    kl,
    ssge,
    stein_direction,
)
from hypnet_zoo.continual.methods._posterior.options import PosteriorOptions
from hypnet_zoo.continual.seeds import seeded


class Objective:
    r"""The negative evidence lower bound of one task, per training sample.

    $$ -\mathbb{E}_q [\log p(y | x, w)] + \frac{\kappa}{N} KL(q \,\|\, p) $$

    Args:
        problem: The problem.
        task: Number of the task.
        prior: $p$.
        options: See `PosteriorOptions`.
    """

    def __init__(
        self, problem: Problem, task: int, prior: HasDensity, options: PosteriorOptions
    ) -> None:
        self.problem = problem
        self.task = task
        self.prior = prior
        self.options = options
        self.samples = len(problem.tasks[task].train)
        self.estimator = options["estimator"] if options["posterior"] == "implicit" else None
        self.discriminator: Discriminator | None = None
        self._optimizer: torch.optim.Optimizer | None = None

    def fit(self, outputs: Tensor, batch: BatchLike) -> tuple[Tensor, Tensor]:
        """Loss and negative log-likelihood of the task, means over all draws.

        Args:
            outputs: `[draws, B, *outputs]`.
            batch: The samples.
        """
        count = len(outputs)
        y = batch.y.repeat(count, *[1] * (batch.y.ndim - 1))
        x = batch.x.expand(count, *batch.x.shape).flatten(0, 1)
        lengths = None if batch.lengths is None else batch.lengths.repeat(count)
        many = Batch(x, y, batch.ids.repeat(count), lengths)
        loss = self.problem.loss(outputs.flatten(0, 1), many, self.task)
        spec = self.problem.specs[self.task]
        if spec.kind == "classification":
            return loss, loss
        return loss, loss * math.prod(spec.out_shape) / (2.0 * self.options["noise_std"] ** 2)

    def total(self, posterior: Posterior, draws: Weights, fit: Tensor) -> tuple[Tensor, Tensor]:
        """The loss to minimise, and the divergence as far as its value is known.

        Args:
            posterior: $q$.
            draws: Draws of it, `[count]`.
            fit: The negative log-likelihood of a sample by these draws.
        """
        strength = self.options["kl_scale"] / self.samples
        if not strength:
            return fit, fit.new_zeros(())
        if self.estimator == "stein":
            return self._moved(draws, fit, strength), fit.new_full((), math.nan)
        if self.estimator == "ssge":
            towards = (ssge(draws.flat) * draws.flat).sum(dim=-1).mean()
            change = towards - self.prior.log_prob(draws).mean()
            return fit + strength * change, fit.new_full((), math.nan)
        if self.estimator == "avb":
            divergence = self._own_discriminator(draws).kl(draws, self.prior)
        else:
            divergence = kl(posterior, self.prior, draws=draws)
        return fit + strength * divergence, divergence.detach()

    def _moved(self, draws: Weights, fit: Tensor, strength: float) -> Tensor:
        """A loss whose gradient moves the draws along the Stein direction."""
        flat = draws.flat
        (slopes,) = torch.autograd.grad(fit, flat)
        free = flat.detach().requires_grad_()
        (prior,) = torch.autograd.grad(self.prior.log_prob(Weights(free, draws.spec)).sum(), free)
        # The mean over draws and samples was differentiated.
        scores = prior - slopes * len(flat) / strength
        direction = stein_direction(flat, scores)
        return fit.detach() - strength * (direction * flat).sum(dim=-1).mean()

    def train_discriminator(self, draws: Tensor) -> None:
        """Let the discriminator take its steps on draws `[count, numel]`."""
        if self.discriminator is None or self._optimizer is None:
            return
        for _ in range(self.options["discriminator_steps"]):
            self._optimizer.zero_grad()
            self.discriminator.loss(draws.detach()).backward()
            self._optimizer.step()

    def _own_discriminator(self, draws: Weights) -> Discriminator:
        if self.discriminator is None:
            # Of a seed of its own: nobody's random numbers must move.
            with seeded(self.problem.seed, self.task):
                made = Discriminator(draws.spec.numel, self.options["discriminator_hidden"])
            self.discriminator = made.to(draws.flat)
            self._optimizer = torch.optim.Adam(
                made.parameters(), lr=self.options["discriminator_lr"]
            )
        return self.discriminator

    def state_dict(self) -> dict[str, Any]:
        """The discriminator and its optimiser."""
        if self.discriminator is None or self._optimizer is None:
            return {}
        return {
            "discriminator": dict(self.discriminator.state_dict()),
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], like: Weights) -> None:
        """Continue from a state.

        Args:
            state: What `state_dict` gave.
            like: Weights of the network.
        """
        if state:
            self._own_discriminator(like).load_state_dict(state["discriminator"])
            if self._optimizer is not None:
                self._optimizer.load_state_dict(state["optimizer"])
