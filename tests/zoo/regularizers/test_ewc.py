"""Elastic weight consolidation against exact posteriors and sums of quadratics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnet_core import ConditionSpec, MainNetwork
from hypnet_core.errors import CheckpointError, DataError, DivergedError, SpecError
from hypnet_core.runs import pack
from hypnet_zoo.hypernets import HMLP
from hypnet_zoo.regularizers import EWC, OnlineEWC, fisher

DOUBLE = torch.float64
Penalty = EWC | OnlineEWC


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def task(samples: int = 12, classes: int = 3) -> tuple[Tensor, Tensor]:
    return torch.randn(samples, 4, dtype=DOUBLE), torch.randint(classes, (samples,))


def network() -> Any:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def moved(model: nn.Module) -> None:
    """Some training."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def gap(model: nn.Module, center: dict[str, Tensor], importance: dict[str, Tensor]) -> Tensor:
    terms = [
        (importance[name] * (parameter - center[name]).square()).sum()
        for name, parameter in model.named_parameters()
    ]
    return torch.stack(terms).sum()


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


# Linear-Gaussian tasks: with orthogonal inputs the Fisher information is diagonal, so
# that the Laplace posterior is exact.
NOISE, PRIOR = 0.3, 0.7


def regression(columns: list[int], size: int = 6, samples: int = 20) -> tuple[Tensor, Tensor]:
    """Inputs with orthogonal columns, all others zero."""
    x = torch.zeros(samples, size, dtype=DOUBLE)
    x[:, columns] = torch.linalg.qr(torch.randn(samples, len(columns), dtype=DOUBLE))[0]
    x *= torch.rand(size, dtype=DOUBLE) * 4 + 0.5
    return x, torch.randn(samples, 1, dtype=DOUBLE)


def ridge(x: Tensor, y: Tensor, prior: float) -> Tensor:
    """The mean of the posterior; without a prior the shortest solution."""
    precision = x.T @ x / NOISE + prior * torch.eye(x.shape[1], dtype=DOUBLE)
    mean: Tensor = torch.linalg.pinv(precision) @ x.T @ y / NOISE
    return mean.flatten()


def minimise(model: nn.Linear, loss: Callable[[], Tensor]) -> None:
    """The minimum of a quadratic, by one Newton step."""
    weight = model.weight
    (gradient,) = torch.autograd.grad(loss(), weight, create_graph=True)
    rows = [torch.autograd.grad(g, weight, retain_graph=True)[0][0] for g in gradient[0]]
    with torch.no_grad():
        weight.sub_(torch.linalg.pinv(torch.stack(rows)) @ gradient[0].detach())


@pytest.mark.parametrize(
    ("kind", "tasks", "prior"),
    [
        # Huszár (2018): separate quadratics are exact for two tasks, or for tasks that
        # share nothing, not even a prior; the online form for any.
        (EWC, [[0, 1], [2, 3], [4]], 0.0),
        (EWC, [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]], PRIOR),
        (OnlineEWC, [[0, 1], [2, 3], [4]], 0.0),
        (OnlineEWC, [[0, 1, 2, 3], [2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [1, 5]], PRIOR),
    ],
)
def test_orthogonal_linear_gaussian_tasks_give_the_joint_ridge_solution(
    kind: type[Penalty], tasks: list[list[int]], prior: float
) -> None:
    model = nn.Linear(6, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    penalty = kind(
        model,
        likelihood="gaussian",
        noise_variance=NOISE,
        prior_precision=prior,
        proper_scaling=True,
    )
    seen: list[tuple[Tensor, Tensor]] = []
    for number, columns in enumerate(tasks):
        x, y = regression(columns)
        seen.append((x, y))

        def loss(x: Tensor = x, y: Tensor = y, number: int = number) -> Tensor:
            nll: Tensor = (model(x) - y).square().sum() / (2 * NOISE)
            first = prior / 2 * model.weight.square().sum()
            return nll + (penalty() if number else first)

        minimise(model, loss)
        penalty.after_task((x, y))
        joint = ridge(torch.cat([x for x, _ in seen]), torch.cat([y for _, y in seen]), prior)
        torch.testing.assert_close(model.weight.detach()[0], joint, rtol=0, atol=1e-6)


def test_the_sum_of_quadratics_is_kept_as_one() -> None:
    model = network()
    penalty = EWC(model, strength=3.0)
    kept = []
    for _ in range(4):
        data = task()
        kept.append((snapshot(model), fisher(model, data)))
        penalty.after_task(data)
        moved(model)
    expected = 3.0 / 2 * torch.stack([gap(model, *one) for one in kept]).sum()
    actual = penalty()
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=0)
    parameters = list(model.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(actual, parameters), torch.autograd.grad(expected, parameters)
    )
    # One task's worth of memory, whatever their number.
    assert sum(t.numel() for t in penalty.state_dict().values() if isinstance(t, Tensor)) == 2 * 43


