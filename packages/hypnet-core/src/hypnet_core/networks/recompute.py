"""Activation checkpointing inside modules: backward passes with the weights in place.

`torch.utils.checkpoint` runs parts of a module again during the backward pass, when
the weights of the call are gone. A module that does so is run as one node of the
graph, whose backward pass puts the weights back into their places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import disable_saved_tensors_hooks
from torch.utils import _pytree as pytree

from hypnet_core.errors import WeightsError
from hypnet_core.networks.slots import Slots, Tensors

_SEEN = "hypnet: this module recomputes activations"
_CONSTANTS = (bool, int, float, str, type(None))


class RecomputesError(Exception):
    """Raised where a module asks for recomputation in the backward pass."""


def run_watched(run: Callable[[], Any]) -> Any:
    """Run a module, and notice if parts of it are to be recomputed.

    Raises:
        RecomputesError: The module uses `torch.utils.checkpoint`, or else saves its
            activations in a way of its own.
    """
    guard = disable_saved_tensors_hooks(_SEEN)
    try:
        guard.__enter__()
    except RuntimeError:
        # The caller has such hooks around the whole call, as `save_on_cpu` does.
        return run()
    try:
        return run()
    except RuntimeError as error:
        if str(error) != _SEEN:
            raise
        raise RecomputesError from None
    finally:
        guard.__exit__(None, None, None)


class Snapshot:
    """The state that a forward pass changes: random generators and buffers.

    Args:
        module: Whose buffers to remember.
        further: Further tensors, such as the running statistics of a condition.
        devices: Where else the module computes, with generators of their own.
    """

    def __init__(
        self,
        module: nn.Module,
        further: Iterable[Tensor] = (),
        devices: Iterable[torch.device] = (),
    ) -> None:
        self._owners = [
            (vars(part)["_buffers"], dict(vars(part)["_buffers"])) for part in module.modules()
        ]
        buffers = [*module.buffers(), *further]
        self._values = [(buffer, buffer.clone()) for buffer in buffers]
        self._cpu = torch.get_rng_state()
        devices = {*devices, *(buffer.device for buffer in buffers)}
        devices = {device for device in devices if device.type == "cuda"}
        self._cuda = {device: torch.cuda.get_rng_state(device) for device in devices}

    @torch.no_grad()
    def restore(self) -> None:
        """Return to this state."""
        for now, own in self._owners:
            # A module may replace its buffers instead of writing into them.
            now.update(own)
        for buffer, before in self._values:
            # A write would count as a change. Those of batch norm do not count.
            if not torch.equal(buffer, before):
                buffer.copy_(before)
        torch.set_rng_state(self._cpu)
        for device, state in self._cuda.items():
            torch.cuda.set_rng_state(state, device)


def isolated(slots: Slots, tensors: Tensors, args: Any, kwargs: Any) -> Any:
    """Run a module as one node of the graph.

    All tensors that need gradients must be among the arguments, the module's own
    parameters too. Second derivatives are not possible.

    Raises:
        WeightsError: The module returns objects other than tensors and constants, whose
            tensors would be cut off the graph.
    """
    leaves, spec = pytree.tree_flatten((dict(tensors), args, kwargs))
    call = _Call(slots, spec)
    outputs = _Isolated.apply(call, *leaves)
    return call.assembled(outputs)


class _Call:
    """One call of a module, with what its backward pass needs."""

    def __init__(self, slots: Slots, spec: pytree.TreeSpec) -> None:
        self.slots = slots
        self.spec = spec
        self.outputs: list[Any] = []
        self._output_spec: pytree.TreeSpec | None = None

    def run(self, leaves: Iterable[Any]) -> list[Tensor]:
        tensors, args, kwargs = pytree.tree_unflatten(list(leaves), self.spec)
        module = self.slots.module
        if works_in_place(module):  # leaves must not be changed
            args, kwargs = copied((args, kwargs))
        output = self.slots.run(tensors, module, args, kwargs)
        self.outputs, self._output_spec = pytree.tree_flatten(output)
        for found in self.outputs:
            if not isinstance(found, (Tensor, *_CONSTANTS)):
                raise WeightsError(
                    f"{type(module).__name__} uses activation checkpointing and returns a"
                    f" {type(found).__name__}: gradients can follow tensors only"
                )
        return [found for found in self.outputs if isinstance(found, Tensor)]

    def backward(self, leaves: Iterable[Any], outputs: list[Tensor], grads: list[Tensor]) -> None:
        tensors, _, _ = pytree.tree_unflatten(list(leaves), self.spec)
        self.slots.run(tensors, torch.autograd.backward, (outputs, grads), {})

    def assembled(self, tensors: Iterable[Tensor]) -> Any:
        found = iter(tensors)
        leaves = [next(found) if isinstance(leaf, Tensor) else leaf for leaf in self.outputs]
        spec, self.outputs = self._output_spec, []
        if spec is None:
            raise AssertionError("the module did not run")
        return pytree.tree_unflatten(leaves, spec)


def works_in_place(module: nn.Module) -> bool:
    """Whether a layer is set to write into its input."""
    return any(getattr(layer, "inplace", False) is True for layer in module.modules())


def copied(inputs: Any) -> Any:
    """Inputs with copies of their tensors."""
    return pytree.tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, inputs)


class _Isolated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, *leaves: Any) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        with torch.enable_grad():
            own = [
                leaf.detach().requires_grad_()
                if isinstance(leaf, Tensor) and leaf.requires_grad
                else leaf
                for leaf in leaves
            ]
            outputs = call.run(own)
        ctx.call, ctx.own, ctx.outputs = call, own, outputs
        results = tuple(output.detach() for output in outputs)
        ctx.mark_non_differentiable(
            *(
                result
                for result, output in zip(results, outputs, strict=True)
                if not output.requires_grad
            )
        )
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        reached = [
            (output, grad)
            for output, grad in zip(ctx.outputs, grads, strict=True)
            if grad is not None and output.requires_grad
        ]
        ctx.call.backward(ctx.own, [output for output, _ in reached], [grad for _, grad in reached])
        found = [
            leaf.grad if isinstance(leaf, Tensor) and leaf.requires_grad else None
            for leaf in ctx.own
        ]
        for leaf in ctx.own:
            if isinstance(leaf, Tensor):
                leaf.grad = None
        return (None, *found)
