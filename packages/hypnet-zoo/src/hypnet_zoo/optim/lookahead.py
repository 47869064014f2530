"""Look-ahead: the next step of an optimiser, without taking it."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


@torch.no_grad()
def lookahead(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    r"""The step $\Delta\theta$ that `optimizer.step()` would take now.

    The optimiser takes its real step, which is then undone, so any optimiser will do.
    Parameters and the optimiser's state are restored. The cost is one step and a copy
    of both.

    Args:
        optimizer: The optimiser, after `backward()`.
        parameters: The parameters of interest, by name.

    Returns:
        The change of each parameter, by name; it carries no gradient.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> layer.weight.grad = torch.tensor([[2.0]])
        >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
        >>> lookahead(optimizer, dict(layer.named_parameters()))
        {'weight': tensor([[-1.]])}
    """
    tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    before = [tensor.detach().clone() for tensor in tensors]
    # Moments change in the step, and `load_state_dict` would otherwise share them.
    state = copy.deepcopy(optimizer.state_dict())
    optimizer.step()
    # Tensors compare by their entries, hence the ids.
    start = dict(zip(map(id, tensors), before, strict=True))
    delta = {name: p.detach() - start[id(p)] for name, p in parameters.items() if id(p) in start}
    # In place: modules and optimiser hold these very tensors.
    for tensor, value in zip(tensors, before, strict=True):
        tensor.copy_(value)
    optimizer.load_state_dict(state)
    return delta
