"""Context-dependent gating: each task uses its own random subset of hidden units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from hypnet_core.errors import ConfigError
from hypnet_core.tasks import Problem
from hypnet_zoo.continual.methods._base import OneNetwork

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Masking(OneNetwork):
    """Switches off a random part of the hidden units, another one for each task.

    The inputs of every linear and convolutional layer but the first are the hidden
    units: those that a task's mask leaves out are multiplied by zero, so that they
    neither matter nor learn. Channels of convolutions are gated as a whole. Recurrent
    layers are not gated inside. The task of a test sample must be known.

    Args:
        problem: The problem.
        gated: Share of hidden units that is switched off.
        mask_seed: Seed of the masks.

    Raises:
        ConfigError: The network has no hidden units between such layers.

    References:
        N. Y. Masse, G. D. Grant, D. J. Freedman: Alleviating catastrophic forgetting
        using context-dependent gating and synaptic stabilization. PNAS 2018,
        arXiv:1802.01569.
    """

    scenarios: ClassVar[tuple[str, ...]] = ("task",)

    def __init__(
        self,
        problem: Problem,
        *,
        gated: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.5,
        mask_seed: int = 0,
    ) -> None:
        super().__init__(problem)
        self.gated = gated
        self.mask_seed = mask_seed
        self._current = 0
        layers = list(_gated_layers(problem.module))
        if not layers:
            raise ConfigError(
                "method: masking gates the inputs of linear and convolutional layers after the"
                " first, but the network has no such layers"
            )
        for number, (layer, width) in enumerate(layers):
            layer.register_forward_pre_hook(self._gate(number, width))

    def _gate(self, number: int, width: int) -> Any:
        masks: dict[int, Tensor] = {}

        def gate(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            task = self._current
            if task not in masks:
                masks[task] = self._mask(task, number, width)
            x, *rest = inputs
            masks[task] = mask = masks[task].to(x)
            # Channels of images come before their pixels, features come last.
            shape = [1] * (x.ndim - 1)
            place = len(shape) if isinstance(layer, nn.Linear) else 1
            shape.insert(place, width)
            return (x * mask.view(shape), *rest)

        return gate

    def _mask(self, task: int, layer: int, width: int) -> Tensor:
        """Zeros and ones `[width]`; at least one unit stays."""
        generator = torch.Generator().manual_seed(self.mask_seed + 1009 * task + 9176 * layer)
        off = min(round(self.gated * width), width - 1)
        mask = torch.ones(width)
        mask[torch.randperm(width, generator=generator)[:off]] = 0.0
        return mask

    def begin(self, task: int) -> None:
        """Begin a task with its own masks."""
        self._current = task
        super().begin(task)

    def loss(self, batch: Any) -> Tensor:
        """The loss through the units of the present task."""
        self._current = self.task
        return super().loss(batch)

    def predict(self, x: Tensor, task: int | None = None) -> Tensor:
        """Outputs through the units of a task."""
        self._current = self.task if task is None else task
        return super().predict(x, task)


def _gated_layers(module: nn.Module) -> Iterator[tuple[nn.Module, int]]:
    """The layers after the first, with the width of their inputs."""
    found = [layer for layer in module.modules() if isinstance(layer, _LAYERS)]
    for layer in found[1:]:
        yield layer, layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
