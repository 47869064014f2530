"""Look-ahead: the next step of an optimiser, without taking it."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hypnet_core.errors import SpecError, did_you_mean

Like = Literal["optimizer", "sgd"]


def lookahead(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    *,
    like: Like = "optimizer",
    differentiable: bool = False,
) -> dict[str, Tensor]:
    r"""The step $\Delta\theta$ that an optimiser would take now.

    The optimiser's state and the parameters stay as they are, though hooks of its
    `step` run. The cost is one step and a copy of both.

    Args:
        optimizer: The optimiser, after `backward()`.
        parameters: The parameters of interest, by name. Those that the optimiser does
            not hold, or that have no gradient, do not move.
        like: The optimiser's own step, or a plain gradient step $-\eta\,\nabla L$ with
            the learning rate $\eta$ of each of its groups (`"sgd"`), upwards in groups
            that maximise.
        differentiable: Let gradients flow through $\Delta\theta$ into those that it was
            computed from. They need a graph: `loss.backward(create_graph=True)`. Not
            all optimisers of torch can do so; with `like="sgd"` any can. What the
            optimiser has kept of earlier steps is constant; weight decay depends on
            $\theta$. Steps that divide by $\sqrt{v} + \epsilon$ have the steep slope
            $-\eta / \epsilon$ where $g = v = 0$.

    Returns:
        The change of each parameter of interest that the optimiser holds, by name; it
        carries no gradient unless `differentiable`.

    Raises:
        SpecError: The optimiser calls back for several gradients per step (LBFGS), its
            step cannot be differentiated, or the gradients have no graph.

    References:
        J. von Oswald, C. Henning, B. F. Grewe, J. Sacramento: Continual learning with
        hypernetworks. ICLR 2020, arXiv:1906.00695, section 2.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> layer.weight.grad = torch.tensor([[2.0]])
        >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
        >>> lookahead(optimizer, dict(layer.named_parameters()))
        {'weight': tensor([[-1.]])}
    """
    if like not in get_args(Like):
        raise SpecError(f"like: there is no {like!r}{did_you_mean(like, get_args(Like))}")
    if isinstance(optimizer, torch.optim.LBFGS):
        raise SpecError(
            "LBFGS evaluates the loss several times in each step, so there is no step to look at:"
            " use another optimiser"
        )
    if differentiable:
        _check_graph(optimizer)
    if like == "sgd":
        moved = _gradient_step(optimizer, differentiable=differentiable)
    elif differentiable:
        moved = _differentiable_step(optimizer)
    else:
        moved = _own_step(optimizer)
    return {name: moved[id(p)] for name, p in parameters.items() if id(p) in moved}


def _check_graph(optimizer: torch.optim.Optimizer) -> None:
    grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
    if not any(grad is not None and grad.requires_grad for grad in grads):
        raise SpecError(
            "a differentiable look-ahead needs gradients with a graph: call"
            " backward(create_graph=True) before"
        )


def _gradient_step(optimizer: torch.optim.Optimizer, *, differentiable: bool) -> dict[int, Tensor]:
    """The change by one plain gradient step, by the id of each parameter."""
    moved = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is None:
                moved[id(parameter)] = torch.zeros_like(parameter, requires_grad=False)
            else:
                sign = 1.0 if group.get("maximize") else -1.0
                step = sign * group["lr"] * gradient
                moved[id(parameter)] = step if differentiable else step.detach()
    return moved


@torch.no_grad()
def _own_step(optimizer: torch.optim.Optimizer) -> dict[int, Tensor]:
    """The change by the optimiser's own step, which is taken and then undone."""
    tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    before = [tensor.detach().clone() for tensor in tensors]
    # Moments change in the step, and `load_state_dict` would otherwise share them.
    state = copy.deepcopy(optimizer.state_dict())
    try:
        optimizer.step()
        return {
            id(tensor): tensor.detach() - value
            for tensor, value in zip(tensors, before, strict=True)
        }
    finally:
        # In place: modules and optimiser hold these very tensors.
        for tensor, value in zip(tensors, before, strict=True):
            tensor.copy_(value)
        optimizer.load_state_dict(state)


def _differentiable_step(optimizer: torch.optim.Optimizer) -> dict[int, Tensor]:
    """The change by a copy of the optimiser, which gradients flow through."""
    if "differentiable" not in optimizer.defaults:
        raise SpecError(
            f"the step of {type(optimizer).__name__} cannot be differentiated; like='sgd' takes a"
            " plain gradient step instead"
        )
    # Copies of the parameters become functions of them and of their gradients.
    copies: dict[int, Tensor] = {}
    groups: list[dict[str, Any]] = []
    state: defaultdict[Tensor, Any] = defaultdict(dict)
    for group in optimizer.param_groups:
        members = []
        for parameter in group["params"]:
            # Nothing leads through a parameter that does not move.
            clone = (parameter.detach() if parameter.grad is None else parameter).clone()
            clone.grad = parameter.grad
            copies[id(parameter)] = clone
            members.append(clone)
            if parameter in optimizer.state:
                state[clone] = {
                    key: value.detach().clone() if isinstance(value, Tensor) else value
                    for key, value in optimizer.state[parameter].items()
                }
            if isinstance(optimizer, torch.optim.SGD) and clone.grad is not None:
                _start_momentum(state[clone], clone, group)
        groups.append({**group, **_slow(group), "params": members})
    ahead = copy.copy(optimizer)
    ahead.defaults = {**optimizer.defaults, "differentiable": True}
    ahead.param_groups = groups
    ahead.state = state
    with _RootsFlatAtZero():
        ahead.step()
    return {
        id(parameter): copies[id(parameter)] - parameter
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


class _RootsFlatAtZero(TorchFunctionMode):
    """Square roots with slope 0 at 0.

    The root of a moment does not depend on gradients that are all zero, which the chain
    rule computes as infinity times zero.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func not in _ROOTS or not isinstance(args[0], Tensor):
            return func(*args, **(kwargs or {}))
        x = args[0]
        zero = x == 0
        # Optimisers go on with the result, so the root in place may be another tensor.
        return torch.where(zero, 0.0, torch.where(zero, 1.0, x).sqrt())


_ROOTS = (torch.sqrt, Tensor.sqrt, Tensor.sqrt_)


def _start_momentum(state: dict[str, Any], parameter: Tensor, group: Mapping[str, Any]) -> None:
    """Give SGD's first step a buffer, since torch's own cuts the graph there.

    The first buffer is the gradient itself, without dampening.
    """
    momentum, dampening = group["momentum"], group["dampening"]
    if not momentum or state.get("momentum_buffer") is not None or parameter.grad is None:
        return
    gradient = -parameter.grad if group["maximize"] else parameter.grad
    gradient = gradient + group["weight_decay"] * parameter
    state["momentum_buffer"] = dampening / momentum * gradient


def _slow(group: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a group that lead to kernels which can be differentiated."""
    wanted = {"differentiable": True, "foreach": False, "fused": False, "capturable": False}
    return {key: value for key, value in wanted.items() if key in group}
