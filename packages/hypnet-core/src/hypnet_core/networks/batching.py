"""Batches of weights: a module run with `torch.vmap` or in a loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from hypnet_core.errors import WeightsError, listed
from hypnet_core.networks.recompute import copied, works_in_place
from hypnet_core.networks.statistics import version_of

Batching = Literal["auto", "vmap", "loop"]
State = Mapping[str, Tensor]
Call = Callable[[State, Any, Any], Any]
"""Runs a module with the tensors of one set, positional and further inputs."""

# Measured on two CPU cores, 20 sets of weights (benchmarks/weight_sets.py): vmap beats
# the loop by 1.5 to 5 times while a set is small enough for call overhead to dominate;
# with larger sets both wait for memory and vmap's backward pass falls behind.
# Convolutions with batched weights become grouped ones, which are slow on a CPU from a
# few images on.
VMAP_MAX_WEIGHTS = 1 << 17
VMAP_MAX_PIXELS = 1 << 10

# Attention has no rule for its backward pass, although the forward pass may succeed.
FUSED = (nn.RNNBase, nn.MultiheadAttention, nn.TransformerEncoderLayer)
# With batched weights these become grouped convolutions.
CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


def choose(
    module: nn.Module, state: State, args: Sequence[Any]
) -> tuple[Literal["vmap", "loop"], str]:
    """Choose between `vmap` and a loop, with the reason.

    Args:
        module: The module to run.
        state: Its parameters and buffers, each with one leading batch dimension.
        args: Its inputs.
    """
    layers = list(module.modules())
    if any(isinstance(layer, FUSED) for layer in layers):
        return "loop", "fused layers have no vmap rule"
    tensors = list(state.values())
    if tensors and torch.is_autocast_enabled(tensors[0].device.type):
        return "loop", "vmap computes in full precision under autocast"
    # The limits below were measured on a CPU; on a GPU launches dominate.
    if not tensors or tensors[0].device.type != "cpu":
        return "vmap", "one kernel for all sets"
    weights = sum(tensor[0].numel() for tensor in tensors)
    if weights > VMAP_MAX_WEIGHTS:
        return (
            "loop",
            f"{weights:,} weights per set: memory-bound, where vmap gains nothing on a CPU",
        )
    convolutional = any(isinstance(layer, CONVOLUTIONS) for layer in layers)
    if (
        convolutional
        and sum(arg.numel() for arg in args if isinstance(arg, Tensor)) > VMAP_MAX_PIXELS
    ):
        return "loop", "grouped convolutions are slower than single ones on a CPU"
    return "vmap", "small sets: one call for all saves overhead"


def why_not_vmap(module: nn.Module) -> str:
    """Why `vmap` must not be used, whatever was asked for; empty if it may."""
    layers = (layer for layer in module.modules() if isinstance(layer, nn.Embedding))
    if any(layer.padding_idx is not None for layer in layers):
        # It leaves the gradient of the padding out for the first set only (torch 2.14).
        return "embeddings with padding have wrong gradients under vmap"
    return ""


def run_vmap(call: Call, state: State, args: Any, kwargs: Any, *, paired: bool) -> Any:
    """All sets in one vectorised call."""
    # Inputs are shared by all sets (None) unless they come in pairs with them.
    axes = pytree.tree_map(
        lambda leaf: 0 if paired and isinstance(leaf, Tensor) else None, (args, kwargs)
    )
    return torch.vmap(call, in_dims=(0, *axes), randomness="different")(dict(state), args, kwargs)


def run_loop(
    module: nn.Module, call: Call, states: Sequence[State], args: Any, kwargs: Any, *, paired: bool
) -> Any:
    """One set after the other.

    Raises:
        WeightsError: The module writes into its input, which the next set would see, or
            returns what cannot be combined.
    """
    copies = works_in_place(module)
    # The inputs of one set are views, which share the counters of the whole.
    before = _versions((args, kwargs))
    outputs = []
    for i, state in enumerate(states):
        own_args, own_kwargs = _at((args, kwargs), i) if paired else (args, kwargs)
        if copies:  # the first layer may be one of them
            own_args, own_kwargs = copied((own_args, own_kwargs))
        outputs.append(call(state, own_args, own_kwargs))
        if not copies and _versions((args, kwargs)) != before:
            raise WeightsError(
                f"{type(module).__name__} writes into its input, which each set of weights must"
                " see unchanged: let it work on a copy"
            )
    return combined(outputs)


def combined(outputs: Sequence[Any]) -> Any:
    """The outputs of all sets as one, with a batch dimension in front.

    Raises:
        WeightsError: They are no tensors, or differ in shape or structure.
    """
    first, *others = map(pytree.tree_structure, outputs)
    if any(other != first for other in others):
        raise WeightsError(
            "the sets of weights give outputs of different structure (lists of different length,"
            f" for instance), which cannot be combined: {_INSTEAD}"
        )
    return pytree.tree_map(_stacked, *outputs, is_leaf=lambda leaf: leaf is None)


_INSTEAD = "let the module return tensors, or call it with one set at a time (weights.unbind())"


def _versions(inputs: Any) -> list[int]:
    """Counters of the writes into each tensor."""
    return [version_of(x) for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor)]


def _stacked(*leaves: Any) -> Any:
    """One leaf of the outputs of all sets."""
    first = leaves[0]
    if isinstance(first, Tensor):
        shapes = {tuple(leaf.shape) for leaf in leaves}
        if len(shapes) > 1:
            raise WeightsError(
                "the sets of weights give outputs of different shapes"
                f" ({listed(map(str, map(list, sorted(shapes))), limit=3)}), which cannot be"
                " combined: call the module with one set at a time (weights.unbind())"
            )
        return torch.stack(leaves)
    if first is None or (isinstance(first, (bool, int, float, str)) and len(set(leaves)) == 1):
        return first
    raise WeightsError(
        f"outputs of type {type(first).__name__} cannot be combined for a batch of weights:"
        f" {_INSTEAD}"
    )


def _at(inputs: Any, index: int) -> Any:
    """The inputs of one set of weights."""
    return pytree.tree_map(lambda leaf: leaf[index] if isinstance(leaf, Tensor) else leaf, inputs)


def unbind_states(state: State, count: int) -> list[dict[str, Tensor]]:
    """One mapping per set.

    Each tensor is unbound once, so that its backward pass is one node.
    """
    parts = {name: tensor.unbind(0) for name, tensor in state.items()}
    return [{name: tensors[i] for name, tensors in parts.items()} for i in range(count)]


def merged(inputs: Any, dims: int) -> Any:
    """Tensors with their first dimensions as one: all ways know one batch dimension."""
    if dims == 1:
        return inputs
    # Views wherever the batch dimensions are contiguous.
    return pytree.tree_map(lambda x: x.flatten(0, dims - 1) if isinstance(x, Tensor) else x, inputs)


def parted(output: Any, batch_shape: torch.Size) -> Any:
    """Outputs with the batch dimensions of the weights, the inverse of `merged`."""
    if len(batch_shape) == 1:
        return output
    return pytree.tree_map(
        lambda y: y.reshape(batch_shape + y.shape[1:]) if isinstance(y, Tensor) else y, output
    )


def check_paired(args: Any, kwargs: Any, batch_shape: torch.Size) -> None:
    """Check that paired inputs have the batch dimensions of the weights in front.

    Raises:
        WeightsError: A tensor does not have them.
    """
    for leaf in pytree.tree_leaves((args, kwargs)):
        if isinstance(leaf, Tensor) and leaf.shape[: len(batch_shape)] != batch_shape:
            raise WeightsError(
                f"paired inputs need the weights' batch shape {list(batch_shape)} in front, got a"
                f" tensor of shape {list(leaf.shape)}"
            )
