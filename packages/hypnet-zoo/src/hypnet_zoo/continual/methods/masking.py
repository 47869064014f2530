"""Context-dependent gating: each task uses its own random subset of hidden units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from hypnet_core.errors import ConfigError, SpecError
from hypnet_core.tasks import Problem
from hypnet_zoo.continual.methods._base import OneNetwork
from hypnet_zoo.continual.methods._networks import SharedNetwork
from hypnet_zoo.continual.seeds import seed_of

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Masking(OneNetwork):
    """Switches off a random part of the hidden units, another one for each task.

    The inputs of every linear and convolutional layer but the first are the hidden
    units: those that a task's mask leaves out are multiplied by zero, so that they
    neither matter nor learn. Channels of convolutions are gated as a whole. Recurrent
    layers are not gated inside. The task of a test sample must be known. The module
    itself holds no masks: on its own it computes with all units.

    Args:
        problem: The problem.
        gated: Share of hidden units that is switched off.
        mask_seed: Seed of the masks, which runs of several seeds then share; by default
            that of the run.

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
        mask_seed: int | None = None,
    ) -> None:
        super().__init__(problem)
        seed = problem.seed if mask_seed is None else mask_seed
        self.network = _GatedNetwork(problem.module, gated, seed)
        self.model = self.network


class _GatedNetwork(SharedNetwork):
    """A network some of whose units are silent, others for each task.

    Args:
        module: The network.
        gated: Share of hidden units that is switched off.
        seed: Seed of the masks.

    Raises:
        ConfigError: The network has no hidden units between linear or convolutional
            layers.
    """

    def __init__(self, module: nn.Module, gated: float, seed: int) -> None:
        super().__init__(module, "shared")
        self.gated = gated
        self.seed = seed
        self._layers = list(_gated_layers(module))
        self._masks: dict[int, list[Tensor]] = {}
        if not self._layers:
            raise ConfigError(
                "method: masking gates the inputs of linear and convolutional layers after the"
                " first, but the network has no such layers"
            )

    def forward(self, x: Tensor, task: int | None = None) -> Tensor:
        """Outputs `[B, out_features]` through the units of a task.

        Raises:
            SpecError: The task is not given.
        """
        if task is None:
            raise SpecError("the task must be given: each task has its own units")
        with self._gates(task, x):
            return super().forward(x, task)

    @contextmanager
    def _gates(self, task: int, like: Tensor) -> Iterator[None]:
        """Let layers take their inputs through the masks of a task."""
        if task not in self._masks:
            self._masks[task] = [
                self._mask(task, number, width) for number, (_, width, _) in enumerate(self._layers)
            ]
        self._masks[task] = masks = [mask.to(like.device) for mask in self._masks[task]]
        handles = [
            layer.register_forward_pre_hook(_gate(mask, axes))
            for (layer, _, axes), mask in zip(self._layers, masks, strict=True)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _mask(self, task: int, layer: int, width: int) -> Tensor:
        """Zeros and ones `[width]`; at least one unit stays."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, task, layer))
        off = min(round(self.gated * width), width - 1)
        mask = torch.ones(width)
        mask[torch.randperm(width, generator=generator)[:off]] = 0.0
        return mask


def _gate(mask: Tensor, axes: int) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    def gate(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *rest = inputs
        return (x * mask.to(x.dtype).view(-1, *[1] * axes), *rest)

    return gate


def _gated_layers(module: nn.Module) -> Iterator[tuple[nn.Module, int, int]]:
    """The layers after the first, with the width of their inputs.

    Features come last; channels come before the pixels of images, whose axes are the
    third number.
    """
    found = [layer for layer in module.modules() if isinstance(layer, _LAYERS)]
    for layer in found[1:]:
        if isinstance(layer, nn.Linear):
            yield layer, layer.in_features, 0
        else:
            yield layer, layer.in_channels, len(layer.kernel_size)
