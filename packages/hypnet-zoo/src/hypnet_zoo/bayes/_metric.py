r"""Mass matrices, and leapfrog steps in momenta that are white under them.

With $M^{-1} = L L^T$ and $p = L^{-T} \tilde p$ the kinetic energy is $|\tilde p|^2 / 2$
for any mass: drawing momenta, energies and U-turns need no product with the matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from hypnet_core.errors import ConfigError

InverseMass: TypeAlias = float | Sequence[float] | Sequence[Sequence[float]] | Tensor


def inverse_mass(given: InverseMass, like: Tensor) -> Tensor:
    """An inverse mass as a vector `[numel]` or a matrix `[numel, numel]`.

    Args:
        given: A number, a vector or a matrix.
        like: Positions `[chains, numel]`, whose dtype and device it takes.

    Raises:
        ConfigError: Its shape is another, or it is not positive.
    """
    numel = like.shape[-1]
    found = torch.as_tensor(given, dtype=like.dtype, device=like.device)
    if found.ndim == 0:
        found = found.expand(numel).clone()
    if tuple(found.shape) not in {(numel,), (numel, numel)}:
        raise ConfigError(
            f"inv_mass: a number, {numel} numbers or a matrix {numel} x {numel} is expected, got"
            f" {list(found.shape)}"
        )
    factor(found)
    return found


def factor(inv_mass: Tensor) -> Tensor:
    """$L$ of $M^{-1} = L L^T$: a vector for a diagonal, else a lower triangle.

    Raises:
        ConfigError: The inverse mass is not positive definite.
    """
    if inv_mass.ndim == 1:
        if not bool(((inv_mass > 0) & torch.isfinite(inv_mass)).all()):
            raise ConfigError("inv_mass: all entries must be positive and finite")
        return inv_mass.sqrt()
    lower: Tensor
    lower, failed = torch.linalg.cholesky_ex(inv_mass)
    if int(failed) or not torch.allclose(inv_mass, inv_mass.T, rtol=1e-4, atol=1e-8):
        raise ConfigError("inv_mass: the matrix must be symmetric and positive definite")
    return lower


class Steps:
    """Kicks and drifts of a leapfrog integrator.

    Args:
        lower: The factor $L$ of the inverse mass.
        sizes: Step sizes `[chains, 1]`, negative to go back in time.
    """

    def __init__(self, lower: Tensor, sizes: Tensor) -> None:
        self._lower = lower
        self._diagonal = lower.ndim == 1
        # With a diagonal, one product per kick and drift is all.
        self._drift = sizes * lower if self._diagonal else sizes
        self._kick = 0.5 * self._drift

    def kick(self, momentum: Tensor, gradient: Tensor) -> Tensor:
        """The momentum half a step later."""
        if not self._diagonal:
            gradient = gradient @ self._lower
        return torch.addcmul(momentum, self._kick, gradient)

    def kick_twice(self, momentum: Tensor, gradient: Tensor) -> Tensor:
        """The momentum a whole step later."""
        if not self._diagonal:
            gradient = gradient @ self._lower
        return torch.addcmul(momentum, self._drift, gradient)

    def drift(self, position: Tensor, momentum: Tensor) -> Tensor:
        """The position a step later."""
        if not self._diagonal:
            momentum = momentum @ self._lower.T
        return torch.addcmul(position, self._drift, momentum)

    def freeze(self, live: Tensor) -> None:
        """From here on, move only the chains that are live (bool `[chains]`)."""
        self._drift = self._drift * live[:, None]
        self._kick = self._kick * live[:, None]


def white(momentum: Tensor, lower: Tensor) -> Tensor:
    r"""$\tilde p = L^T p$."""
    return momentum * lower if lower.ndim == 1 else momentum @ lower


def coloured(momentum: Tensor, lower: Tensor) -> Tensor:
    r"""$p = L^{-T} \tilde p$, the inverse of `white`."""
    if lower.ndim == 1:
        return momentum / lower
    solved: Tensor = torch.linalg.solve_triangular(lower, momentum, upper=False, left=False)
    return solved
