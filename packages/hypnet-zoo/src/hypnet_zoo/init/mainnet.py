"""What a network starts from: Xavier or normal draws, spectral norm, or weights from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from hypnet_core.errors import SpecError, WeightsError
from hypnet_core.networks import Weights, check_tensors
from hypnet_core.specs import ParamKind, ParamSpec, TargetSpec
from hypnet_zoo.layers.modulation import LINEAR


@torch.no_grad()
def xavier_(module: nn.Module, *, zero_bias: bool = True) -> None:
    """Draw every weight from Glorot and Bengio's uniform distribution.

    Args:
        module: The network, changed in place.
        zero_bias: Whether biases become zero; otherwise they stay.
    """
    for param, tensor in _of_layers(module, zero_bias=zero_bias):
        if param.kind is ParamKind.BIAS:
            tensor.zero_()
        else:
            bound = (6.0 / ((param.fan_in or 1) + (param.fan_out or 1))) ** 0.5
            tensor.uniform_(-bound, bound)


@torch.no_grad()
def normal_(module: nn.Module, *, std: float = 0.02, zero_bias: bool = True) -> None:
    """Draw every weight from $N(0, std^2)$.

    Args:
        module: The network, changed in place.
        std: Standard deviation.
        zero_bias: Whether biases become zero; otherwise they stay.
    """
    for param, tensor in _of_layers(module, zero_bias=zero_bias):
        tensor.zero_() if param.kind is ParamKind.BIAS else tensor.normal_(0.0, std)


@torch.no_grad()
def start_from(module: nn.Module, weights: Weights | Mapping[str, Tensor]) -> None:
    """Copy weights into a network, a draw from a hypernetwork, say.

    Args:
        module: The network, changed in place.
        weights: One tensor for each of its parameters. Gradients are not followed.

    Raises:
        WeightsError: Names or shapes differ, or there is more than one set of weights.
    """
    batch_shape = check_tensors(TargetSpec.of(module), weights)
    if batch_shape:
        raise WeightsError(
            f"a network starts from one set of weights, got a batch of {list(batch_shape)}"
        )
    for name, parameter in module.named_parameters():
        parameter.copy_(weights[name])


def with_spectral_norms(module: nn.Module) -> None:
    """Divide the weight of every linear layer and convolution by an estimate of its largest singular value, in place.

    Layers that have it already stay as they are.

    Raises:
        SpecError: A weight comes from outside.

    References:
        Miyato et al., Spectral Normalization for Generative Adversarial Networks, ICLR
        2018, arXiv:1802.05957.
    """
    for layer in list(module.modules()):
        if not isinstance(layer, LINEAR) or is_parametrized(layer, "weight"):
            continue
        if not isinstance(layer.weight, nn.Parameter):
            raise SpecError(
                "a weight comes from outside: put spectral norm in before MainNetwork takes the"
                " network over"
            )
        spectral_norm(layer)


def _of_layers(module: nn.Module, *, zero_bias: bool) -> Iterator[tuple[ParamSpec, Tensor]]:
    """The weights of all layers and, if they are to be zero, the biases."""
    kinds = [ParamKind.WEIGHT, ParamKind.BIAS] if zero_bias else [ParamKind.WEIGHT]
    parameters = dict(module.named_parameters())
    for param in TargetSpec.of(module).select(kinds=kinds).params:
        yield param, parameters[param.name]