def test_the_one_quadratic_does_not_cancel_in_single_precision() -> None:
    """The expanded form would lose all digits of a small gap between large numbers."""
    model = nn.Linear(1, 1, bias=False)
    penalty = EWC(model, likelihood="gaussian")
    for value in (1000.0, 1000.01, 1000.02):
        nn.init.constant_(model.weight, value)
        penalty.after_task(([[10.0]], [[0.0]]))  # F = 100
    nn.init.constant_(model.weight, 1000.03)
    kept = torch.tensor([1000.0, 1000.01, 1000.02]).double()
    expected = 50 * (model.weight.detach().double() - kept).square().sum()
    torch.testing.assert_close(penalty().double(), expected, rtol=0.02, atol=0)


def test_online_decay_is_applied_once_per_task() -> None:
    model = network()
    penalty = OnlineEWC(model, decay=0.5, strength=2.0)
    expected = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for _ in range(3):
        data = task()
        found = fisher(model, data)
        expected = {name: 0.5 * expected[name] + found[name] for name in found}
        penalty.after_task(data)
        center = snapshot(model)
        moved(model)
        values = [penalty() for _ in range(3)]
        assert values[0] == values[1] == values[2]
        torch.testing.assert_close(penalty.importance, expected)
        torch.testing.assert_close(penalty.center, center)
        torch.testing.assert_close(values[0], gap(model, center, expected))


def test_the_prior_counts_once() -> None:
    model = network()
    penalty = EWC(model, prior_precision=0.25)
    total: dict[str, Tensor] = {}
    for _ in range(3):
        data = task()
        for name, found in fisher(model, data).items():
            total[name] = total.get(name, 0.25 + torch.zeros_like(found)) + found
        penalty.after_task(data)
        moved(model)
    torch.testing.assert_close(penalty.importance, total)


def test_the_prior_does_not_decay() -> None:
    model = network()
    penalty = OnlineEWC(model, decay=0.0, prior_precision=0.25)
    for _ in range(2):
        data = task()
        penalty.after_task(data)
        expected = {name: f + 0.25 for name, f in fisher(model, data).items()}
        torch.testing.assert_close(penalty.importance, expected)


def test_the_gradient_of_the_penalty() -> None:
    model = network()
    penalty = EWC(model, strength=4.0)
    assert penalty().item() == 0
    data, start = task(), snapshot(model)
    penalty.after_task(data)
    moved(model)
    (F.cross_entropy(model(data[0]), data[1]) * 0 + penalty()).backward()
    for name, found in fisher(model, data).items():
        del found
        parameter = model.get_parameter(name)
        expected = 4.0 * penalty.importance[name] * (parameter.detach() - start[name])
        torch.testing.assert_close(parameter.grad, expected)


