"""How a main network's module runs: one set of weights, or a batch of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from hypnet_core.errors import listed
from hypnet_core.networks import batching as ways
from hypnet_core.networks.batching import Batching
from hypnet_core.networks.graph import Graph
from hypnet_core.networks.leftovers import Leftovers
from hypnet_core.networks.operands import Operand
from hypnet_core.networks.recompute import (
    RecomputesError,
    Snapshot,
    isolated,
    run_watched,
)
from hypnet_core.networks.slots import Slots, Tensors, trainable
from hypnet_core.networks.statistics import StatisticsBank
from hypnet_core.protocols import BatchedForward

_LOGGER = logging.getLogger("hypnet.networks")
_RECOMPUTES = "the module recomputes activations in the backward pass"


class Execution:
    """Runs a module with tensors from outside.

    Args:
        module: The module, already hollow.
        batching: The way to run batches that was asked for.
        bank: The running statistics that the module keeps.

    Attributes:
        used: The way that ran the last batch; `None` before.
        reason: Why that way.
    """

    def __init__(self, module: nn.Module, batching: Batching, bank: StatisticsBank) -> None:
        self.module = module
        self.batching = batching
        self.used: str | None = None
        self.reason: str = ""
        self._bank = bank
        self._has_batched_forward = isinstance(module, BatchedForward)
        self._slots = Slots(module)
        self._leftovers = Leftovers(module)
        # Why vmap is impossible, or failed once; later calls go straight to the loop.
        self._no_vmap: str = ways.why_not_vmap(module)
        self._recomputes = False
        # The modes, training or not, in which a graph was looked at.
        self._looked_at: set[bool] = set()

    def one(self, tensors: Tensors, args: Any, kwargs: Any) -> Any:
        """Run one set of weights.

        Args:
            tensors: Weights, running statistics and other tensors, by place.
            args: Positional inputs.
            kwargs: Further inputs.
        """
        if torch.compiler.is_compiling():
            return self._slots.run(tensors, self.module, args, kwargs)
        images = self._leftovers.begin()
        try:
            output = self._one(tensors, args, kwargs)
        except BaseException:
            self._leftovers.undo(images)
            raise
        self._leftovers.end(images)
        return output

    def _one(self, tensors: Tensors, args: Any, kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self._slots.run(tensors, self.module, args, kwargs)
        if not self._recomputes:
            try:
                return self._differentiated(tensors, args, kwargs)
            except RecomputesError:
                self._recomputes = True
                for tensor in tensors.values():
                    if isinstance(tensor, Operand):
                        tensor.sets.reads.clear()  # the module begins again
        own = trainable(self.module, tensors)
        return isolated(self._slots, {**own, **tensors}, args, kwargs)

    def _differentiated(self, tensors: Tensors, args: Any, kwargs: Any) -> Any:
        """Run with an ordinary graph.

        Raises:
            RecomputesError: The backward pass would run parts of the module again. If
                this is the first call, the state is as before.
        """

        def run() -> Any:
            return self._slots.run(tensors, self.module, args, kwargs)

        mode = self.module.training
        if mode in self._looked_at:
            return run_watched(run)
        self._looked_at.add(mode)
        # The first call may have to be repeated.
        leaves = [leaf for leaf in pytree.tree_leaves(dict(tensors)) if isinstance(leaf, Tensor)]
        kept = [leaf for leaf in leaves if not leaf.requires_grad]
        before = Snapshot(self.module, kept, {leaf.device for leaf in leaves})
        try:
            output = run_watched(run)
        except RecomputesError:
            before.restore()
            raise
        graph = Graph(output)
        if graph.reenters:
            before.restore()
            raise RecomputesError
        if not graph.empty:
            self._name_unused(graph, tensors)
        return output

    def _name_unused(self, graph: Graph, tensors: Tensors) -> None:
        # A weight may consist of several tensors, the factors of a product.
        weights = {
            name: [leaf for leaf in pytree.tree_leaves(tensor) if isinstance(leaf, Tensor)]
            for name, tensor in tensors.items()
            if tensor.requires_grad
        }
        unused = [name for name, leaves in weights.items() if not any(map(graph.reaches, leaves))]
        if unused:
            _LOGGER.warning(
                "%s does not use %d of %d weights in %s: %s",
                type(self.module).__name__,
                len(unused),
                len(weights),
                "training" if self.module.training else "evaluation",
                listed(unused, limit=6),
            )

    def batch(
        self,
        tensors: Mapping[str, Tensor],
        sets: Sequence[Tensors],
        args: Any,
        kwargs: Any,
        *,
        paired: bool,
    ) -> Any:
        """Run a batch of weights, in the fastest way that is possible.

        Args:
            tensors: Weights by place, each with one batch dimension in front.
            sets: Further tensors for each set of weights.
            args: Positional inputs.
            kwargs: Further inputs.
            paired: Whether each set has inputs of its own.
        """
        # A fast path takes parameters only, not the statistics of each set.
        way, reason = self._way(tensors, args, native=not any(sets))
        if way == "native":
            output = self._run_native(tensors, len(sets), args, kwargs, paired=paired)
            if output is not NotImplemented:
                self.used, self.reason = way, reason
                return output
            way, reason = self._way(tensors, args, native=False)
        without_vmap = ""
        if way == "vmap" and self._no_vmap:
            way, reason = "loop", self._no_vmap
        if way == "vmap":
            output, without_vmap = self._run_vmap(tensors, sets, args, kwargs, paired=paired)
            if not without_vmap:
                self.used, self.reason = way, reason
                return output
            way, reason = "loop", without_vmap
        self.used, self.reason = way, reason
        states = ways.unbind_states(tensors, len(sets))
        states = [{**state, **rows} for state, rows in zip(states, sets, strict=True)]
        output = ways.run_loop(self.module, self.one, states, args, kwargs, paired=paired)
        # Only now: a call that fails in the loop as well says nothing about vmap.
        self._no_vmap = self._no_vmap or without_vmap
        return output

    def _way(self, tensors: Mapping[str, Tensor], args: Any, *, native: bool) -> tuple[str, str]:
        """The way to run a batch, with the reason; `native` if that is possible."""
        # vmap would update copies, which are lost.
        if self.module.training and self._bank.names:
            return "loop", "running statistics are updated in place, one set after the other"
        if self.batching != "auto":
            return self.batching, "asked for"
        if native and self._has_batched_forward and not self._bank.names:
            return "native", "the module implements forward_batched"
        if self._recomputes:
            return "loop", _RECOMPUTES
        return ways.choose(self.module, tensors, args)

    def _run_vmap(
        self,
        tensors: Mapping[str, Tensor],
        sets: Sequence[Tensors],
        args: Any,
        kwargs: Any,
        *,
        paired: bool,
    ) -> tuple[Any, str]:
        """The output, or else the reason why only a loop can do it."""
        # The rows of each set become one more batched argument of vmap.
        stacked = {name: torch.stack([rows[name] for rows in sets]) for name in sets[0]}
        images = self._leftovers.begin(everything=True)

        def call(tensors: Tensors, args: Any, kwargs: Any) -> Any:
            return self._slots.run(tensors, self.module, args, kwargs)

        def run() -> Any:
            return ways.run_vmap(call, {**tensors, **stacked}, args, kwargs, paired=paired)

        try:
            output = run_watched(run) if torch.is_grad_enabled() else run()
        except RecomputesError:
            self._leftovers.undo(images)
            self._recomputes = True
            return None, _RECOMPUTES
        except (RuntimeError, ValueError) as error:
            self._leftovers.undo(images)
            # A loop can do what vmap cannot (branch on values, write in place);
            # a genuine error of the module is raised again there.
            if self.batching == "vmap":
                raise
            return None, f"not possible with vmap: {str(error).partition(chr(10))[0]}"
        # What is kept now is a tensor of all sets, or was counted once for all.
        kept = self._leftovers.undo(images)
        if kept:
            return None, f"not possible with vmap: the module keeps {listed(kept, limit=3)}"
        return output, ""

    def _run_native(
        self, tensors: Mapping[str, Tensor], count: int, args: Any, kwargs: Any, *, paired: bool
    ) -> Any:
        # A fast path wants all parameters batched; expanding the others copies nothing.
        own = {
            name: parameter.expand(count, *parameter.shape)
            for name, parameter in self.module.named_parameters()
        }
        module = cast("BatchedForward", self.module)
        return module.forward_batched(*args, weights={**own, **tensors}, paired=paired, **kwargs)
