"""Main networks against fresh copies of their modules, which are the truth."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from hypnet_core.networks.main_network import MainNetwork
from hypnet_core.networks.weights import Weights, weights_of
from hypnet_core.testing.kit import expect

_SETS = 2


def equals_fresh_copies(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    training: bool,
    batches: bool = True,
    tolerance: float = 1e-3,
) -> str | None:
    """Compare a module with weights from outside with copies that own the weights.

    Two different sets of weights are tried one after the other, and then as a batch.
    Outputs and gradients must be equal. Dropout is switched off in the copies.

    Args:
        module: The module; it is left as it is.
        args: Its inputs.
        kwargs: Further inputs.
        training: Whether to compare in training mode.
        batches: Whether to try the batch.
        tolerance: The largest difference, as a part of the largest number.

    Returns:
        The way in which the batch was run; `None` without batches.

    Raises:
        AssertionError: Something differs.
        HypnetError: The module is refused.
    """
    base = without_dropout(copy.deepcopy(module)).train(training)
    inputs = (tuple(args), dict(kwargs or {}))
    sets = _sets_near(weights_of(base))
    truth = [_truth(base, weights, inputs) for weights in sets]
    net = MainNetwork(copy.deepcopy(base))
    for weights, expected in zip(sets, truth, strict=True):
        leaf = weights.flat.clone().requires_grad_()
        outputs = _tensors(_called(net, Weights(leaf, net.target), inputs))
        _loss(outputs).backward()
        _compare(outputs, _grad(leaf), expected, "with one set of weights", tolerance)
    if not batches:
        return None
    net = MainNetwork(copy.deepcopy(base))
    leaf = torch.stack([weights.flat for weights in sets]).requires_grad_()
    # Ids of conditions keep the running statistics of the sets apart.
    batch = Weights(leaf, net.target, conditions=range(_SETS))
    outputs = _tensors(_called(net, batch, inputs))
    each = [[output[i] for output in outputs] for i in range(_SETS)]
    torch.stack([_loss(one) for one in each]).sum().backward()
    for i, expected in enumerate(truth):
        way = f"in a batch ({net.batching_used})"
        _compare(each[i], _grad(leaf)[i], expected, way, tolerance)
    return net.batching_used


def without_dropout(module: nn.Module) -> nn.Module:
    """Switch off what drops at random, by the names of its layers and attributes."""
    for layer in module.modules():
        name = type(layer).__name__.lower()
        for key, value in vars(layer).items():
            drops = "drop" in key or (key == "p" and ("drop" in name or "depth" in name))
            if isinstance(value, float) and drops:
                setattr(layer, key, 0.0)
    return module


def _sets_near(start: Weights) -> list[Weights]:
    """Different sets of weights, of the same size as those that the module has."""
    generator = torch.Generator().manual_seed(1)

    def noise() -> Tensor:
        drawn = torch.randn(start.flat.shape, generator=generator)
        return drawn.to(start.flat)

    return [
        Weights(start.flat * (1 + 0.2 * noise()) + 0.02 * noise(), start.spec) for _ in range(_SETS)
    ]


_Truth = tuple[list[Tensor], Tensor, Tensor]


def _truth(base: nn.Module, weights: Weights, inputs: Any) -> _Truth:
    """Outputs and flat gradient of a copy, and which weights it trains."""
    fresh = copy.deepcopy(base)
    with torch.no_grad():
        for name, parameter in fresh.named_parameters():
            parameter.copy_(weights[name])
    outputs = _tensors(_called(fresh, None, inputs))
    _loss(outputs).backward()
    parameters = list(fresh.parameters())
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    trained = [torch.full_like(p, p.requires_grad, dtype=torch.bool) for p in parameters]
    return (
        [output.detach() for output in outputs],
        torch.cat([gradient.to_dense().flatten() for gradient in gradients]),
        torch.cat([flags.flatten() for flags in trained]),
    )


def _called(network: nn.Module, weights: Weights | None, inputs: Any) -> Any:
    # Copies, since a module may write into its inputs; the seed for what is random.
    args, kwargs = copy.deepcopy(inputs)
    torch.manual_seed(3)
    given = {} if weights is None else {"weights": weights}
    return network(*args, **given, **kwargs)


def _tensors(output: Any) -> list[Tensor]:
    leaves = pytree.tree_leaves(output)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _loss(outputs: Sequence[Tensor]) -> Tensor:
    """A sum in which every number has a weight of its own."""
    terms = [
        (output.float() * torch.arange(1, output.numel() + 1).reshape(output.shape).cos()).sum()
        for output in outputs
        if output.requires_grad
    ]
    return torch.stack(terms).sum()


def _grad(leaf: Tensor) -> Tensor:
    expect(leaf.grad is not None, "no gradient reached the weights from outside")
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _compare(
    outputs: Sequence[Tensor], gradient: Tensor, truth: _Truth, way: str, tolerance: float
) -> None:
    expected, expected_gradient, trained = truth
    expect(
        [output.shape for output in outputs] == [output.shape for output in expected],
        f"{way} the outputs have other shapes than a fresh copy's",
    )
    for output, right in zip(outputs, expected, strict=True):
        expect_near(output, right, f"{way} outputs", tolerance)
    # A copy does not train what it has frozen.
    expect_near(gradient * trained, expected_gradient, f"{way} gradients", 10 * tolerance)


def expect_near(actual: Tensor, right: Tensor, what: str, tolerance: float = 1e-4) -> None:
    """Fail unless two tensors agree, relative to the largest number.

    Raises:
        AssertionError: They differ.
    """
    expect(
        actual.shape == right.shape,
        f"{what} have shape {list(actual.shape)}, expected {list(right.shape)}",
    )
    if not right.numel():
        return
    scale = float(right.detach().abs().max()) + 1e-6
    error = float((actual - right).detach().abs().max()) / scale
    expect(error < tolerance, f"{what} differ by {error:.1e} of their size")
