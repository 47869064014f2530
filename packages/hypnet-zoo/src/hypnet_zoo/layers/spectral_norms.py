"""Spectral norm on all layers of a network."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from hypnet_core.errors import SpecError
from hypnet_zoo.layers.modulation import LINEAR


def with_spectral_norms(module: nn.Module) -> None:
    """Put spectral norm on every linear layer and convolution of a network, in place.

    Each weight is then divided by an estimate of its largest singular value. Layers
    that have spectral norm already stay as they are.

    Raises:
        SpecError: A weight comes from outside.

    References:
        Miyato et al., Spectral Normalization for Generative Adversarial Networks, ICLR
        2018, arXiv:1802.05957.
    """
    # A list, because registering adds modules during the iteration.
    for layer in list(module.modules()):
        if not isinstance(layer, LINEAR) or is_parametrized(layer, "weight"):
            continue
        if not isinstance(layer.weight, nn.Parameter):
            raise SpecError(
                "a weight comes from outside: apply spectral norm before MainNetwork takes over"
                " the network"
            )
        spectral_norm(layer)
