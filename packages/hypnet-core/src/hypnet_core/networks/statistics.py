"""Running statistics of a module, kept once for each condition instead of once for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hypnet_core.errors import ConditionError
from hypnet_core.specs import ParamKind, ParamSpec, TargetSpec

RUNNING = frozenset({"running_mean", "running_var"})
"""Statistics that a hypernetwork may generate (distilled statistics)."""

UPDATED = RUNNING | {"num_batches_tracked", "_u", "_v"}
"""Buffers that a forward pass in training mode changes: of batch norms, and the power iteration of spectral norms."""


def named_statistics(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The buffers that depend on the data or on the weights which a module saw, with their qualified names."""
    for name, buffer in module.named_buffers():
        if name.rpartition(".")[2] in UPDATED:
            yield name, buffer


def statistics_spec(module: nn.Module) -> TargetSpec:
    """Names and shapes of the running means and variances."""
    params = (
        ParamSpec(
            name=name,
            shape=tuple(buffer.shape),
            kind=ParamKind.OTHER,
            layer=name.rpartition(".")[0],
        )
        for name, buffer in named_statistics(module)
        if name.rpartition(".")[2] in RUNNING
    )
    return TargetSpec(params=tuple(params))


class StatisticsBank(nn.Module):
    """One set of running statistics per condition; set `i` is row `i` of stacked buffers `[conditions, *shape]`.

    A condition that has not been trained yet has no row: it starts from the statistics
    that the module itself holds.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.names = tuple(name for name, _ in named_statistics(module))
        for name, buffer in named_statistics(module):
            self.register_buffer(_key(name), buffer.new_empty((0, *buffer.shape)))

    def __len__(self) -> int:
        return len(self.get_buffer(_key(self.names[0]))) if self.names else 0

    def rows(self, condition: int, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The statistics of one condition, by name: views into the bank, so that updates in place are kept.

        Args:
            condition: Which set.
            own: What the module itself holds: the answer for a condition without a row.

        Raises:
            ConditionError: The condition is negative.
        """
        if condition < 0:
            raise ConditionError(f"a condition is a number from 0, got {condition}")
        if condition >= len(self):
            return {name: own[name] for name in self.names}
        return {name: self.get_buffer(_key(name))[condition] for name in self.names}

    @torch.no_grad()
    def reserve(self, condition: int, own: Mapping[str, Tensor]) -> None:
        """Make rows up to `condition`; new ones start from the statistics that the module itself holds."""
        new = condition + 1 - len(self)
        if new <= 0 or not self.names:
            return
        for name in self.names:
            start = own[name].detach().expand(new, *own[name].shape)
            setattr(self, _key(name), torch.cat([self.get_buffer(_key(name)), start]))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # A checkpoint may hold more or fewer conditions than were seen here.
        for name in self.names:
            buffer, saved = self.get_buffer(_key(name)), state_dict.get(prefix + _key(name))
            if isinstance(saved, Tensor) and saved.shape[1:] == buffer.shape[1:]:
                setattr(self, _key(name), buffer.new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _key(name: str) -> str:
    return name.replace(".", "/")  # a buffer's name must not hold a dot
