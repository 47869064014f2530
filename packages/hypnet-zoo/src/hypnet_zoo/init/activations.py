"""Moments of activation functions, by quadrature."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

# Cached, because all activations are integrated over the same nodes.
_nodes_and_weights = functools.cache(np.polynomial.hermite_e.hermegauss)


def second_moment(activation: Callable[[], nn.Module] | None, scale: float = 1.0) -> float:
    r"""$E[\phi(\sigma g)^2]$ of a standard normal $g$, by Gauss-Hermite quadrature.

    Args:
        activation: Module class of $\phi$; `None` is the identity.
        scale: $\sigma$.

    Example:
        >>> round(second_moment(nn.ReLU, 2.0), 6), second_moment(None)
        (2.0, 1.0)
    """
    if activation is None:
        return scale**2
    if activation is nn.ReLU:  # quadrature converges slowly at the kink
        return scale**2 / 2
    # Exact for polynomials of degree 399, more than smooth activations need.
    nodes, weights = _nodes_and_weights(200)
    with torch.no_grad():
        values = activation()(scale * torch.from_numpy(nodes)).square().numpy()
    return float((weights * values).sum() / weights.sum())


def odd_moment(activation: Callable[[], nn.Module] | None, scale: float = 1.0) -> float:
    r"""$E[(\phi(\sigma g) - \phi(-\sigma g))^2]$ of a standard normal $g$.

    Args:
        activation: Module class of $\phi$; `None` is the identity.
        scale: $\sigma$.

    Example:
        >>> odd_moment(nn.ReLU, 2.0), odd_moment(None)
        (4.0, 4.0)
    """
    if activation is None:
        return 4.0 * scale**2
    # The difference is smooth even where the function has a kink at 0.
    nodes, weights = _nodes_and_weights(200)
    with torch.no_grad():
        points = scale * torch.from_numpy(nodes)
        values = (activation()(points) - activation()(-points)).square().numpy()
    return round(float((weights * values).sum() / weights.sum()), 12)


def is_odd(activation: Callable[[], nn.Module] | None) -> bool:
    r"""Whether $\phi(-x) = -\phi(x)$, as of `tanh` and the identity."""
    if activation is None:
        return True
    points = torch.linspace(0.1, 3.0, 8)
    with torch.no_grad():
        return torch.allclose(activation()(points), -activation()(-points))


def gain_of(activation: Callable[[], nn.Module] | None) -> float:
    r"""The gain $g$ at which a layer keeps the mean square of its input.

    That is $E[\phi(g z)^2] = 1$ for a standard normal $z$. No gain reaches 1 for
    bounded functions: tanh and sigmoid get torch's conventional one, others 1; the
    heads compensate, because they are scaled by the features that reach them.

    Example:
        >>> round(gain_of(nn.ReLU), 4), gain_of(None)
        (1.4142, 1.0)
    """
    if activation is None:
        return 1.0
    if activation in {nn.Tanh, nn.Sigmoid}:
        return nn.init.calculate_gain("tanh" if activation is nn.Tanh else "sigmoid")
    if activation not in _GAINS:
        _GAINS[activation] = _solved_gain(activation)
    return _GAINS[activation]


# Every hypernetwork needs the gain of its activation; one takes milliseconds to find.
_GAINS: dict[Callable[[], nn.Module], float] = {}


def _solved_gain(activation: Callable[[], nn.Module]) -> float:
    low, high = 0.0, 16.0
    # Bounded functions never reach 1, and the heads make up for it.
    if second_moment(activation, high) < 1.0:
        return 1.0
    for _ in range(60):  # the second moment grows with the gain
        middle = (low + high) / 2
        low, high = (middle, high) if second_moment(activation, middle) < 1.0 else (low, middle)
    return (low + high) / 2
