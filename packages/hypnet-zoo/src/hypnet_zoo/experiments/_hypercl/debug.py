"""Checks of every step for `debug=true`: where infinity or NaN arises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hypnet_core.errors import DivergedError
from hypnet_core.networks import HyperNetwork, MainNetwork, Weights
from hypnet_zoo.experiments._hypercl.training import Losses, check_finite, check_networks


class FiniteChecks:
    """Finds the step and the tensor in which infinity or NaN arises.

    Args:
        net: The main network.
        hypernet: Its hypernetwork.
    """

    def __init__(self, net: MainNetwork, hypernet: HyperNetwork) -> None:
        self.networks: tuple[nn.Module, ...] = (net, hypernet)
        self.hypernet = hypernet
        self.where = "the first step"
        """The present step, for messages."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Check all weights that the hypernetwork generates in a block.

        Raises:
            DivergedError: A generated tensor is not finite.
        """
        handle = self.hypernet.register_forward_hook(self._check_generated)
        try:
            yield
        finally:
            handle.remove()

    def after_step(self, losses: Losses) -> None:
        """Check losses, gradients and parameters after a step.

        Raises:
            DivergedError: One of them is not finite.
        """
        check_finite(losses, self.where)
        for network in self.networks:
            for name, parameter in network.named_parameters():
                if parameter.grad is not None and not _finite(parameter.grad):
                    raise DivergedError(
                        f"the gradient of {name} became infinite or NaN in {self.where}"
                    )
        check_networks(self.networks, self.where)

    def _check_generated(self, _module: nn.Module, _inputs: Any, weights: Weights) -> None:
        if _finite(weights.flat):
            return
        names = [name for name in weights if not _finite(weights[name])]
        raise DivergedError(
            f"the generated weight {names[0]} became infinite or NaN in {self.where}"
            + (f", and {len(names) - 1} more tensors" if len(names) > 1 else "")
        )


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
