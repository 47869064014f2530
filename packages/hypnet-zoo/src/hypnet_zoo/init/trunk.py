"""Initial values of the layers before a hypernetwork's heads."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

from hypnet_zoo._activations import ActivationName, activation_module
from hypnet_zoo.init.moments import check_choice

TrunkStart = Literal["kaiming", "xavier_fan_in", "orthogonal"]


_nodes_and_weights = functools.cache(np.polynomial.hermite_e.hermegauss)


def second_moment(activation: ActivationName | None, scale: float = 1.0) -> float:
    r"""$E[\phi(\sigma g)^2]$ of a standard normal $g$, by Gauss-Hermite quadrature.

    Args:
        activation: $\phi$; `None` is the identity.
        scale: $\sigma$.

    Example:
        >>> round(second_moment("relu", 2.0), 6), second_moment(None)
        (2.0, 1.0)
    """
    if activation is None:
        return scale**2
    if activation == "relu":  # its kink is what quadrature is worst at
        return scale**2 / 2
    nodes, weights = _nodes_and_weights(200)
    with torch.no_grad():
        values = activation_module(activation)(scale * torch.from_numpy(nodes)).square().numpy()
    return float((weights * values).sum() / weights.sum())


@functools.cache
def gain_of(activation: ActivationName | None) -> float:
    r"""The gain $g$ with which a layer keeps the mean square of its input: $E[\phi(g z)^2] = 1$ for a standard normal $z$.

    Where no gain reaches 1 (`tanh`, `sigmoid`), torch's conventional one; heads allow
    for what is then missing, because they are scaled by what reaches them.

    Example:
        >>> round(gain_of("relu"), 4), gain_of(None)
        (1.4142, 1.0)
    """
    if activation is None:
        return 1.0
    if activation in {"tanh", "sigmoid"}:
        return nn.init.calculate_gain("tanh" if activation == "tanh" else "sigmoid")
    low, high = 0.0, 16.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if second_moment(activation, middle) < 1.0 else (low, middle)
    return (low + high) / 2


@torch.no_grad()
def init_trunk(
    trunk: nn.Module, activation: ActivationName | None, *, start: TrunkStart = "kaiming"
) -> None:
    """Weights that keep mean squares from layer to layer, biases zero.

    Args:
        trunk: Linear layers and what stands between them. Layers with spectral norm set
            their scale themselves and are left alone.
        activation: What follows each linear layer.
        start: Normal with variance $g^2 / fan_in$; uniform with variance $1 / fan_in$;
            or orthogonal, times $g$.

    Raises:
        SpecError: There is no such start.
    """
    check_choice("trunk", start, get_args(TrunkStart))
    gain = gain_of(activation)
    fill: Callable[[Tensor], object] = {
        "kaiming": lambda weight: nn.init.normal_(weight, std=gain / math.sqrt(weight.shape[1])),
        "xavier_fan_in": xavier_fan_in_,
        "orthogonal": lambda weight: nn.init.orthogonal_(weight, gain),
    }[start]
    for layer in trunk.modules():
        if not isinstance(layer, nn.Linear) or is_parametrized(layer):
            continue
        fill(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


@contextmanager
def as_at_start(module: nn.Module) -> Iterator[None]:
    """Within it, a module runs as in its first training step, but without dropout; what batch norms note meanwhile is forgotten."""
    modes = {layer: layer.training for layer in module.modules()}
    norms = [layer for layer in modes if isinstance(layer, _BatchNorm)]
    module.eval()
    for norm in norms:
        norm.train()
    try:
        yield
    finally:
        for norm in norms:
            norm.reset_running_stats()
        for layer, training in modes.items():
            layer.training = training


@torch.no_grad()
def xavier_fan_in_(tensor: Tensor) -> Tensor:
    r"""Fill in place from the uniform distribution of variance $1 / \mathrm{fan_{in}}$.

    `torch.nn.init.xavier_uniform_` takes the mean of both fans instead.

    Args:
        tensor: `[out, in, *kernel]`.

    Raises:
        ValueError: It has fewer than two dimensions.
    """
    if tensor.ndim < 2:
        raise ValueError(f"a fan-in needs at least two dimensions, got shape {list(tensor.shape)}")
    bound = math.sqrt(3.0 / tensor[0].numel())
    return tensor.uniform_(-bound, bound)
