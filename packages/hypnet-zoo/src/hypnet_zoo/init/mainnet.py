"""Initial values of a main network's own parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from torch import Tensor, nn

from hypnet_core.errors import WeightsError
from hypnet_core.networks import Weights, check_tensors
from hypnet_core.specs import ParamKind, ParamSpec, TargetSpec


class MainnetInit(BaseModel):
    """How the main network's own parameters start: those that are not generated.

    Attributes:
        scheme: Keep the draw of the network's constructor (`own`), or draw all weights
            by Glorot and Bengio's rule (`xavier`) or from one normal distribution
            (`normal`), with zero biases. Refused if nothing is left to draw.
        std: Standard deviation of the scheme `normal`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: Literal["own", "xavier", "normal"] = "own"
    std: FiniteFloat = Field(default=0.02, ge=0)

    @model_validator(mode="after")
    def _std_has_an_effect(self) -> Self:
        if self.scheme != "normal" and self.std != type(self).model_fields["std"].default:
            raise ValueError(f"std is for scheme=normal, and has no effect with {self.scheme}")
        return self

    def apply(self, module: nn.Module) -> None:
        """Draw the weights of a network anew, in place."""
        if self.scheme == "xavier":
            xavier_(module)
        elif self.scheme == "normal":
            normal_(module, std=self.std)


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
            # U(-b, b) has the variance b^2 / 3, here 2 / (fan_in + fan_out).
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
    """Copy weights into a network, for example a draw from a hypernetwork.

    Args:
        module: The network, changed in place.
        weights: One tensor for each of its parameters. Gradients are not tracked.

    Raises:
        WeightsError: Names or shapes differ, or there is more than one set of weights.
    """
    # Everything is checked first: a refusal leaves the network as it was.
    batch_shape = check_tensors(TargetSpec.of(module), weights)
    if batch_shape:
        raise WeightsError(
            f"a network starts from one set of weights, got a batch of {list(batch_shape)}"
        )
    for name, parameter in module.named_parameters():
        parameter.copy_(weights[name])


def startable_names(module: nn.Module) -> set[str]:
    """Names of the parameters that a scheme of `MainnetInit` draws or sets to zero."""
    return {param.name for param, _ in _of_layers(module, zero_bias=True)}


def _of_layers(module: nn.Module, *, zero_bias: bool) -> Iterator[tuple[ParamSpec, Tensor]]:
    """The weights of all layers and, if they are to be zero, the biases."""
    kinds = [ParamKind.WEIGHT, ParamKind.BIAS] if zero_bias else [ParamKind.WEIGHT]
    parameters = dict(module.named_parameters())
    for param in TargetSpec.of(module).select(kinds=kinds).params:
        yield param, parameters[param.name]
