"""Groups of parameters, clipping and schedules, against torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.zoo.continual.problems import clouds, problem
from torch import nn

from hypnet_core.errors import ConfigError
from hypnet_core.plugins import validated
from hypnet_zoo.continual import Optimization, Train, learn
from hypnet_zoo.continual.methods import Hypernet
from hypnet_zoo.optim import cifar_factor


def parameters(*names: str) -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(torch.ones(2)) for name in names}


def stepped(made: Optimization, found: dict[str, nn.Parameter]) -> dict[str, float]:
    """The change of each parameter by one step along gradients of one."""
    before = {name: p.detach().clone() for name, p in found.items()}
    for p in found.values():
        p.grad = torch.ones_like(p)
    made.step()
    return {name: round(float((p.detach() - before[name])[0]), 6) for name, p in found.items()}


def test_groups_have_options_of_their_own_and_the_first_that_fits_counts() -> None:
    found = parameters("hypernet.a", "hypernet.b", "net.c", "net.d")
    train = Train(
        optimizer="sgd",
        lr=0.1,
        groups=validated(
            Train,
            {
                "groups": {
                    "embeddings": {"lr": 0.01},
                    "*.b": {"lr": 1.0},
                    "net.*": {"optimizer": "adam", "lr": 0.5},
                    "hypernet.*": {"lr": 7.0},
                }
            },
        ).groups,
    )
    made = Optimization(found, train, groups={"embeddings": ["hypernet.a"]})
    changes = stepped(made, found)
    assert changes == {"hypernet.a": -0.01, "hypernet.b": -1.0, "net.c": -0.5, "net.d": -0.5}


def test_options_of_an_optimiser_are_not_those_of_another() -> None:
    train = validated(
        Train,
        {
            "optimizer": "sgd",
            "optimizer_options": {"momentum": 0.9},
            "groups": {"a": {"optimizer": "adam"}, "b": {"optimizer_options": {"nesterov": True}}},
        },
    )
    made = Optimization(parameters("a", "b", "c"), train)
    kinds = {type(one).__name__: one.defaults for one in made.optimizers}
    assert kinds.keys() == {"Adam", "SGD"}
    assert [one.defaults.get("nesterov") for one in made.optimizers] == [None, True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": {"x*": {}}}, "train.groups: 'x\\*' fits no parameter"),
        ({"groups": {"theta": {"lr": 1.0}}}, "train.groups: 'theta' fits no parameter"),
    ],
)
def test_a_group_that_fits_nothing_is_named(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Optimization(parameters("a"), validated(Train, options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": {"a": {"optimizer_options": {"momentum": 1}}}}, "groups.a.*adam has no option"),
        ({"schedule": {"name": "StepLr"}}, "there is no 'StepLr'; did you mean 'StepLR'"),
        ({"schedule": {"name": "StepLR"}}, "schedule.options: .*step_size"),
        ({"schedule": {"name": "StepLR", "options": {"step": 2}}}, "did you mean 'step_size'"),
        ({"schedule": {"name": "LambdaLR"}}, "there is no 'LambdaLR'"),
        ({"schedule": {"name": "cifar", "options": {"gamma": 2}}}, "cifar takes no options"),
        ({"schedule": {"name": "ReduceLROnPlateau", "every": "step"}}, "every=epoch"),
        ({"schedule": {"name": "nowhere:Thing"}}, "nowhere"),
    ],
)
def test_wrong_schedules_and_groups_are_named_before_a_run(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        validated(Train, options)
    assert "\n" not in str(caught.value)


def test_a_bare_name_is_a_schedule() -> None:
    found: Any = validated(Train, {"schedule": "cifar"})
    assert found.schedule.name == "cifar"
    with pytest.raises(ConfigError, match="there is no 'cifr'; did you mean 'cifar'"):
        validated(Train, {"schedule": "cifr"})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("StepLR", {"step_size": 2, "gamma": 0.5}),
        ("MultiStepLR", {"milestones": [1, 3]}),
        ("CosineAnnealingLR", {"T_max": 5}),
        ("torch.optim.lr_scheduler:ExponentialLR", {"gamma": 0.9}),
    ],
)
@pytest.mark.parametrize("every", ["epoch", "step"])
def test_learning_rates_are_those_of_torchs_scheduler(name: str, options: Any, every: Any) -> None:
    found = parameters("a")
    schedule = {"name": name, "options": options, "every": every}
    train: Any = validated(Train, {"lr": 0.1, "optimizer": "sgd", "schedule": schedule})
    made = Optimization(found, train)
    other = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    theirs = getattr(torch.optim.lr_scheduler, name.rpartition(":")[2])(other, **options)
    for _ in range(6):
        stepped(made, found)
        made.end_epoch(None)
        other.step()
        theirs.step()
        assert made.optimizers[0].param_groups[0]["lr"] == other.param_groups[0]["lr"]


def test_a_plateau_is_that_of_the_validation_error() -> None:
    schedule = {"name": "ReduceLROnPlateau", "options": {"patience": 1, "factor": 0.1}}
    train: Any = validated(Train, {"lr": 1.0, "schedule": schedule})
    made = Optimization(parameters("a"), train)
    assert made.follows_score
    rates = []
    for error in (5.0, 4.0, 4.5, 4.2, 3.0):
        made.end_epoch(error)
        rates.append(made.optimizers[0].param_groups[0]["lr"])
    assert rates == [1.0, 1.0, 1.0, 0.1, 0.1]
    with pytest.raises(ConfigError, match="follows the validation score, but there are no"):
        made.end_epoch(None)


def test_the_schedule_for_cifar() -> None:
    """The published steps: after epochs 80, 120, 160 and 180."""
    epochs = (80, 81, 121, 161, 181)
    assert [cifar_factor(epoch) for epoch in epochs] == [1.0, 1e-1, 1e-2, 1e-3, 0.5e-3]


def test_embeddings_and_theta_are_groups_of_a_hypernetwork() -> None:
    train: Any = {"optimizer": "sgd", "lr": 0.1, "groups": {"embeddings": {"lr": 0.5}}}
    made = problem(clouds(2), "single", **validated(Train, train).model_dump())
    method = Hypernet(made)
    method.begin(0)
    optimization = method.optimizer
    assert isinstance(optimization, Optimization)
    rates = {
        id(p): group["lr"]
        for one in optimization.optimizers
        for group in one.param_groups
        for p in group["params"]
    }
    (embedding,) = method.hypernet.conditional_parameters(0)
    assert rates.pop(id(embedding)) == 0.5
    assert set(rates.values()) == {0.1}


def test_a_plateau_by_import_string_is_a_plateau() -> None:
    name = "torch.optim.lr_scheduler:ReduceLROnPlateau"
    train = {"iterations": 2, "schedule": {"name": name, "every": "step"}}
    with pytest.raises(ConfigError, match="follows the validation score: every=epoch"):
        learn(clouds(1), "finetune", train=train, device="cpu")


def test_a_schedule_that_ends_too_early_is_named() -> None:
    options = {"max_lr": 0.01, "total_steps": 3}
    schedule = {"name": "OneCycleLR", "every": "step", "options": options}
    with pytest.raises(ConfigError, match=r"train\.schedule: Tried to step"):
        learn(clouds(1), "finetune", train={"iterations": 9, "schedule": schedule}, device="cpu")
