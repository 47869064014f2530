"""Initial values of a hypernetwork's hidden layers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

from hypnet_zoo.init.options import TrunkScheme

# Cached, because all activations are integrated over the same nodes.
_nodes_and_weights = functools.cache(np.polynomial.hermite_e.hermegauss)


def second_moment(activation: type[nn.Module] | None, scale: float = 1.0) -> float:
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


def gain_of(activation: type[nn.Module] | None) -> float:
    r"""The gain $g$ at which a layer keeps the mean square of its input.

    That is $E[\phi(g z)^2] = 1$ for a standard normal $z$. No gain reaches 1 for tanh
    and sigmoid, so they get torch's conventional one; the heads compensate, because
    they are scaled by the features that reach them.

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
_GAINS: dict[type[nn.Module], float] = {}


def _solved_gain(activation: type[nn.Module]) -> float:
    low, high = 0.0, 16.0
    for _ in range(60):  # the second moment grows with the gain
        middle = (low + high) / 2
        low, high = (middle, high) if second_moment(activation, middle) < 1.0 else (low, middle)
    return (low + high) / 2


@torch.no_grad()
def draw_trunk(
    trunk: nn.Module, activation: type[nn.Module] | None, *, scheme: TrunkScheme = "kaiming"
) -> None:
    """Draw weights that keep mean squares from layer to layer; biases become zero.

    Args:
        trunk: Linear layers and the modules between them. Layers with spectral norm set
            their scale themselves and stay as they are.
        activation: Module class of the nonlinearity after each linear layer.
        scheme: Normal with variance $g^2 / fan_in$; uniform with variance $1 / fan_in$;
            or orthogonal, times $g$.
    """
    gain = gain_of(activation)
    fill: Callable[[Tensor], object] = {
        "kaiming": lambda weight: nn.init.normal_(weight, std=gain / math.sqrt(weight.shape[1])),
        "xavier_fan_in": xavier_fan_in_,
        "orthogonal": lambda weight: nn.init.orthogonal_(weight, gain),
    }[scheme]
    for layer in trunk.modules():
        if not isinstance(layer, nn.Linear) or is_parametrized(layer):
            continue
        fill(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def is_drawn(trunk: nn.Module) -> bool:
    """Whether a scheme has an effect: some linear layer has no spectral norm."""
    return any(
        isinstance(layer, (nn.Linear, nn.ConvTranspose2d)) and not is_parametrized(layer)
        for layer in trunk.modules()
    )


@contextmanager
def as_at_start(module: nn.Module) -> Iterator[None]:
    """Run a module as in its first training step, but without dropout.

    Batch norms use the statistics of the batch; the running ones are reset afterwards.
    """
    # Layers may be in different modes, frozen batch norms for example.
    modes = {layer: layer.training for layer in module.modules()}
    norms = [layer for layer in modes if isinstance(layer, _BatchNorm)]
    # Dropout is off, and norms alone are switched back on.
    module.eval()
    for norm in norms:
        norm.train()
    try:
        yield
    finally:
        # The sample only serves to measure: it must not enter the statistics.
        for norm in norms:
            norm.reset_running_stats()
        for layer, training in modes.items():
            layer.training = training


@torch.no_grad()
def xavier_fan_in_(tensor: Tensor) -> Tensor:
    r"""Fill in place from the uniform distribution of variance $1 / \mathrm{fan_{in}}$.

    `torch.nn.init.xavier_uniform_` uses the mean of both fans instead.

    Args:
        tensor: `[out, in, *kernel]`.

    Raises:
        ValueError: It has fewer than two dimensions.
    """
    if tensor.ndim < 2:
        raise ValueError(f"a fan-in needs at least two dimensions, got shape {list(tensor.shape)}")
    # U(-b, b) has the variance b^2 / 3.
    bound = math.sqrt(3.0 / tensor[0].numel())
    return tensor.uniform_(-bound, bound)
