"""The graph behind the outputs of a call."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

_REENTRANT = "CheckpointFunctionBackward"


class Graph:
    """All that the gradients of some outputs pass through.

    Args:
        outputs: Tensors, in any structure.

    Attributes:
        empty: Whether no output has a gradient.
        reenters: Whether it holds checkpoints that start a backward pass of their own
            (`torch.utils.checkpoint` with `use_reentrant=True`).
    """

    def __init__(self, outputs: Any) -> None:
        leaves = [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]
        self._edges = {
            (leaf.grad_fn, leaf.output_nr) for leaf in leaves if leaf.grad_fn is not None
        }
        self.empty = not self._edges
        self.reenters = False
        self._variables: set[int] = {id(leaf) for leaf in leaves}
        stack = list({node for node, _ in self._edges})
        seen = set(stack)
        while stack:
            node = stack.pop()
            self.reenters = self.reenters or node.name() == _REENTRANT
            # Leaves: nodes that accumulate gradients know their tensor.
            self._variables.add(id(getattr(node, "variable", None)))
            for before, number in node.next_functions:
                if before is None:
                    continue
                self._edges.add((before, number))
                if before not in seen:
                    seen.add(before)
                    stack.append(before)

    def reaches(self, tensor: Tensor) -> bool:
        """Whether a gradient reaches a tensor."""
        return (tensor.grad_fn, tensor.output_nr) in self._edges or id(tensor) in self._variables
