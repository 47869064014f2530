"""Generated weights and heads of a hypernetwork, with parameters from outside."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hypnet_core.errors import SpecError
from hypnet_core.networks import HasLinearHeads, HyperNetwork, LinearHead, Weights

State = Mapping[str, Tensor]
"""Parameters and buffers by name; those that are left out stay the module's own."""


def generated(
    hypernet: HyperNetwork, conditions: Sequence[int], state: State | None = None
) -> Tensor:
    """The weights of some conditions, `[len(conditions), numel]`."""
    weights: Weights = (
        hypernet(conditions)
        if state is None
        else functional_call(hypernet, dict(state), (conditions,))
    )
    return weights.flat


def heads_of(
    hypernet: HyperNetwork, conditions: Sequence[int], state: State | None = None
) -> list[LinearHead] | None:
    """The heads and their features; `None` for a hypernetwork that does not tell."""
    if not isinstance(hypernet, HasLinearHeads):
        return None
    if state is None:
        return hypernet.heads_at(conditions)
    found: list[LinearHead] | None = functional_call(
        _Heads(hypernet), {f"hypernet.{name}": one for name, one in state.items()}, (conditions,)
    )
    return found


class _Heads(nn.Module):
    """`functional_call` replaces parameters for calls of `forward` alone."""

    def __init__(self, hypernet: HyperNetwork) -> None:
        super().__init__()
        self.hypernet = hypernet

    def forward(self, conditions: Sequence[int]) -> list[LinearHead] | None:
        return heads_of(self.hypernet, conditions)


def moved(hypernet: HyperNetwork, delta: Mapping[str, Tensor] | None) -> State | None:
    """The parameters after a change.

    Raises:
        SpecError: The hypernetwork lacks one of them.
    """
    if delta is None:
        return None
    parameters = dict(hypernet.named_parameters())
    unknown = [name for name in delta if name not in parameters]
    if unknown:
        raise SpecError(
            f"delta names parameters that the hypernetwork does not have: {', '.join(unknown)}"
        )
    # Parameters without a change stay those of the module.
    return {name: parameters[name] + change for name, change in delta.items()}


@contextlib.contextmanager
def at_rest(hypernet: HyperNetwork) -> Iterator[None]:
    """Evaluation mode without gradients."""
    was_training = hypernet.training
    hypernet.eval()
    try:
        with torch.no_grad():
            yield
    # The caller may be in the middle of a training step.
    finally:
        hypernet.train(was_training)
