"""Synaptic intelligence against path integrals and a slow bookkeeping."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnet_core import ConditionSpec, MainNetwork
from hypnet_core.errors import CheckpointError, DivergedError, SpecError
from hypnet_core.runs import pack
from hypnet_zoo.hypernets import HMLP
from hypnet_zoo.optim import lookahead
from hypnet_zoo.regularizers import SI

DOUBLE = torch.float64


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(8, 4, dtype=DOUBLE), torch.randint(3, (8,))


def step(penalty: SI, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    penalty.before_step()
    optimizer.step()
    penalty.after_step()


def trained(penalty: SI, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        x, y = batch()
        step(penalty, optimizer, F.cross_entropy(penalty.model(x), y) + penalty())


def test_on_a_diagonal_quadratic_importances_sum_to_the_drop_of_the_loss() -> None:
    model = nn.Linear(6, 1, bias=False).double()
    curvature = torch.rand(6, dtype=DOUBLE) * 3 + 0.2
    goal = torch.randn(6, dtype=DOUBLE)

    def loss() -> Tensor:
        return 0.5 * (curvature * (model.weight[0] - goal).square()).sum()

    penalty = SI(model, epsilon=0.05)
    start, before = model.weight.detach().clone(), loss().item()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(800):
        step(penalty, optimizer, loss())
    penalty.after_task()
    change = model.weight.detach() - start
    total = (penalty.importance["weight"] * (change.square() + 0.05)).sum()
    assert total.item() == pytest.approx(before - loss().item(), rel=0.01)
    # Per coordinate as well: each has a loss of its own.
    gaps = [(w - goal).square() * curvature / 2 for w in (start[0], model.weight.detach()[0])]
    torch.testing.assert_close(
        penalty.importance["weight"][0],
        (gaps[0] - gaps[1]) / (change[0] ** 2 + 0.05),
        rtol=0.01,
        atol=0,
    )


class Slow:
    """The definition, one parameter and one step after the other."""

    def __init__(self, model: nn.Module, epsilon: float) -> None:
        self.model, self.epsilon = model, epsilon
        self.omega = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
        self.importance = copy.deepcopy(self.omega)
        self.start = self.now()

    def now(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def before_step(self) -> None:
        self.before = self.now()

    def after_step(self) -> None:
        for name, p in self.model.named_parameters():
            if p.grad is not None:
                self.omega[name] -= p.grad * (p.detach() - self.before[name])

    def after_task(self) -> None:
        for name, p in self.model.named_parameters():
            change = p.detach() - self.start[name]
            found = self.omega[name].clamp(min=0) / (change.square() + self.epsilon)
            self.importance[name] += found
            self.omega[name].zero_()
        self.start = self.now()

    def penalty(self) -> Tensor:
        return torch.stack(
            [
                (self.importance[name] * (p - self.start[name]).square()).sum()
                for name, p in self.model.named_parameters()
            ]
        ).sum()


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
        lambda parameters: torch.optim.Adam(parameters, lr=0.05),
    ],
    ids=["sgd", "adam"],
)
def test_it_equals_a_slow_bookkeeping_over_several_tasks(make: Callable[[Any], Any]) -> None:
    model = network()
    optimizer = make(model.parameters())
    penalty, slow = SI(model, strength=0.7, epsilon=0.01), Slow(model, 0.01)
    for _ in range(3):
        for _ in range(7):
            x, y = batch()
            torch.testing.assert_close(penalty(), 0.7 * slow.penalty())
            optimizer.zero_grad()
            (F.cross_entropy(model(x), y) + penalty()).backward()
            for one in (penalty, slow):
                one.before_step()
            optimizer.step()
            for one in (penalty, slow):
                one.after_step()
        for one in (penalty, slow):
            one.after_task()
        torch.testing.assert_close(penalty.importance, slow.importance)
        torch.testing.assert_close(penalty.center, slow.start)
    assert all((f >= 0).all() for f in penalty.importance.values())
    gradients = [
        torch.autograd.grad(value, list(model.parameters()))
        for value in (penalty(), 0.7 * slow.penalty())
    ]
    torch.testing.assert_close(*gradients)


@pytest.fixture
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_two_threads")
def test_tensors_in_pieces_have_the_same_path() -> None:
    """With several threads, tensors of middling size are worked on in pieces."""
    model = nn.ModuleDict({"used": nn.Linear(300, 201), "idle": nn.Linear(300, 201)})
    penalty, slow = SI(model, epsilon=0.01), Slow(model, 0.01)
    for _ in range(3):
        model.zero_grad()
        model["used"](torch.randn(2, 300)).square().sum().backward()
        for one in (penalty, slow):
            one.before_step()
        with torch.no_grad():
            for p in model["used"].parameters():
                # New storage, as hand-written optimisers give it.
                p.data = p - 1e-3 * (p.grad if p.grad is not None else 0.0)
        for one in (penalty, slow):
            one.after_step()
    for one in (penalty, slow):
        one.after_task()
    torch.testing.assert_close(penalty.importance, slow.importance)
    assert penalty.importance["used.weight"].any()
    assert not penalty.importance["idle.weight"].any()


def test_what_raised_the_loss_has_no_importance() -> None:
    model = nn.Linear(2, 1, bias=False).double()
    penalty = SI(model, epsilon=1.0)
    nn.init.zeros_(model.weight)
    penalty.before_step()
    model.weight.grad = torch.tensor([[1.0, 1.0]], dtype=DOUBLE)
    with torch.no_grad():
        model.weight.add_(torch.tensor([[2.0, -2.0]]))  # up the slope, and down
    penalty.after_step()
    penalty.after_task()
    torch.testing.assert_close(
        penalty.importance["weight"], torch.tensor([[0.0, 2 / 5]], dtype=DOUBLE)
    )


def test_without_move_or_damping_there_is_no_importance() -> None:
    model = nn.Linear(2, 1, bias=False).double()
    penalty = SI(model, epsilon=0.0)
    model.weight.grad = torch.ones(1, 2, dtype=DOUBLE)
    penalty.before_step()
    penalty.after_step()
    penalty.after_task()
    assert not penalty.importance["weight"].any()


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_look_ahead_leaves_penalties_out(name: str) -> None:
    """As if only the task's loss were there, though the real step follows the sum."""
    model = network()
    make: Any = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[name]
    optimizer, penalty = make(model.parameters(), lr=0.1), SI(model)
    expected = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for _ in range(4):
        x, y = batch()
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        clone = copy.deepcopy(model)
        for own, other in zip(model.parameters(), clone.parameters(), strict=True):
            assert own.grad is not None
            other.grad = own.grad.clone()
        twin = make(clone.parameters(), lr=0.1)
        twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        twin.step()
        for key, p in model.named_parameters():
            assert p.grad is not None
            expected[key] -= p.grad * (clone.get_parameter(key).detach() - p.detach())
        penalty.after_step(delta=lookahead(optimizer, penalty.parameters))
        torch.stack([5 * p.square().sum() for p in model.parameters()]).sum().backward()
        optimizer.step()
    start = penalty.center
    penalty.after_task()
    for key, p in model.named_parameters():
        found = expected[key].clamp(min=0) / ((p.detach() - start[key]).square() + 1e-3)
        torch.testing.assert_close(penalty.importance[key], found)


