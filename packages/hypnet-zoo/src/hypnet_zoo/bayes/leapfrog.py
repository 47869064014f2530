"""The leapfrog integrator of Hamiltonian dynamics."""

from __future__ import annotations

import torch

from hypnet_core.errors import ConfigError
from hypnet_core.networks import Weights
from hypnet_core.protocols import LogDensity
from hypnet_zoo.bayes._metric import InverseMass, Steps, coloured, factor, inverse_mass, white
from hypnet_zoo.bayes._target import Target


@torch.no_grad()
def leapfrog(
    log_density: LogDensity,
    position: Weights,
    momentum: Weights,
    *,
    step_size: float,
    num_steps: int = 1,
    inv_mass: InverseMass = 1.0,
) -> tuple[Weights, Weights]:
    r"""Follow Hamiltonian dynamics for some steps.

    For a potential energy $U = -\log p$ and the kinetic energy $p^T M^{-1} p / 2$, each
    step is

    $$ p \leftarrow p - \tfrac{\epsilon}{2} \nabla U(q), \quad
       q \leftarrow q + \epsilon M^{-1} p, \quad
       p \leftarrow p - \tfrac{\epsilon}{2} \nabla U(q). $$

    It keeps volumes, and is undone by as many steps with the momentum reversed. The
    energy is kept up to $O(\epsilon^2)$. All chains advance in one batch.

    Args:
        log_density: The log density, batched over chains.
        position: Where to start: one set of parameters, or one for each chain.
        momentum: A momentum for each.
        step_size: Step size $\epsilon$; negative to go back in time.
        num_steps: Number of steps.
        inv_mass: The inverse mass $M^{-1}$: a number, a vector (diagonal) or a matrix.

    Returns:
        Position and momentum at the end.

    Raises:
        ConfigError: The shapes differ, or an option is impossible.
        SamplingError: The log density cannot be used.

    Example:
        >>> from hypnet_core import TargetSpec
        >>> def oscillator(params):
        ...     return -0.5 * (params["x"] ** 2).sum(-1)
        >>> spec = TargetSpec.from_shapes([[1]], names=["x"])
        >>> position = Weights(torch.tensor([1.0]), spec)
        >>> momentum = Weights(torch.tensor([0.0]), spec)
        >>> half_a_period = {"step_size": torch.pi / 300, "num_steps": 300}
        >>> end, _ = leapfrog(oscillator, position, momentum, **half_a_period)
        >>> round(end["x"].item(), 3)
        -1.0

    References:
        R. M. Neal: MCMC using Hamiltonian dynamics. Handbook of Markov Chain Monte
        Carlo, 2011, section 5.2.3.3. arXiv:1206.1901.
    """
    if position.flat.shape != momentum.flat.shape:
        raise ConfigError(
            f"position and momentum differ in shape: {list(position.flat.shape)} and"
            f" {list(momentum.flat.shape)}"
        )
    if num_steps < 0:
        raise ConfigError(f"num_steps must not be negative, got {num_steps}")
    target, spec, shape = Target(log_density), position.spec, position.flat.shape
    here = target.start(Weights(position.flat.reshape(-1, spec.numel), spec), gradient=True)
    q, gradient = here["position"], here["gradient"]
    lower = factor(inverse_mass(inv_mass, q))
    p = white(momentum.flat.detach().reshape(q.shape).to(q.dtype), lower)
    steps = Steps(lower, q.new_full((len(q), 1), step_size))
    for _ in range(num_steps):
        p = steps.kick(p, gradient)
        q = steps.drift(q, p)
        _, gradient = target.value_and_gradient(q, spec)
        p = steps.kick(p, gradient)
    return Weights(q.reshape(shape), spec), Weights(coloured(p, lower).reshape(shape), spec)
