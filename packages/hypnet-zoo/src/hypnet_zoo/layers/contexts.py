"""The context modulation of a whole network."""

from __future__ import annotations

from torch import nn

from hypnet_core.errors import SpecError
from hypnet_zoo.layers.context_mod import ContextMod


def context_layers(module: nn.Module) -> list[ContextMod]:
    """All layers of a network that modulate."""
    return [layer for layer in module.modules() if isinstance(layer, ContextMod)]


def checkpoint_contexts(module: nn.Module, *, reset: bool = True) -> int:
    """Keep the current context of a whole network, for example after a task.

    Args:
        module: The network.
        reset: Whether gains and shifts start anew.

    Returns:
        The number of the checkpoint.

    Raises:
        SpecError: The network has no context modulation.
    """
    numbers = [layer.checkpoint(reset=reset) for layer in context_layers(module)]
    if not numbers:
        raise SpecError("the network has no context modulation to keep")
    # All layers keep their checkpoints together, so the numbers agree.
    return numbers[0]
