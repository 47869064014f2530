"""Running statistics: kept per condition, and used as they are in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from hypnet_core.specs import ParamKind, ParamSpec, TargetSpec

RUNNING = frozenset({"running_mean", "running_var"})
"""Statistics that a hypernetwork may generate (distilled statistics)."""

UPDATED = RUNNING | {"num_batches_tracked", "_u", "_v"}
"""Buffers of torch's layers that a forward pass in training mode updates.

Those of batch norms, and the vectors of the power iteration of spectral norms. Others
are found when they change, see `BufferWatch`."""


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
    that the module itself holds. Buffers of other layers join when a forward pass in
    training mode changes them. Rows are kept for the conditions that were trained
    alone, in the order of their training, so that large ids cost nothing.

    Attributes:
        names: Qualified names of the statistics in the module.
        others: Qualified names of the module's other buffers.
        ids: The condition of each row, int64 `[n]`.
    """

    ids: Tensor

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        # The same as `ids`, so that looking up a row never waits for a device.
        self._row_of: dict[int, int] = {}
        self.names: tuple[str, ...] = ()
        self.others = tuple(name for name, _ in module.named_buffers())
        self.keep(dict(named_statistics(module)))

    def __len__(self) -> int:
        return len(self._row_of)

    @torch.no_grad()
    def keep(self, buffers: Mapping[str, Tensor]) -> None:
        """Keep further buffers per condition; the known conditions start from these.

        Args:
            buffers: The module's own, by qualified name.
        """
        for name, buffer in buffers.items():
            self._join(name, buffer.detach().expand(len(self), *buffer.shape).clone())

    def _join(self, name: str, rows: Tensor) -> None:
        # Networks without statistics have no buffer, and no key in checkpoints.
        if not self.names:
            self.register_buffer("ids", torch.empty(0, dtype=torch.int64))
        self.register_buffer(_key(name), rows)
        self.names += (name,)
        self.others = tuple(other for other in self.others if other != name)

    def own(self, module: nn.Module) -> dict[str, Tensor]:
        """The module's own statistics, by name."""
        return {name: module.get_buffer(name) for name in self.names}

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
        # Buffers that joined before the checkpoint was written join here too.
        for name in self.others:
            rows = state_dict.get(prefix + _key(name))
            if isinstance(rows, Tensor):
                self._join(name, rows[:0].clone())
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


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode for a block, after which every part has its own mode again.

    Gradients can be taken in it, also of recurrent layers: cuDNN has no backward pass
    of these in evaluation mode, so that torch's own kernels run instead.

    Args:
        *modules: The modules.

    Example:
        >>> layer = nn.Dropout()
        >>> with evaluating(layer):
        ...     layer.training
        False
        >>> layer.training
        True
    """
    modes = [(part, part.training) for module in modules for part in module.modules()]
    recurrent = any(isinstance(part, nn.RNNBase) for part, _ in modes)
    for module in modules:
        module.eval()
    try:
        with torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def version_of(tensor: Tensor) -> int:
    """How often a tensor was written to; inference tensors do not count and give 0."""
    # Torch offers no public counter.
    return 0 if tensor.is_inference() else tensor._version  # noqa: SLF001


class BufferWatch:
    """Finds the buffers that a call changes, by identity and counters of writes.

    Args:
        module: The module.
        names: Qualified names of the buffers to watch.
    """

    def __init__(self, module: nn.Module, names: Iterable[str]) -> None:
        self._module = module
        found = ((name, module.get_buffer(name)) for name in names)
        self._before = [(name, buffer, version_of(buffer)) for name, buffer in found]

    def changed(self) -> dict[str, Tensor]:
        """The buffers that changed since, as they are now, by name.

        Those of another shape are no statistics: modules keep indices for the sizes of
        their inputs so.
        """
        now = [self._module.get_buffer(name) for name, _, _ in self._before]
        return {
            name: buffer
            for buffer, (name, before, version) in zip(now, self._before, strict=True)
            if (buffer is not before or version_of(buffer) != version)
            and buffer.shape == before.shape
        }


def _key(name: str) -> str:
    return name.replace(".", "/")  # a buffer's name must not hold a dot
