from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from hypnet_core import ConditionSpec, TargetSpec
from hypnet_core.errors import SpecError
from hypnet_zoo.hypernets import HMLP
from hypnet_zoo.optim import lookahead
from hypnet_zoo.regularizers import OutputRegularizer

OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd_momentum": lambda p: torch.optim.SGD(
        p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01
    ),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam_fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "adam_amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
    "adadelta": torch.optim.Adadelta,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_it_is_the_step_of_a_real_optimiser_on_a_copy_and_changes_nothing(
    name: str, steps: int
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    twin = copy.deepcopy(net)
    optimizers = [OPTIMIZERS[name](n.parameters()) for n in (net, twin)]
    x = torch.randn(steps + 2, 5, 3)

    def backward(n: nn.Module, i: int) -> None:
        n.zero_grad()
        n(x[i]).square().sum().backward()

    for i in range(steps):
        for n, optimizer in zip((net, twin), optimizers, strict=True):
            backward(n, i)
            optimizer.step()
    for n in (net, twin):
        backward(n, steps)

    delta = lookahead(optimizers[0], dict(net.named_parameters()))
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)
    before = {key: p.detach().clone() for key, p in twin.named_parameters()}
    optimizers[1].step()
    for key, p in twin.named_parameters():
        torch.testing.assert_close(delta[key], p.detach() - before[key])

    # The optimiser itself goes on as if nobody had looked.
    optimizers[0].step()
    for n, optimizer in zip((net, twin), optimizers, strict=True):
        backward(n, steps + 1)
        optimizer.step()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)


def test_parameters_of_no_optimiser_do_not_move() -> None:
    net = nn.Linear(2, 2)
    net(torch.ones(1, 2)).sum().backward()
    assert set(lookahead(torch.optim.SGD([net.weight], lr=0.1), dict(net.named_parameters()))) == {
        "weight"
    }


# ---------------------------------------------------------------- differentiable steps
# Each formula takes all gradients and the start; the last step is taken from `last`.


def sgd(
    grads: list[torch.Tensor], theta: torch.Tensor, last: torch.Tensor, **given: Any
) -> torch.Tensor:
    """Torch's SGD, written out: the change after the last gradient."""
    lr, momentum, decay = given["lr"], given.get("momentum", 0.0), given.get("weight_decay", 0.0)
    buffer, before = None, theta
    for t, grad in enumerate(grads, 1):
        before = theta = last if t == len(grads) else theta
        d = grad + decay * theta
        if momentum:
            damped = (1 - given.get("dampening", 0.0)) * d
            buffer = d if buffer is None else momentum * buffer + damped
            d = d + momentum * buffer if given.get("nesterov") else buffer
        theta = theta - lr * d
    return theta - before


def adam(
    grads: list[torch.Tensor], theta: torch.Tensor, last: torch.Tensor, **given: Any
) -> torch.Tensor:
    """Torch's Adam and AdamW, written out."""
    lr, (b1, b2), eps = given["lr"], (0.9, 0.999), 1e-8
    decay, decoupled = given.get("weight_decay", 0.0), given.get("decoupled", False)
    m, v, before = torch.zeros_like(theta), torch.zeros_like(theta), theta
    for t, grad in enumerate(grads, 1):
        before = theta = last if t == len(grads) else theta
        if decoupled:
            theta = theta * (1 - lr * decay)
        else:
            grad = grad + decay * theta  # noqa: PLW2901  as in the formula
        m, v = b1 * m + (1 - b1) * grad, b2 * v + (1 - b2) * grad**2
        theta = theta - lr * (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + eps)
    return theta - before


def rmsprop(
    grads: list[torch.Tensor], theta: torch.Tensor, last: torch.Tensor, **given: Any
) -> torch.Tensor:
    """Torch's RMSprop, written out."""
    v, mean, buffer = (torch.zeros_like(theta) for _ in range(3))
    before = theta
    for t, grad in enumerate(grads, 1):
        before = theta = last if t == len(grads) else theta
        d = grad + given.get("weight_decay", 0.0) * theta
        v, mean = 0.99 * v + 0.01 * d**2, 0.99 * mean + 0.01 * d
        root = (v - mean**2 if given.get("centered") else v).sqrt() + 1e-8
        buffer = given.get("momentum", 0.0) * buffer + d / root
        theta = theta - given["lr"] * buffer
    return theta - before


