"""Running statistics, kept per condition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hypnet_core.specs import ParamKind, ParamSpec, TargetSpec

RUNNING = frozenset({"running_mean", "running_var"})
"""Statistics that a hypernetwork may generate (distilled statistics)."""

UPDATED = RUNNING | {"num_batches_tracked", "_u", "_v"}
"""Buffers that a forward pass in training mode updates.

Those of batch norms, and the vectors of the power iteration of spectral norms."""


def named_statistics(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The buffers that depend on the data or weights seen so far, by qualified name."""
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
    """One set of running statistics per condition, in stacked buffers `[n, *shape]`.

    A condition that has not been trained yet has no row: it starts from the statistics
    that the module itself holds. Rows are kept for the conditions that were trained
    alone, in the order of their training, so that large ids cost nothing.

    Attributes:
        names: Qualified names of the statistics in the module.
        ids: The condition of each row, int64 `[n]`.
    """

    ids: Tensor

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.names = tuple(name for name, _ in named_statistics(module))
        # Networks without statistics have no buffer, and no key in checkpoints.
        if self.names:
            self.register_buffer("ids", torch.empty(0, dtype=torch.int64))
        for name, buffer in named_statistics(module):
            self.register_buffer(_key(name), buffer.new_empty((0, *buffer.shape)))
        # The same as `ids`, so that looking up a row never waits for a device.
        self._row_of: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._row_of)

    def rows(self, condition: int, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The statistics of a condition, by name.

        They are views into the bank, so that updates in place are kept.

        Args:
            condition: Whose statistics, an id from `condition_ids`.
            own: The module's own statistics, for a condition without a row.
        """
        row = self._row_of.get(condition)
        if row is None:
            return {name: own[name] for name in self.names}
        # Indexing by an integer gives a view.
        return {name: self.get_buffer(_key(name))[row] for name in self.names}

    @torch.no_grad()
    def reserve(self, conditions: Iterable[int], own: Mapping[str, Tensor]) -> None:
        """Add rows for new conditions, copied from the module's own statistics."""
        # Once each, in order; known ones keep their rows.
        new = [i for i in dict.fromkeys(conditions) if i not in self._row_of]
        if not new or not self.names:
            return
        self.ids = torch.cat([self.ids, self.ids.new_tensor(new)])
        self._row_of.update(zip(new, range(len(self), len(self) + len(new)), strict=True))
        for name in self.names:
            # `cat` copies, so that the new rows share no memory with the module.
            start = own[name].detach().expand(len(new), *own[name].shape)
            setattr(self, _key(name), torch.cat([self.get_buffer(_key(name)), start]))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # A checkpoint may hold more, fewer or other conditions than were seen here.
        for key in ("ids", *map(_key, self.names)) if self.names else ():
            buffer, saved = self.get_buffer(key), state_dict.get(prefix + key)
            if isinstance(saved, Tensor) and saved.shape[1:] == buffer.shape[1:]:
                # Room of the saved size, for torch to copy into.
                setattr(self, key, buffer.new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        if self.names:
            sizes = {len(self.get_buffer(key)) for key in ("ids", *map(_key, self.names))}
            if len(sizes) > 1:
                # Rows would belong to other conditions; torch raises what is reported.
                args[-1].append("the running statistics do not fit the ids of their conditions")
            self._row_of = {condition: row for row, condition in enumerate(self.ids.tolist())}


def _key(name: str) -> str:
    return name.replace(".", "/")  # a buffer's name must not hold a dot
