r"""Initial values of hypernetworks, chosen so that the weights they generate have the variance that a main network should start with.

With a trunk that keeps mean squares at one, a head row $g$ writes a weight $\omega = g^\top z$ of variance
$\mathrm{Var}(\omega) = d\,\mathrm{Var}(g)$, where $d$ is the length of $z$. Wanted is Kaiming's $2 / \mathrm{fan_{in}}$, so

$$ \mathrm{Var}(g) = \frac{2}{d\,\mathrm{fan_{in}}} $$

(hyperfan-in; O. Chang, L. Flokas, H. Lipson, *Principled weight initialization for hypernetworks*, ICLR 2020). Biases and shifts
start at 0, scales and gains at 1, embeddings with variance 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hypnet_core.specs import ParamKind, ParamSpec, TargetSpec
from hypnet_zoo.layers.activations import ActivationName


class Start(NamedTuple):
    """Mean and variance that a generated tensor should have at the start."""

    mean: float
    variance: float


_STARTS = {
    ParamKind.BIAS: Start(0.0, 0.0),
    ParamKind.NORM_SCALE: Start(1.0, 0.0),
    ParamKind.NORM_SHIFT: Start(0.0, 0.0),
    ParamKind.GAIN: Start(1.0, 0.0),
    ParamKind.SHIFT: Start(0.0, 0.0),
    ParamKind.EMBEDDING: Start(0.0, 1.0),
    ParamKind.OTHER: Start(0.0, 0.02**2),
}


# Rectifiers and their smooth kin halve the mean square; torch's conventional gains for the others.
_GAINS: dict[str | None, float] = {
    None: 1.0,
    "tanh": nn.init.calculate_gain("tanh"),
    "sigmoid": nn.init.calculate_gain("sigmoid"),
}


def start_of(param: ParamSpec) -> Start:
    """What a parameter of the main network should start like.

    Example:
        >>> start_of(TargetSpec.from_shapes([[10, 50]]).params[0])
        Start(mean=0.0, variance=0.04)
    """
    if param.kind is ParamKind.WEIGHT and param.fan_in:
        return Start(0.0, 2.0 / param.fan_in)
    return _STARTS.get(param.kind, Start(0.0, 0.02**2))


def starts_of(target: TargetSpec) -> tuple[Tensor, Tensor]:
    """Means and variances for every scalar of a target, each `[numel]`."""
    sizes = torch.tensor(target.sizes)
    starts = [start_of(param) for param in target.params]
    means = torch.tensor([start.mean for start in starts]).repeat_interleave(sizes)
    variances = torch.tensor([start.variance for start in starts]).repeat_interleave(sizes)
    return means, variances


@torch.no_grad()
def init_trunk(trunk: nn.Module, activation: ActivationName | None) -> None:
    """Kaiming fan-in with the gain of the trunk's activation, biases zero: mean squares stay at one from layer to layer."""
    gain = _GAINS.get(activation, math.sqrt(2.0))
    for name, parameter in trunk.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=gain / math.sqrt(parameter.shape[1]))
        elif "bias" in name:
            nn.init.zeros_(parameter)


@torch.no_grad()
def init_head(weight: Tensor, bias: Tensor | None, means: Tensor, variances: Tensor) -> None:
    """Hyperfan-in for a linear head `[numel, d]` that writes one scalar per row."""
    std = (variances / weight.shape[1]).sqrt().to(weight)
    weight.normal_().mul_(std.unsqueeze(1))
    if bias is not None:
        bias.copy_(means.to(bias))
