from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from hypnet_core import ConditionSpec, MainNetwork, TaskSpec
from hypnet_core.tasks import Batch, Heads, Problem, Split, Task, task_loss
from hypnet_zoo.continual import Optimizations, Train
from hypnet_zoo.continual.methods import Hypernet, Protection
from hypnet_zoo.continual.preparation import cpu_threads
from hypnet_zoo.hypernets import HMLP, ChunkedHMLP
from hypnet_zoo.mainnets import MLP

SPEC = TaskSpec(name="t", kind="classification", in_shape=(4,), out_shape=(3,))


def networks(hypernet: str = "full") -> tuple[MainNetwork, Any]:
    torch.manual_seed(0)
    net = MainNetwork(MLP((4,), 3, hidden=(5,)))
    conditions = ConditionSpec(count=14, size=4)
    made = (
        HMLP(net.target, conditions, hidden=(6,))
        if hypernet == "full"
        else ChunkedHMLP(net.target, conditions, chunk_size=10)
    )
    return net.double(), made.double()


def batch(n: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    return Batch(x, torch.arange(n) % 3, torch.arange(n), None)


def learner(
    net: MainNetwork, hypernet: Any, task: int, train: Any = None, **protect: Any
) -> Hypernet:
    """The method at the start of a task, before its first step."""
    split = Split.of(torch.randn(3, 4), torch.arange(3))
    count = hypernet.conditions.count
    problem = Problem(
        net.module,
        [Task(SPEC, split, split)] * count,
        Heads(kind="single", sizes=(3,) * count),
        optimizer=Optimizations(Train(**(train or {}))),
    )
    made = Hypernet.from_networks(problem, net, hypernet, protect=Protection(**protect))
    made.begin(task)
    return made


@pytest.mark.parametrize("hypernet", ["full", "chunked"])
@pytest.mark.parametrize(
    "options", [{}, {"recompute_targets": True}, {"train_previous_embeddings": True}]
)
def test_gradients_are_those_of_the_papers_loss_written_down_plainly(
    hypernet: str, options: Any
) -> None:
    """Condition 12: the first block shares the task's pass, a second one follows."""
    net, hnet = networks(hypernet)
    start = copy.deepcopy(hnet)
    made = learner(net, hnet, 12, {"optimizer": "sgd", "lr": 1e-9}, beta=0.7, **options)
    with torch.no_grad():
        for p in hnet.parameters():
            p.add_(0.05 * torch.randn_like(p))
    plain = copy.deepcopy(hnet)
    losses = made.step(batch())
    task = F.cross_entropy(net(batch().x, weights=plain(12)), batch().y)
    penalty = sum(((plain(j).flat - start(j).flat.detach()) ** 2).sum() for j in range(12)) / 12
    (task + 0.7 * penalty).backward()
    torch.testing.assert_close(losses["loss"], task.detach())
    torch.testing.assert_close(losses["penalty"], 0.7 * penalty.detach())
    for (name, p), q in zip(hnet.named_parameters(), plain.parameters(), strict=True):
        if p.requires_grad:
            assert p.grad is not None, name
            torch.testing.assert_close(p.grad, q.grad)


def test_only_the_tasks_own_embedding_learns_unless_asked_otherwise() -> None:
    net, hnet = networks()
    learner(net, hnet, 2)
    assert [hnet.embedding(i).requires_grad for i in range(4)] == [False, False, True, False]
    learner(net, hnet, 2, train_previous_embeddings=True)
    assert [hnet.embedding(i).requires_grad for i in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("options", [{}, {"beta": 0.0}, {"lookahead": True}])
def test_each_task_trains_the_running_statistics_of_its_own_condition(options: Any) -> None:
    """The id travels with the weights, also where the flat tensor was split."""
    torch.manual_seed(0)
    net = MainNetwork(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)))
    hnet = HMLP(net.target, ConditionSpec(count=3, size=4))
    x, y = torch.randn(8, 4) + 3, torch.arange(8) % 3
    for condition in (0, 2):
        made = learner(net, hnet, condition, **options)
        before = hnet(condition).detach()
        made.step(Batch(x, y, torch.arange(8), None))
        hidden = x @ before["0.weight"].T + before["0.bias"]
        expected = 0.1 * hidden.mean(0)
        torch.testing.assert_close(net.statistics(condition)["1.running_mean"], expected)
    assert net.bank.ids.tolist() == [0, 2]
    assert net.statistics(1) == net.statistics()


