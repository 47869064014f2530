"""Steps of Adam upwards, as a function of values instead of an optimiser's state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam


@torch.no_grad()
def ascend(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    moments: tuple[Sequence[Tensor], Sequence[Tensor]],
    *,
    steps: int,
    lr: float,
) -> None:
    """Take one step, in place.

    Args:
        parameters: What moves.
        gradients: The directions upwards.
        moments: The first and second moments of each gradient.
        steps: Number of steps before.
        lr: Learning rate.
    """
    first, second = moments
    adam(
        list(parameters),
        list(gradients),
        list(first),
        list(second),
        [],
        [torch.tensor(float(steps)) for _ in parameters],
        amsgrad=False,
        beta1=0.9,
        beta2=0.999,
        lr=lr,
        weight_decay=0.0,
        eps=1e-8,
        maximize=True,
    )