def test_gradients_may_be_given() -> None:
    model = network()
    optimizer, penalty = torch.optim.SGD(model.parameters(), lr=0.1), SI(model, epsilon=0.1)
    x, y = batch()
    loss = F.cross_entropy(model(x), y)
    names = [name for name, _ in model.named_parameters()]
    own = dict(zip(names, torch.autograd.grad(loss, list(model.parameters())), strict=True))
    own = {name: gradient.clone() for name, gradient in own.items()}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    torch.stack([p.square().sum() for p in model.parameters()]).sum().backward()
    penalty.before_step()
    optimizer.step()
    penalty.after_step(gradients=own)
    penalty.after_task()
    for name, p in model.named_parameters():
        change = p.detach() - before[name]
        expected = (-own[name] * change).clamp(min=0) / (change.square() + 0.1)
        torch.testing.assert_close(penalty.importance[name], expected)


def test_parameters_without_gradient_have_no_path() -> None:
    model = nn.ModuleDict({"used": nn.Linear(2, 1), "idle": nn.Linear(2, 1)})
    model["table"] = nn.Embedding(3, 2, sparse=True)
    penalty = SI(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step(penalty, optimizer, model["used"](model["table"](torch.tensor([1]))).sum())
    penalty.after_task()
    importance = penalty.importance
    assert (importance["used.weight"] > 0).all()
    assert not importance["idle.weight"].any()
    assert (importance["table.weight"][1] > 0).all()
    assert not importance["table.weight"][[0, 2]].any()


def test_weights_that_were_loaded_later_are_the_start() -> None:
    model = network()
    penalty = SI(model)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(100.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trained(penalty, optimizer, 1)
    assert all(
        ((p.detach() - penalty.center[name]).abs() < 1).all()
        for name, p in model.named_parameters()
    )


def test_groups_have_strengths_and_damping_of_their_own() -> None:
    model = network()
    grouped = SI(
        model,
        parameters={"trunk": "0.*", "head": "2.*"},
        strength={"trunk": 2.0, "head": 0.5},
        epsilon={"trunk": 0.1, "head": 0.01},
    )
    single = {
        "trunk": SI(model, parameters="0.*", strength=2.0, epsilon=0.1),
        "head": SI(model, parameters="2.*", strength=0.5, epsilon=0.01),
    }
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        for _ in range(3):
            x, y = batch()
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            for one in (grouped, *single.values()):
                one.before_step()
            optimizer.step()
            for one in (grouped, *single.values()):
                one.after_step()
        for one in (grouped, *single.values()):
            one.after_task()
    trained(grouped, optimizer, 2)
    parts = {name: one().detach() for name, one in single.items()}
    assert all(part > 0 for part in parts.values())
    torch.testing.assert_close(grouped.by_group(), parts)
    torch.testing.assert_close(grouped().detach(), parts["trunk"] + parts["head"])


def test_parameters_of_a_hypernetwork() -> None:
    net = MainNetwork(nn.Linear(4, 3).double())
    hypernet = HMLP(net.target, ConditionSpec(count=2, size=2), hidden=(5,)).double()
    penalty = SI(hypernet, parameters="unconditional")
    optimizer = torch.optim.SGD(hypernet.parameters(), lr=0.01)
    for condition in range(2):
        for _ in range(3):
            x, y = batch()
            loss = F.cross_entropy(net(x, weights=hypernet(condition)), y)
            step(penalty, optimizer, loss + penalty())
        penalty.after_task()
    assert not any("embedding" in name for name in penalty.importance)
    assert len(penalty.importance) == len(hypernet.unconditional_parameters())
    assert all(f.any() for f in penalty.importance.values())


def test_heads_may_be_added_and_grow() -> None:
    model: Any = nn.ModuleDict({"trunk": nn.Linear(4, 5), "a": nn.Linear(5, 2)}).double()

    def forward(x: Tensor, head: str) -> Tensor:
        out: Tensor = model[head](torch.tanh(model["trunk"](x)))
        return out

    penalty = SI(model)

    def learn(head: str, classes: int) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            x, y = batch()
            step(penalty, optimizer, F.cross_entropy(forward(x, head), y % classes) + penalty())
        penalty.after_task()

    learn("a", 2)
    first = penalty.importance
    model["b"] = nn.Linear(5, 3).double()
    assert not penalty.importance["b.weight"].any()
    learn("b", 3)
    old = model["a"]
    model["a"] = nn.Linear(5, 4).double()
    with torch.no_grad():
        model["a"].weight[:2], model["a"].bias[:2] = old.weight, old.bias
    torch.testing.assert_close(penalty.importance["a.weight"][:2], first["a.weight"])
    assert not penalty.importance["a.weight"][2:].any()
    learn("a", 4)
    importance = penalty.importance
    assert (importance["a.weight"][2:] > 0).any()
    assert (importance["a.weight"][:2] >= first["a.weight"]).all()
    assert (importance["trunk.weight"] >= first["trunk.weight"]).all()


def test_it_continues_from_a_checkpoint_within_a_task(tmp_path: Path) -> None:
    model = network()
    optimizer, penalty = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), SI(model)
    trained(penalty, optimizer, 4)
    penalty.after_task()
    trained(penalty, optimizer, 3)
    torch.save(penalty.state_dict(), tmp_path / "state.pt")
    twin = copy.deepcopy(model)
    again = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    loaded = SI(twin)
    loaded.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for one, its in ((penalty, optimizer), (loaded, again)):
        torch.manual_seed(5)
        trained(one, its, 3)
        one.after_task()
        trained(one, its, 2)
    (now, rest), (before, others) = (pack("p", one.state_dict()) for one in (loaded, penalty))
    torch.testing.assert_close(now, before, rtol=0, atol=0)
    assert rest == others
    assert loaded() == penalty()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_added_up_in_single(dtype: torch.dtype) -> None:
    model = nn.Linear(3, 2).to(dtype)
    penalty = SI(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        step(penalty, optimizer, model(torch.ones(1, 3, dtype=dtype)).square().sum() + penalty())
    penalty.after_task()
    assert penalty.importance["weight"].dtype == torch.float32
    assert (penalty.importance["weight"] > 0).all()


def test_what_is_impossible_is_named() -> None:
    model = network()
    for options, message in (
        ({"strength": -1.0}, "strength must not be negative"),
        ({"epsilon": -1.0}, "epsilon must not be negative"),
        ({"epsilon": {"a": 1.0}}, "epsilon: there is no group 'a'"),
        ({"parameters": ["0.wight"]}, "no parameter matches '0.wight'; did you mean '0.weight'"),
    ):
        with pytest.raises(SpecError, match=message):
            SI(model, **options)
    penalty = SI(model)
    with pytest.raises(SpecError, match="there was no step in this task"):
        penalty.after_task()
    with pytest.raises(SpecError, match=r"after_step needs before_step before optimizer\.step"):
        penalty.after_step()
    penalty.before_step()
    with pytest.raises(SpecError, match="no chosen parameter has a gradient: call backward"):
        penalty.after_step()
    penalty.before_step()
    model.append(nn.Linear(3, 3).double())
    penalty()  # a new layout: nothing is remembered of it
    with pytest.raises(SpecError, match="after_step needs before_step"):
        penalty.after_step()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trained(penalty, optimizer, 1)
    with pytest.raises(SpecError, match=r"delta: there is no parameter '0\.wight'; did you mean"):
        penalty.after_step(delta={"0.wight": torch.ones(5, 4)})
    with pytest.raises(SpecError, match=r"delta\['0.weight'\] must have shape \[5, 4\]"):
        penalty.after_step(delta={"0.weight": torch.ones(4)})
    penalty.after_task()
    before = penalty.state_dict()
    step(penalty, optimizer, model(torch.full((1, 4), float("nan"), dtype=DOUBLE)).sum())
    with pytest.raises(DivergedError, match=r"the path of 0\.weight, .* is not finite"):
        penalty.after_task()
    torch.testing.assert_close(penalty.state_dict()["importance"], before["importance"])
    with pytest.raises(CheckpointError, match="the state of SI lacks steps"):
        penalty.load_state_dict({k: v for k, v in before.items() if k != "steps"})