FORMULAS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, sgd, {"lr": 0.1}),
    "momentum": (torch.optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "dampened": (torch.optim.SGD, sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    "nesterov": (torch.optim.SGD, sgd, {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
    "sgd_in_full": (
        torch.optim.SGD,
        sgd,
        {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.02},
    ),
    "adam": (torch.optim.Adam, adam, {"lr": 0.1, "weight_decay": 0.02}),
    "adamw": (torch.optim.AdamW, adam, {"lr": 0.1, "weight_decay": 0.02}),
    "rmsprop": (torch.optim.RMSprop, rmsprop, {"lr": 0.1}),
    "rmsprop_in_full": (
        torch.optim.RMSprop,
        rmsprop,
        {"lr": 0.1, "momentum": 0.5, "centered": True, "weight_decay": 0.02},
    ),
}


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", FORMULAS)
def test_gradients_flow_through_the_step_as_through_the_formula(name: str, steps: int) -> None:
    make, formula, options = FORMULAS[name]
    torch.manual_seed(0)
    start = torch.randn(5, dtype=torch.float64)
    theta = nn.Parameter(start.clone())
    optimizer = make([theta], **options)
    grads = []
    for _ in range(steps - 1):
        theta.grad = torch.randn(5, dtype=torch.float64)
        grads.append(theta.grad.clone())
        optimizer.step()
    now = theta.detach().clone()
    optimizer.zero_grad()
    weight = torch.randn(5, dtype=torch.float64)
    (theta**3 * weight).sum().backward(create_graph=True)
    state = copy.deepcopy(optimizer.state_dict())
    delta = lookahead(optimizer, {"theta": theta}, differentiable=True)["theta"]
    (found,) = torch.autograd.grad((delta * weight).cos().sum(), theta)
    # The same by hand: earlier gradients are constants, weight decay is a function of
    # where the step starts.
    leaf = now.clone().requires_grad_()
    last = 3 * leaf**2 * weight
    given = {**options, "decoupled": name == "adamw"}
    history = [*grads, last]
    expected_delta = formula(history, start, leaf, **given)
    # Adam counts its steps in float32.
    rtol, atol = 2e-5, 1e-7
    torch.testing.assert_close(delta, expected_delta, rtol=rtol, atol=atol)
    (expected,) = torch.autograd.grad((expected_delta * weight).cos().sum(), leaf)
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)
    # Nothing has moved.
    assert torch.equal(theta.detach(), now)
    after = optimizer.state_dict()
    assert after["param_groups"] == state["param_groups"]
    for key, value in state["state"].get(0, {}).items():
        assert after["state"][0][key] is value or bool((after["state"][0][key] == value).all())


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (torch.optim.Adam, {}),
        (torch.optim.Adam, {"amsgrad": True}),
        (torch.optim.Adam, {"fused": True}),
        (torch.optim.AdamW, {"weight_decay": 0.0}),
        (torch.optim.RMSprop, {}),
        (torch.optim.RMSprop, {"centered": True, "momentum": 0.5}),
        (torch.optim.Adagrad, {}),
    ],
    ids=["adam", "amsgrad", "fused", "adamw", "rmsprop", "centered", "adagrad"],
)
def test_gradients_of_zero_are_no_trap(make: Any, options: dict[str, Any]) -> None:
    """A step of `-lr g / (c |g| + eps)` has the slope `-lr / eps` at zero."""
    lr, eps = 0.1, 1e-3
    theta = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = make([theta], lr=lr, eps=eps, **options)
    # One gradient is zero for all theta, one has a slope there, one is not zero.
    (0.0 * theta[0] + theta[1].square() + 2 * theta[2]).backward(create_graph=True)
    delta = lookahead(optimizer, {"theta": theta}, differentiable=True)["theta"]
    assert delta[:2].tolist() == [0.0, 0.0]
    assert delta[2] < 0
    (slope,) = torch.autograd.grad(delta.sum(), theta)
    assert slope.tolist() == pytest.approx([0.0, -lr / eps * 2, 0.0], rel=1e-6)


