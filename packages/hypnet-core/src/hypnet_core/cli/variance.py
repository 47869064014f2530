"""The size of each layer's activations before training, for `hypnet inspect`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hypnet_core.cli.schemas import LayerDocument
from hypnet_core.errors import UsageError, error_line
from hypnet_core.networks import HyperNetwork, MainNetwork
from hypnet_core.testing import without_dropout

Squares = dict[str, list[float]]
_INPUTS = 64
_DRAWS = 20  # of the plain network
_CONDITIONS = 100  # to measure at most


@torch.no_grad()
def layer_sizes(
    build: Callable[[], nn.Module],
    net: MainNetwork,
    hypernet: HyperNetwork,
    in_shape: tuple[int, ...],
    embeddings: Callable[[int], dict[str, Tensor]],
) -> list[LayerDocument]:
    """Mean squares of the outputs of all layers, plain and generated.

    Both meet the same standard normal inputs, in training mode without dropout, as in
    their first step.

    Args:
        build: Builds the main network anew, with the start of its own.
        net: The main network whose weights are generated.
        hypernet: Generates them.
        in_shape: Shape of one input.
        embeddings: Inputs of the hypernetwork beside ids, for a number of conditions.

    Raises:
        UsageError: The main network cannot read such inputs.
    """
    inputs = torch.randn(_INPUTS, *in_shape)
    plain: Squares = {}
    for _ in range(_DRAWS):
        module = build()
        with _recorded(module, plain):
            try:
                module(inputs)
            # A module of any origin may want numbers of words, or several inputs.
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                raise UsageError(
                    "--variance: the main network cannot read standard normal inputs of shape"
                    f" {list(inputs.shape)}: {error_line(error)}"
                ) from error
    count = min(hypernet.conditions.count or _CONDITIONS, _CONDITIONS)
    ids = list(range(count)) if hypernet.conditions.count else None
    hypernet.eval()  # dropout would add variance to the weights
    weights = hypernet(ids, **embeddings(count))
    generated: Squares = {}
    with _recorded(net.module, generated):
        net.train()
        for number in range(count) if weights.batch_shape else [None]:
            one = weights if number is None else weights.index(number)
            net(inputs, weights=one)
    return [
        LayerDocument(
            name=name,
            plain=_quantiles(plain[name])[1],
            low=low,
            median=median,
            high=high,
        )
        for name, found in generated.items()
        if name in plain
        for low, median, high in [_quantiles(found)]
    ]


@contextmanager
def _recorded(module: nn.Module, into: Squares) -> Iterator[None]:
    """Note the mean square of every layer's output, in the order of the calls.

    Layers are modules without modules in them; the last entry, `output`, is the whole.
    """
    module.train()
    without_dropout(module)
    layers = {name: one for name, one in module.named_modules() if name and not [*one.children()]}
    hooks = [
        layer.register_forward_hook(_hook(into, name))
        for name, layer in {**layers, "output": module}.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hook(into: Squares, name: str) -> Callable[[nn.Module, Any, Any], None]:
    def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
        # Recurrent layers return their state beside the outputs.
        first = output[0] if isinstance(output, tuple) and output else output
        if isinstance(first, Tensor) and first.is_floating_point() and first.numel():
            into.setdefault(name, []).append(first.square().mean().item())

    return note


def _quantiles(values: list[float]) -> list[float]:
    """The 10 %, 50 % and 90 % quantiles."""
    return torch.tensor(values).quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