def test_look_ahead_penalises_where_the_next_step_would_lead() -> None:
    net, hnet = networks()
    start = copy.deepcopy(hnet)
    made = learner(net, hnet, 3, {"optimizer": "sgd", "lr": 0.1}, beta=0.5, lookahead=True)
    losses = made.step(batch())
    task = copy.deepcopy(start)
    F.cross_entropy(net(batch().x, weights=task(3)), batch().y).backward()
    ahead = copy.deepcopy(start)
    with torch.no_grad():
        for p, q in zip(ahead.parameters(), task.parameters(), strict=True):
            if q.grad is not None:
                p.sub_(0.1 * q.grad)
    penalty = sum(((ahead(j).flat - start(j).flat.detach()) ** 2).sum() for j in range(3)) / 3
    torch.testing.assert_close(losses["penalty"], 0.5 * penalty.detach())
    assert losses["penalty"] > 0, "without looking ahead the first step of a task has no penalty"
    assert learner(*networks(), 3, {"optimizer": "sgd"}, beta=0.5).step(batch())["penalty"] < 1e-20


def test_gradients_are_clipped() -> None:
    for options in ({"clip_norm": 0.01}, {"clip_value": 0.001}):
        net, hnet = networks()
        made = learner(net, hnet, 0, options)
        made.step(batch())
        gradients = torch.cat([p.grad.flatten() for p in hnet.parameters() if p.grad is not None])
        if "clip_norm" in options:
            assert gradients.norm().item() == pytest.approx(0.01, rel=1e-3)
        else:
            assert gradients.abs().max().item() == pytest.approx(0.001)


def test_a_part_of_the_main_network_may_be_shared_and_trained() -> None:
    torch.manual_seed(0)
    net = MainNetwork(MLP((4,), 3, hidden=(5,)), generate="out.*")
    hnet = HMLP(net.target, ConditionSpec(count=1), hidden=(6,))
    before = net.module.get_parameter("hidden.0.weight").detach().clone()
    one = batch()
    learner(net, hnet, 0).step(Batch(one.x.float(), one.y, one.ids, None))
    assert not torch.equal(before, net.module.get_parameter("hidden.0.weight"))


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop", "adadelta", "adagrad"])
def test_every_optimiser_lowers_the_loss(name: str) -> None:
    net, hnet = networks()
    made = learner(net, hnet, 0, {"optimizer": name, "lr": 1.0 if name == "adadelta" else 0.02})
    first = made.step(batch())["loss"]
    for _ in range(60):
        last = made.step(batch())["loss"]
    assert last < first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"optimizer": "sgd", "optimizer_options": {"momentun": 0.9}},
            "sgd has no option 'momentun'; did you mean 'momentum'",
        ),
        ({"optimizer": "adam", "optimizer_options": {"betas": [2.0, 0.9]}}, "Invalid beta"),
        ({"optimizer": "adam", "optimizer_options": {"lr": 2.0}}, "has no option 'lr'"),
    ],
)
def test_wrong_options_of_an_optimiser_are_named(options: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Train(**options)


def test_settings_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="mutually exclusive"):
        Train(clip_norm=1.0, clip_value=1.0)
    with pytest.raises(ValidationError, match="patience needs validation"):
        Train(patience=1, validate_every=0)


def test_small_networks_use_one_thread_and_torchs_number_comes_back() -> None:
    before = torch.get_num_threads()
    for count, parameters, expected in ((None, 10, 1), (None, 10**7, before), (2, 10, 2)):
        with cpu_threads(count, parameters) as threads:
            assert threads == torch.get_num_threads() == expected
        assert torch.get_num_threads() == before


