"""EWC and SI as methods: what they protect, and on which parameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.zoo.continual.problems import accuracy, clouds, problem, train_on
from torch import nn

from hypnet_core import Split, Task, TaskSpec
from hypnet_core.errors import ConfigError, SpecError
from hypnet_core.networks import materialize
from hypnet_core.plugins import HypernetChoice
from hypnet_zoo.continual import learn
from hypnet_zoo.continual.methods import EWC, SI, Hypernet, OnlineEWC, Protection
from hypnet_zoo.regularizers import fisher

HMLP = HypernetChoice(name="hmlp", hidden=(8,))
METHODS: Any = [(EWC, {"strength": 300.0}), (OnlineEWC, {"strength": 300.0}), (SI, {})]


@pytest.mark.parametrize(("kind", "options"), METHODS)
def test_protection_keeps_what_fine_tuning_forgets(kind: Any, options: Any) -> None:
    """One head for tasks with contradictory labels; each method against strength 0."""
    tasks = clouds(2, features=6)
    kept = {}
    for strength in (0.0, None):
        chosen = {**options, **({} if strength is None else {"strength": strength})}
        method = kind(problem(tasks, "single", "domain", lr=0.01), **chosen)
        train_on(method, 0, tasks)
        before = method.predict(tasks[0].test.batch(range(60)).x)  # type: ignore[attr-defined]
        train_on(method, 1, tasks)
        after = method.predict(tasks[0].test.batch(range(60)).x)  # type: ignore[attr-defined]
        kept[strength] = float((after - before).square().mean())
    assert kept[None] < 0.5 * kept[0.0]


@pytest.mark.parametrize(("kind", "options"), METHODS)
def test_theta_of_a_hypernetwork_is_protected_by_the_same_classes(kind: Any, options: Any) -> None:
    tasks = clouds(2)
    method = kind(problem(tasks, "single", lr=0.02), hypernet=HMLP, **options)
    train_on(method, 0, tasks)
    names = set(method.penalizer.importance)
    assert names == set(method.protected.parameter_groups()["unconditional"])
    assert all(bool((found > 0).any()) for found in method.penalizer.importance.values())
    train_on(method, 1, tasks)
    assert min(accuracy(method, task, tasks) for task in range(2)) > 90


def test_importances_are_those_of_the_outputs_that_competed() -> None:
    """In a growing head labels count from the first class of all."""
    tasks = clouds(2, classes=3)
    method = EWC(problem(tasks, "growing", "class", lr=0.01))
    train_on(method, 0, tasks)
    first = method.penalizer.importance
    method.begin(1)
    batch = next(iter(tasks[1].train.batches(20)))
    method.step(batch)
    module = method.problem.module
    wanted = fisher(
        module,
        tasks[1].train,
        output_units=list(range(6)),
        target_transform=lambda y: y + 3,
        kind="exact",
    )
    method.end(1)
    for name, found in method.penalizer.importance.items():
        torch.testing.assert_close(found - first[name], wanted[name], atol=1e-6, rtol=1e-4)
    # Rows of the classes to come had no part in the first task.
    assert bool((first["2.weight"][3:] == 0).all())


def test_only_the_parameters_of_the_mask_are_held() -> None:
    tasks = clouds(2)
    method = EWC(problem(tasks), parameters="0.*")
    train_on(method, 0, tasks, steps=5)
    assert set(method.penalizer.importance) == {"0.weight", "0.bias"}
    with pytest.raises(SpecError, match="no parameter matches"):
        EWC(problem(tasks), parameters="layer7.*")


def test_more_fisher_samples_than_data_are_refused() -> None:
    """Before the first step, not after the first task."""
    with pytest.raises(ConfigError, match="samples: 61 samples were asked for, but t0 has 60"):
        EWC(problem(clouds(2)), samples=61)
    protect = Protection(importance="exact", fisher_samples=99)
    with pytest.raises(ConfigError, match=r"protect\.fisher_samples: 99 samples"):
        Hypernet(problem(clouds(2), "single"), hnet=HMLP, protect=protect)


def test_a_hypernetwork_needs_to_know_the_task() -> None:
    with pytest.raises(ConfigError, match="unknown in the scenario class: use the method hypernet"):
        EWC(problem(clouds(2), "growing", "class"), hypernet=HMLP)


def test_the_path_follows_the_steps_of_the_task_alone() -> None:
    """With `task_loss_only` the penalty of the second task leaves the path alone."""
    tasks = clouds(2)
    sums = {}
    for alone in (False, True):
        made = problem(tasks, "single", "domain", optimizer="sgd", lr=0.05)
        method = SI(made, task_loss_only=alone, strength=0.0)
        train_on(method, 0, tasks, steps=20)
        sums[alone] = {name: found.clone() for name, found in method.penalizer.importance.items()}
    # Without a penalty both are the same path.
    for name, found in sums[True].items():
        torch.testing.assert_close(found, sums[False][name], rtol=1e-4, atol=1e-5)
    strong = SI(problem(tasks, "single", "domain", optimizer="sgd", lr=0.01), task_loss_only=True)
    train_on(strong, 0, tasks, steps=20)
    train_on(strong, 1, tasks, steps=20)
    assert all(bool((found >= 0).all()) for found in strong.penalizer.importance.values())


def recurrent(count: int) -> list[Task]:
    """Sequences whose class is the sign of the sum of one of their features."""
    made = []
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        lengths = torch.randint(2, 6, (80,), generator=generator)
        x = torch.randn(80, 5, 3, generator=generator)
        inside = torch.arange(5) < lengths[:, None]
        y = ((x[..., number] * inside).sum(1) > 0).long()
        spec = TaskSpec(
            name=f"s{number}",
            kind="classification",
            in_shape=(3,),
            out_shape=(2,),
            sequence=True,
        )
        split = Split.of(x, y, lengths=lengths)
        made.append(Task(spec, split, split, split))
    return made


@pytest.mark.parametrize("method", ["ewc", "si", "hypernet", "replay", "lwf"])
def test_recurrent_networks_learn_sequences_with_each_method(method: str) -> None:
    options: Any = {"hypernet": {"hnet": {"name": "hmlp"}}, "replay": {"budget": 20}}
    result = learn(
        recurrent(2),
        {"name": method, **options.get(method, {})},
        module={"name": "simple_rnn", "recurrent": (12,)},
        train={"iterations": 120, "lr": 0.02, "validate_every": 0},
        device="cpu",
    )
    assert np_diagonal(result.accuracies).min() > 80


def np_diagonal(matrix: Any) -> Any:
    return matrix.diagonal()


@pytest.mark.parametrize("method", ["ewc", "online_ewc", "si", "hypernet", "separate", "joint"])
def test_regressions_are_learned_with_each_method(method: str) -> None:
    x = torch.linspace(-1, 1, 80)[:, None]
    tasks = [{"train": (x, y), "test": (x, y)} for y in (x.sin(), x.square())]
    options: Any = {"hypernet": {"hnet": {"name": "hmlp"}}}
    result = learn(
        tasks,
        {"name": method, **options.get(method, {})},
        module={"name": "mlp", "hidden": (20,), "activation": "tanh"},
        train={"iterations": 500, "lr": 0.02, "validate_every": 0},
        device="cpu",
    )
    assert result.summary["metric"] == "mse"
    assert np_diagonal(result.scores).max() < 0.05


class TestImportanceOfGeneratedWeights:
    """The output regulariser weighs generated weights by their Fisher information."""

    @pytest.mark.parametrize("kind", ["exact", "empirical"])
    def test_it_is_that_of_the_network_with_these_weights(self, kind: Any) -> None:
        tasks = clouds(2)
        protect = Protection(importance=kind, beta=1.0)
        method = Hypernet(problem(tasks, "single", lr=0.02), hnet=HMLP, protect=protect)
        train_on(method, 0, tasks)
        plain = materialize(method.net, method.hypernet(0))
        wanted = fisher(plain, tasks[0].train, kind=kind)
        flat = torch.cat([found.flatten() for found in wanted.values()])
        torch.testing.assert_close(method._importances[0], flat)
        train_on(method, 1, tasks)
        assert len(method._importances) == 2
        assert accuracy(method, 0, tasks) > 90

    def test_what_does_not_matter_may_move(self) -> None:
        tasks = clouds(2)
        protect = Protection(importance="exact", beta=1.0)
        method = Hypernet(problem(tasks, "single"), hnet=HMLP, protect=protect)
        train_on(method, 0, tasks, steps=3)
        method.begin(1)
        steps = method._steps
        assert steps is not None
        assert steps.regularizer is not None
        flat = method.hypernet([0]).flat.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(steps.regularizer.penalty(flat + 1.0, [0]), flat)
        torch.testing.assert_close(gradient[0], 2.0 * method._importances[0])


def test_online_ewc_equals_bayes_for_linear_gaussian_tasks() -> None:
    """Tasks on orthogonal inputs: the method ends at the joint ridge solution."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, generator=generator)
    parts = []
    for rows in ([0, 1], [2, 3]):
        x = torch.zeros(40, 4)
        x[:, rows] = torch.randn(40, 2, generator=generator)
        # Orthogonal columns, so that the Fisher information is diagonal.
        x[:, rows] = torch.linalg.qr(x[:, rows]).Q * 6.0
        parts.append((x, (x @ weight)[:, None] + 0.1 * torch.randn(40, 1, generator=generator)))
    torch.manual_seed(0)
    model = nn.Linear(4, 1, bias=False)
    tasks = [{"train": part, "test": part} for part in parts]
    result = learn(
        tasks,
        {"name": "online_ewc", "strength": 2.0, "prior_precision": 0.0},
        module=model,
        scenario="domain",
        train={
            "iterations": 400,
            "lr": 0.2,
            "optimizer": "sgd",
            "batch_size": 40,
            "hold_out": 0.0,
        },
        device="cpu",
    )
    x, y = (torch.cat(both) for both in zip(*parts, strict=True))
    solution = torch.linalg.lstsq(x, y).solution[:, 0]
    torch.testing.assert_close(model.weight[0].detach(), solution, atol=1e-4, rtol=1e-4)
    assert result.scores[1, 0] == pytest.approx(
        float(F.mse_loss(parts[0][0] @ solution[:, None], parts[0][1])), rel=1e-2
    )
