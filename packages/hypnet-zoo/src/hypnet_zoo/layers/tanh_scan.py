"""The recurrence of an Elman layer with a fast backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class TanhScan(torch.autograd.Function):
    r"""$h_t = \tanh(z_t + W h_{t-1})$ for all time steps of `z` `[N, T, units]`.

    The gradient of $W$ is one product over all time steps, where torch's own would be
    one small product and one sum per step.
    """

    @staticmethod
    def forward(z: Tensor, weight: Tensor, h: Tensor) -> Tensor:
        """All states `[N, T, units]` from the first state `h`."""
        transposed = weight.t()
        states = []
        for z_t in z.unbind(1):
            # In place is safe: the sum is new, and only the state is kept.
            h = torch.addmm(z_t, h, transposed).tanh_()
            states.append(h)
        return torch.stack(states, 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        """Keep what the backward pass needs."""
        # `z` is not kept: the slope of tanh follows from the states.
        ctx.save_for_backward(*inputs[1:], output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of `z`, `weight` and `h`."""
        weight, start, states = ctx.saved_tensors
        slopes = (1 - states.square()).unbind(1)
        of_outputs = gradient.unbind(1)
        # Gradients of the pre-activations, from the last time step backwards.
        delta = of_outputs[-1] * slopes[-1]
        deltas = [delta]
        for t in range(len(slopes) - 2, -1, -1):
            # `delta` reaches the step before through `weight`.
            delta = torch.addmm(of_outputs[t], delta, weight) * slopes[t]
            deltas.append(delta)
        stacked = torch.stack(deltas[::-1], 1)
        # The state that entered each step: [N, T, units].
        before = torch.cat([start.unsqueeze(1), states[:, :-1]], 1)
        # One product over all samples and time steps: torch's own backward pass has one
        # small product per step.
        of_weight = stacked.flatten(0, 1).t() @ before.flatten(0, 1)
        return stacked, of_weight, delta @ weight
