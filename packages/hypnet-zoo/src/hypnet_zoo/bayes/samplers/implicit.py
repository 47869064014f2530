"""Draws that a network makes from noise, fitted to a density."""

from __future__ import annotations

import itertools
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from hypnet_core.errors import ConfigError
from hypnet_core.protocols import LogDensity, SamplerState
from hypnet_core.specs import TargetSpec
from hypnet_zoo.bayes.posteriors import ssge, stein_direction
from hypnet_zoo.bayes.samplers._adaptive import normal
from hypnet_zoo.bayes.samplers._variational import Variational

_COOL = 0.1
"""How much of the log density counts at the start."""


class Implicit(Variational):
    r"""Draws $w = g(z) + \sigma_0 \epsilon$ of a network $g$ that was fitted.

    The warm-up moves the draws of a batch along the gradient of the log density and
    apart from each other, and $g$ follows. The log density counts little at first and
    fully from the middle of the warm-up on, so that several modes are found. The
    distribution may have any correlations, as far as $g$ can express them.

    Args:
        log_density: The log density, or an estimate of it, batched over chains.
        lr: Learning rate of Adam, which falls to zero during the warm-up.
        fit_draws: Draws for each step of the fit.
        estimator: What keeps draws apart: an estimate of the score of their own
            distribution (`ssge`), or a kernel between them (`stein`).
        latent_dim: Dimensions of the noise $z$.
        latent_std: Standard deviation of $z$.
        hidden: Widths of the hidden layers of $g$, with tanh.
        spread: $\sigma_0$, as a share of the size of the starts.

    Raises:
        ConfigError: An option is impossible.

    References:
        J. Shi, S. Sun, J. Zhu: A spectral approach to gradient estimation for implicit
        distributions. ICML 2018, arXiv:1806.02925. Y. Feng, D. Wang, Q. Liu: Learning
        to draw samples with amortized Stein variational gradient descent. UAI 2017,
        arXiv:1707.06626.
    """

    def __init__(
        self,
        log_density: LogDensity,
        *,
        lr: float = 0.005,
        fit_draws: PositiveInt = 50,
        estimator: Literal["ssge", "stein"] = "ssge",
        latent_dim: PositiveInt = 8,
        latent_std: float = 1.0,
        hidden: tuple[PositiveInt, ...] = (50,),
        spread: float = 0.02,
    ) -> None:
        super().__init__(log_density, lr=lr, fit_draws=fit_draws)
        if fit_draws < 2:
            raise ConfigError("fit_draws: draws are kept apart, so at least 2 are needed, got 1")
        if latent_std <= 0.0 or spread < 0.0:
            raise ConfigError(
                f"latent_std must be positive and spread not negative, got {latent_std} and"
                f" {spread}"
            )
        self.estimator = estimator
        self.latent_dim, self.latent_std = latent_dim, latent_std
        self.hidden = hidden
        self.spread = spread

    def _first(
        self, position: Tensor, spec: TargetSpec, generator: torch.Generator
    ) -> dict[str, Tensor]:
        fitted: dict[str, Tensor] = {}
        widths = [self.latent_dim, *self.hidden, spec.numel]
        for number, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
            drawn = normal(position.new_empty(outputs, inputs), generator)
            fitted[f"weight_{number}"] = drawn / inputs**0.5
            fitted[f"bias_{number}"] = position.new_zeros(outputs)
        # The size of each tensor at the starts, which never changes.
        sizes = [part.square().mean().sqrt() for part in position.split(spec.sizes, dim=1)]
        each = torch.tensor(spec.sizes, device=position.device)
        fitted["size"] = torch.stack(sizes).clamp(min=1e-3).repeat_interleave(each)
        return fitted

    def _draw(self, state: SamplerState, count: int, generator: torch.Generator) -> Tensor:
        fitted = state.shared["fitted"]
        size = fitted["size"]
        z = normal(size.new_empty(count, self.latent_dim), generator)
        noise = normal(size.expand(count, -1), generator)
        draws: Tensor = self._made(fitted, self.latent_std * z) + self.spread * size * noise
        return draws

    def _made(self, fitted: dict[str, Tensor], z: Tensor) -> Tensor:
        x, last = z, len(self.hidden)
        for number in range(last + 1):
            x = x @ fitted[f"weight_{number}"].mT + fitted[f"bias_{number}"]
            x = x.tanh() if number < last else x
        made: Tensor = x * fitted["size"]
        return made

    def _gradients(
        self, state: SamplerState, generator: torch.Generator, progress: float
    ) -> dict[str, Tensor]:
        with torch.enable_grad():
            fitted = {
                name: tensor.detach().requires_grad_(name != "size")
                for name, tensor in state.shared["fitted"].items()
            }
            inside = SamplerState(state.spec, state.chains, {"fitted": fitted})
            position = self._draw(inside, self.fit_draws, generator)
        _, slopes = self.density.value_and_gradient(position, state.spec)
        slopes = min(1.0, _COOL + 2.0 * progress) * slopes
        scaled = position.detach() / fitted["size"]
        if self.estimator == "ssge":
            # In units of the starts, in which one kernel suits all parameters.
            direction = slopes - ssge(scaled) / fitted["size"]
        else:
            direction = stein_direction(scaled, slopes * fitted["size"]) / fitted["size"]
        learned = [name for name in fitted if name != "size"]
        found = torch.autograd.grad(
            position, [fitted[name] for name in learned], direction / self.fit_draws
        )
        return {**dict(zip(learned, found, strict=True)), "size": torch.zeros_like(fitted["size"])}