class Heads(nn.Module):
    """A shared trunk, and a head for each task."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh())
        self.heads = nn.ModuleList()
        self.double()

    def add(self, units: int) -> None:
        self.heads.append(nn.Linear(6, units).double())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.heads[-1](self.trunk(x))
        return out


@pytest.mark.parametrize("kind", [EWC, OnlineEWC])
@pytest.mark.parametrize("way", ["modules", "rows", "units"])
def test_heads_of_unequal_size(kind: type[Penalty], way: str) -> None:
    """Heads of 3, 2, 3 and 2 units: new modules, new rows, or units there at once."""
    sizes = [3, 2, 3, 2]
    model: Any = Heads()
    model.add(sum(sizes) if way == "units" else sizes[0])
    penalty = kind(model)
    shared = [name for name, _ in model.named_parameters() if name.startswith("trunk")]
    for number, size in enumerate(sizes):
        if number and way == "modules":
            model.add(size)
        if number and way == "rows":
            old = model.heads[0]
            model.heads[0] = new = nn.Linear(6, sum(sizes[: number + 1])).double()
            with torch.no_grad():
                new.weight[: len(old.weight)], new.bias[: len(old.bias)] = old.weight, old.bias
        first = 0 if way == "modules" else sum(sizes[:number])
        before, value = penalty.importance, penalty().item()
        if number and way != "units":
            # A new head is free, and the old importances are where they were.
            new_head = f"heads.{number if way == 'modules' else 0}.weight"
            free = before[new_head] if way == "modules" else before[new_head][first:]
            assert not free.any()
            assert value == pytest.approx(penalty().item(), rel=1e-12)
            assert penalty.tasks == number
        penalty.after_task(task(classes=size), output_units=[first + unit for unit in range(size)])
        importance = penalty.importance
        for name in shared:
            assert (importance[name] > 0).all(), name
            assert (importance[name] >= before[name]).all(), name
        head = importance[f"heads.{number if way == 'modules' else 0}.weight"]
        assert (head[first : first + size] > 0).all()
        assert not head[first + size :].any()
        moved(model)


def test_growing_does_not_change_the_penalty() -> None:
    model: Any = network()
    penalty = EWC(model)
    penalty.after_task(task())
    moved(model)
    before = penalty().item()
    old = model[2]
    model[2] = nn.Linear(5, 7).double()
    with torch.no_grad():
        model[2].weight[:3], model[2].bias[:3] = old.weight, old.bias
    assert penalty().item() == pytest.approx(before, rel=1e-12)
    with torch.no_grad():
        model[2].weight[3:] += 1.0
    assert penalty().item() == pytest.approx(before, rel=1e-12)


def test_what_never_mattered_may_go() -> None:
    model = network()
    penalty = EWC(model)
    model[2] = nn.Linear(5, 2).double()
    penalty.after_task(task(classes=2))
    model.append(nn.Linear(2, 2).double())
    assert not penalty.importance["3.weight"].any()
    del model[3]
    assert set(penalty.importance) == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_parameters_that_are_frozen_keep_their_importance() -> None:
    model = network()
    penalty = EWC(model)
    penalty.after_task(task())
    kept = penalty.importance["0.weight"]
    model[0].requires_grad_(False)
    with torch.no_grad():
        model[2].weight.add_(0.1)
    penalty.after_task(task())
    torch.testing.assert_close(penalty.importance["0.weight"], kept)
    penalty().backward()
    assert model[0].weight.grad is None
    assert model[2].weight.grad is not None
    model.requires_grad_(False)
    with pytest.raises(SpecError, match=r"the chosen parameters are all frozen: 0\.weight"):
        penalty.after_task(task())


def test_what_shrinks_or_vanishes_is_named() -> None:
    model = network()
    penalty = EWC(model)
    penalty.after_task(task())
    model[2] = nn.Linear(5, 2).double()
    with pytest.raises(SpecError, match=r"'2\.weight' had shape \[3, 5\], now it has \[2, 5\]"):
        penalty()
    model[2] = nn.Linear(9, 3).double()
    with pytest.raises(SpecError, match="only the first dimension may grow"):
        penalty()
    del model[2]
    with pytest.raises(SpecError, match=r"'2\.weight', which had an importance, is gone"):
        penalty.after_task(task())


def test_parameters_of_a_hypernetwork() -> None:
    net = MainNetwork(nn.Linear(4, 3).double())
    hypernet = HMLP(net.target, ConditionSpec(count=3, size=2), hidden=(5,)).double()
    penalty = EWC(hypernet, parameters="unconditional", strength=2.0)
    kept = []
    for condition in range(2):
        data = task()

        def outputs(batch: Any, condition: int = condition) -> Tensor:
            out: Tensor = net(batch.x, weights=hypernet(condition))
            return out

        found = fisher(hypernet, data, parameters="unconditional", forward=outputs)
        kept.append((snapshot(hypernet), found))
        penalty.after_task(data, forward=outputs)
        moved(hypernet)
    expected = sum(
        (f * (hypernet.get_parameter(name) - center[name]).square()).sum()
        for center, importance in kept
        for name, f in importance.items()
    )
    torch.testing.assert_close(penalty(), expected)
    penalty().backward()
    assert all(p.grad is None for p in hypernet.conditional_parameters())
    assert all(p.grad is not None for p in hypernet.unconditional_parameters())


def test_groups_have_strengths_of_their_own() -> None:
    model = network()
    whole = [EWC(model, parameters=f"{i}.*") for i in (0, 2)]
    grouped = EWC(
        model,
        parameters={"trunk": "0.*", "head": ["2.weight", "2.bias"]},
        strength={"trunk": 2.0, "head": 0.5},
    )
    for _ in range(3):
        data = task()
        for penalty in (*whole, grouped):
            penalty.after_task(data)
        moved(model)
    parts = {"trunk": 2.0 * whole[0](), "head": 0.5 * whole[1]()}
    torch.testing.assert_close(grouped(), sum(parts.values()))
    torch.testing.assert_close(grouped.by_group(), {k: v.detach() for k, v in parts.items()})


@pytest.mark.parametrize("kind", [EWC, OnlineEWC])
def test_it_continues_from_a_checkpoint(kind: type[Penalty], tmp_path: Path) -> None:
    model = network()
    options: Any = {"prior_precision": 0.1, "samples": 6, "kind": "sampled"}
    penalty = kind(model, **options)
    penalty.after_task(task(), generator=torch.manual_seed(1))
    moved(model)
    penalty.after_task(task(), generator=torch.manual_seed(2))
    torch.save(penalty.state_dict(), tmp_path / "state.pt")
    moved(model)
    loaded = kind(model, **options)
    loaded.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    data = task()
    for one in (penalty, loaded):
        one.after_task(data, generator=torch.manual_seed(3))
    moved(model)
    assert penalty() == loaded()
    (now, rest), (before, others) = (pack("p", one.state_dict()) for one in (loaded, penalty))
    torch.testing.assert_close(now, before, rtol=0, atol=0)
    assert rest == others


def test_a_state_of_other_parameters_is_refused_and_changes_nothing() -> None:
    model, other = network(), nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)).double()
    penalty = EWC(model)
    penalty.after_task(task())
    moved(model)
    before = penalty()
    foreign = EWC(other).state_dict()
    with pytest.raises(CheckpointError, match="the state of EWC is of other parameters: the param"):
        penalty.load_state_dict(foreign)
    with pytest.raises(CheckpointError, match="the state of OnlineEWC lacks prior"):
        OnlineEWC(model).load_state_dict(penalty.state_dict())
    with pytest.raises(CheckpointError, match="has the groups"):
        EWC(model, parameters={"all": "*"}).load_state_dict(penalty.state_dict())
    damaged = {**penalty.state_dict(), "importance": torch.zeros(3)}
    with pytest.raises(CheckpointError, match="43 weights in the last dimension"):
        penalty.load_state_dict(damaged)
    assert penalty() == before


def test_it_follows_the_dtype_of_the_model() -> None:
    model = network().float()
    penalty = EWC(model)
    penalty.after_task(task())
    moved(model)
    single = penalty()
    assert single.dtype == torch.float32
    model.double()
    double = penalty()
    assert double.dtype == DOUBLE
    torch.testing.assert_close(single, double.float())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -1.0}, "strength must not be negative, got -1.0"),
        ({"strength": float("nan")}, "strength must not be negative, got nan"),
        ({"strength": {"trnk": 1.0}}, "strength: there is no group 'trnk'"),
        ({"parameters": {"a": "0.*", "b": "*"}}, "is in two groups: 'a' and 'b'"),
        (
            {"parameters": {"a": "0.*", "b": "2.*"}, "strength": {"a": 1.0}},
            "strength has no number for the group 'b'",
        ),
        ({"parameters": "0.wight"}, "no parameter matches '0.wight'; did you mean '0.weight'"),
        ({"parameters": {"a": "0.wight"}}, "no parameter matches '0.wight'"),
        ({"parameters": 3}, "parameters is a kind, a glob, a group, several of these"),
        ({"kind": "exacty"}, "kind: there is no 'exacty'; did you mean 'exact'"),
        ({"decay": 0.5}, "there is no option 'decay'"),
        ({"prior_precision": -1.0}, "prior_precision must not be negative"),
    ],
)
def test_what_is_impossible_is_named(options: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        EWC(network(), **options)
    assert "\n" not in str(caught.value)


def test_mistakes_at_the_end_of_a_task_are_named_and_change_nothing() -> None:
    model = network()
    with pytest.raises(SpecError, match=r"decay must be between 0 and 1, got 1\.5"):
        OnlineEWC(model, decay=1.5)
    penalty = EWC(model)
    penalty.after_task(task())
    moved(model)
    before = penalty()
    with pytest.raises(DataError, match=r"EWC estimates importances .* after_task\(data\)"):
        penalty.after_task()
    with pytest.raises(DataError, match="samples=13, but the data has only 12"):
        penalty.after_task(task(), samples=13)
    with pytest.raises(SpecError, match="there is no option 'smples'; did you mean 'samples'"):
        penalty.after_task(task(), smples=13)  # type: ignore[call-arg]
    x, y = task()
    with pytest.raises(DivergedError, match="is not finite"):
        penalty.after_task((x * float("inf"), y))
    with pytest.raises(SpecError, match="a module is expected, got 3"):
        EWC(3)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="ReLU has no parameters"):
        EWC(nn.ReLU())
    assert penalty() == before
    assert penalty.tasks == 1
