"""Initial values of a hypernetwork's hidden layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import is_parametrized

from hypnet_zoo.init.activations import gain_of
from hypnet_zoo.init.isometric import draw_isometric
from hypnet_zoo.init.options import TrunkScheme


@torch.no_grad()
def draw_trunk(
    trunk: nn.Module,
    activation: Callable[[], nn.Module] | None,
    *,
    scheme: TrunkScheme = "isometric",
    factor: float = 1.0,
) -> None:
    """Draw weights that keep mean squares from layer to layer; biases become zero.

    Args:
        trunk: Linear layers and the modules between them. Layers with spectral norm set
            their scale themselves and stay as they are.
        activation: Module class of the nonlinearity after each linear layer.
        scheme: Lengths are kept, see `draw_isometric`; normal with variance $g^2 /
            fan_in$; uniform with variance $1 / fan_in$; or orthogonal, times $g$.
        factor: Multiplies the gain $g$, and the uniform draw.
    """
    layers = [
        layer
        for layer in trunk.modules()
        if isinstance(layer, nn.Linear) and not is_parametrized(layer)
    ]
    if scheme == "isometric":
        draw_isometric(layers, activation, factor)
        return
    gain = gain_of(activation) * factor
    fill: Callable[[Tensor], object] = {
        "kaiming": lambda weight: nn.init.normal_(weight, std=gain / math.sqrt(weight.shape[1])),
        "xavier_fan_in": lambda weight: xavier_fan_in_(weight).mul_(factor),
        "orthogonal": lambda weight: nn.init.orthogonal_(weight, gain),
    }[scheme]
    for layer in layers:
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