def test_the_plain_gradient_step_under_another_optimizer() -> None:
    parameters = {name: nn.Parameter(torch.ones(2)) for name in ("a", "b", "c")}
    a, b, c = parameters.values()
    groups: list[dict[str, Any]] = [{"params": [a], "lr": 0.5}, {"params": [b, c]}]
    optimizer = torch.optim.Adam(groups, lr=0.1)
    (a.square().sum() + 3 * b.sum()).backward(create_graph=True)
    delta = lookahead(optimizer, parameters, like="sgd")
    assert {name: step.tolist() for name, step in delta.items()} == {
        "a": [-1.0, -1.0],
        "b": pytest.approx([-0.3, -0.3]),
        "c": [0.0, 0.0],
    }
    assert not delta["a"].requires_grad
    ahead = lookahead(optimizer, parameters, like="sgd", differentiable=True)["a"]
    (found,) = torch.autograd.grad(ahead.sum(), a)
    assert found.tolist() == [-1.0, -1.0]  # -lr times the second derivative


def test_the_plain_gradient_step_goes_upwards_where_the_optimiser_does() -> None:
    theta = nn.Parameter(torch.ones(2))
    (3 * theta).sum().backward()
    optimizer = torch.optim.AdamW([theta], lr=0.5, maximize=True)
    assert lookahead(optimizer, {"theta": theta}, like="sgd")["theta"].tolist() == [1.5, 1.5]


def test_what_has_no_such_step_is_refused_by_name() -> None:
    theta = nn.Parameter(torch.ones(2))
    parameters = {"theta": theta}
    with pytest.raises(SpecError, match="LBFGS evaluates the loss several times"):
        lookahead(torch.optim.LBFGS([theta]), parameters)
    with pytest.raises(SpecError, match=r"like: there is no 'sdg'; did you mean 'sgd'"):
        lookahead(torch.optim.SGD([theta]), parameters, like="sdg")  # type: ignore[arg-type]
    theta.square().sum().backward()
    with pytest.raises(SpecError, match=r"backward\(create_graph=True\) before"):
        lookahead(torch.optim.SGD([theta]), parameters, differentiable=True)
    theta.grad = None
    theta.square().sum().backward(create_graph=True)
    with pytest.raises(SpecError, match=r"step of SparseAdam cannot be differentiated; like='sgd'"):
        lookahead(torch.optim.SparseAdam([theta]), parameters, differentiable=True)


def test_the_regularizer_is_differentiated_through_the_step() -> None:
    """Against finite differences of the whole: step, then penalty."""
    torch.manual_seed(0)
    target = TargetSpec.from_shapes([[3, 2], [3]])
    hypernet = HMLP(target, ConditionSpec(count=2, size=3), hidden=(4,), activation="tanh").double()
    regularizer = OutputRegularizer(hypernet, [0])
    named = dict(hypernet.named_parameters())
    goal = torch.randn(target.numel, dtype=torch.float64)

    def penalty(*, graph: bool) -> torch.Tensor:
        for parameter in named.values():
            parameter.grad = None
        (hypernet(1).flat - goal).square().sum().backward(create_graph=graph)
        optimizer = torch.optim.SGD(named.values(), lr=0.05, momentum=0.9, weight_decay=0.5)
        return regularizer(delta=lookahead(optimizer, named, differentiable=graph))

    weight = named["heads.0.weight"]
    (gradient,) = torch.autograd.grad(penalty(graph=True), weight)
    step = 1e-6
    for place in [(0, 0), (4, 2), (8, 3)]:
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[place] += sign * step
            values.append(penalty(graph=False).item())
            with torch.no_grad():
                weight[place] -= sign * step
        difference = (values[0] - values[1]) / (2 * step)
        assert gradient[place].item() == pytest.approx(difference, rel=1e-4, abs=1e-8)
