"""Distillation of predictions from an earlier copy of a network."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from hypnet_zoo.continual.methods._networks import SharedNetwork, bytes_of


class Teacher:
    """A copy of a network from before the present task, which is not trained."""

    def __init__(self) -> None:
        self.network: SharedNetwork | None = None
        """The copy, in evaluation mode; `None` during the first task."""

    def keep(self, network: SharedNetwork) -> SharedNetwork:
        """Copy a network as it is now."""
        self.network = copy.deepcopy(network).eval()
        return self.network.requires_grad_(requires_grad=False)

    @property
    def nbytes(self) -> int:
        """Memory of the copy."""
        return 0 if self.network is None else bytes_of(*self.network.state_dict().values())

    def saved(self) -> dict[str, Tensor] | None:
        """The state of the copy."""
        return None if self.network is None else dict(self.network.state_dict())

    def resume(self, state: Mapping[str, Tensor] | None, network: SharedNetwork) -> None:
        """Continue from what `saved` gave, with a copy of the network's shape."""
        if state is not None:
            self.keep(network).load_state_dict(state)


def distillation(
    outputs: Tensor,
    targets: Tensor,
    temperature: float,
    *,
    competing: Tensor | None = None,
    taught: Tensor | None = None,
) -> Tensor:
    r"""Cross-entropy between softened predictions, $-T^2 \sum_k q_k \log p_k$.

    Args:
        outputs: Logits of the student, `[..., n]`.
        targets: Logits of the teacher, `[..., n]`, without gradient.
        temperature: $T$; the factor $T^2$ keeps the size of gradients.
        competing: Which classes the student chooses among, `[..., n]`; all by default.
        taught: Which of them the teacher chose among; others get no probability.

    References:
        G. Hinton, O. Vinyals, J. Dean: Distilling the knowledge in a neural network.
        2015, arXiv:1503.02531.
    """
    if competing is not None:
        outputs = outputs.masked_fill(~competing, -torch.inf)
    if taught is not None:
        targets = targets.masked_fill(~taught, -torch.inf)
    soft = (targets / temperature).softmax(dim=-1)
    logs = (outputs / temperature).log_softmax(dim=-1)
    if competing is not None:
        logs = logs.masked_fill(~competing, 0.0)  # no probability times minus infinity
    return -(temperature**2) * (soft * logs).sum(dim=-1).mean()