def test_look_ahead_is_the_clipped_step_that_will_be_taken() -> None:
    net, hnet = networks()
    start = copy.deepcopy(hnet)
    made = learner(
        net, hnet, 3, {"optimizer": "sgd", "lr": 0.1, "clip_norm": 1e-3}, beta=0.5, lookahead=True
    )
    penalty = made.step(batch())["penalty"]
    # A step of length 1e-4 cannot move the weights far; an unclipped one would, by
    # orders of magnitude.
    free = learner(net, start, 3, {"optimizer": "sgd", "lr": 0.1}, beta=0.5, lookahead=True).step(
        batch()
    )["penalty"]
    assert penalty < 1e-3 * free


@pytest.mark.parametrize("like", ["optimizer", "sgd"])
@pytest.mark.parametrize(
    "clipping", [{}, {"clip_norm": 0.05}, {"clip_value": 0.01}], ids=["free", "norm", "value"]
)
def test_the_gradient_of_the_penalty_flows_through_the_step(clipping: Any, like: Any) -> None:
    """The gradient of a step against finite differences of loss and penalty."""
    beta, lr, decay = 0.5, 0.1, 0.3
    train = {"optimizer": "sgd", "lr": lr, "optimizer_options": {"weight_decay": decay}}
    net, hnet = networks()
    start = copy.deepcopy(hnet)
    made = learner(
        net,
        hnet,
        2,
        train | clipping,
        beta=beta,
        lookahead=True,
        lookahead_gradient=True,
        lookahead_like=like,
    )
    now = {name: p.detach().clone() for name, p in hnet.named_parameters()}

    def objective(values: dict[str, torch.Tensor]) -> torch.Tensor:
        leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
        loss = task_loss(
            net(batch().x, weights=torch.func.functional_call(start, leaves, (2,))), batch(), SPEC
        )
        used = {name: p for name, p in leaves.items() if "embedding" not in name or ".2" in name}
        gradients = torch.autograd.grad(loss, list(used.values()))
        if "clip_value" in clipping:
            gradients = tuple(g.clamp(-0.01, 0.01) for g in gradients)
        if "clip_norm" in clipping:
            norm = torch.cat([g.flatten() for g in gradients]).norm()
            assert norm > 0.05
            gradients = tuple(g * 0.05 / (norm + 1e-6) for g in gradients)
        ahead = dict(values)
        for (name, value), gradient in zip(used.items(), gradients, strict=True):
            step = gradient if like == "sgd" else gradient + decay * value.detach()
            ahead[name] = values[name] - lr * step
        moved = torch.func.functional_call(start, ahead, ([0, 1],)).flat
        total: torch.Tensor = loss + beta * (moved - start([0, 1]).flat).square().sum() / 2
        return total.detach()

    name = "heads.0.weight"
    # The gradient before it is clipped for the real step.
    made.optimizer.zero_grad()
    assert made._steps is not None
    losses = made._steps.backward(batch())
    torch.testing.assert_close(losses.loss + losses.penalty, objective(now))
    found = hnet.get_parameter(name).grad
    assert found is not None
    for place in [(0, 0), (3, 1), (7, 5)]:
        values = []
        for sign in (1, -1):
            there = dict(now)
            there[name] = now[name].clone()
            there[name][place] += sign * 1e-6
            values.append(objective(there).item())
        difference = (values[0] - values[1]) / 2e-6
        assert found[place].item() == pytest.approx(difference, rel=1e-4, abs=1e-7)


def test_how_to_look_ahead_is_refused_where_nothing_is_looked_at() -> None:
    for options in ({"lookahead_gradient": True}, {"lookahead_like": "sgd"}):
        with pytest.raises(ValidationError, match=f"{next(iter(options))} says how to look ahead"):
            Protection.model_validate(options)
