"""Posterior replay, against conjugate posteriors and posteriors of two modes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tests.zoo.continual.problems import accuracy, clouds, problem, train_on
from torch import Tensor, nn

from hypnet_core import Split, Task, TaskSpec
from hypnet_core.errors import ConfigError
from hypnet_core.plugins import HypernetChoice
from hypnet_core.tasks import HeadKind, Heads, Problem
from hypnet_zoo.bayes.posteriors import Gaussian
from hypnet_zoo.continual import Optimizations, Train
from hypnet_zoo.continual.methods import PosteriorReplay

HMLP = HypernetChoice(name="hmlp", hidden=(16,))
KINDS: Any = [
    {"posterior": "dirac"},
    {"posterior": "gaussian"},
    {"posterior": "radial"},
    {"posterior": "implicit", "estimator": "avb"},
    {"posterior": "implicit", "estimator": "ssge"},
    {"posterior": "implicit", "estimator": "stein"},
]


def names(options: Any) -> str:
    return "-".join(map(str, options.values()))


@pytest.mark.parametrize("options", KINDS, ids=names)
def test_each_distribution_learns_and_remembers(options: Any) -> None:
    tasks = clouds(2)
    method = PosteriorReplay(problem(tasks, "single", lr=0.01), hnet=HMLP, beta=1.0, **options)
    for task in range(2):
        train_on(method, task, tasks, steps=150)
    assert min(accuracy(method, task, tasks) for task in range(2)) > 90
    x = tasks[0].test.batch(range(9)).x  # type: ignore[attr-defined]
    outputs = method.predict_each(x, [0, 1])
    assert outputs[1].shape == (100, 9, 2)
    assert torch.equal(outputs[0], method.predict_each(x, [0])[0])


@pytest.mark.parametrize("between", ["outputs", "means", "forward_kl", "reverse_kl", "w2"])
def test_earlier_posteriors_stay_by_each_divergence(between: Any) -> None:
    tasks = clouds(2)
    moved = {}
    for beta in (0.0, 1.0):
        method = PosteriorReplay(
            problem(tasks, "single", lr=0.01), hnet=HMLP, beta=beta, between=between
        )
        train_on(method, 0, tasks, steps=60)
        before = method.network.hypernet(0).flat.detach()
        train_on(method, 1, tasks, steps=60)
        after = method.network.hypernet(0).flat.detach()
        moved[beta] = float((after - before)[: method.network.net.target.numel].norm())
    assert moved[1.0] < 0.5 * moved[0.0]


def lines(*slopes: float, noise: float = 0.5) -> list[Task]:
    """Regressions through the origin, 12 points each."""
    made = []
    for number, slope in enumerate(slopes):
        generator = torch.Generator().manual_seed(number)
        x = torch.randn(12, 1, generator=generator)
        y = slope * x + noise * torch.randn(12, 1, generator=generator)
        spec = TaskSpec(name=f"l{number}", kind="regression", in_shape=(1,), out_shape=(1,))
        split = Split.of(x, y)
        made.append(Task(spec, split, split, split))
    return made


def regression(tasks: list[Task], module: nn.Module, **train: Any) -> Problem:
    heads = Heads(kind="single", sizes=(1,) * len(tasks))
    options = {"lr": 0.01, **train}
    return Problem(module, tasks, heads, "domain", Optimizations(Train(**options)))


@pytest.mark.parametrize("prior_focused", [False, True])
def test_gaussian_posteriors_are_the_conjugate_ones(prior_focused: bool) -> None:
    """One weight: its precision is 1 + Σ x² / σ², over all tasks if it is focused."""
    tasks = lines(1.0, 1.0)
    made = regression(tasks, nn.Linear(1, 1, bias=False))
    method = PosteriorReplay(
        made,
        hnet=HypernetChoice(name="hmlp", hidden=()),
        noise_std=0.5,
        draws=50,
        prior_focused=prior_focused,
    )
    precision, moment = 1.0, 0.0
    for number, task in enumerate(tasks):
        torch.manual_seed(number)
        method.begin(number)
        batch = next(iter(task.train.batches(12)))
        for step in range(600):
            if step == 300:
                for group in method.optimizer.optimizers[0].param_groups:  # type: ignore[attr-defined]
                    group["lr"] = 0.001
            method.step(batch)
        method.end(number)
        if not prior_focused:
            precision, moment = 1.0, 0.0
        precision += float(batch.x.square().sum()) / 0.25
        moment += float((batch.x * batch.y).sum()) / 0.25
        condition = method.condition(number)
        q = method.network.posterior(method.network.hypernet(condition).flat)
        assert isinstance(q, Gaussian)
        assert float(q.mean.flat.detach()) == pytest.approx(moment / precision, abs=0.03)
        assert float(q.scale.detach()) == pytest.approx(precision**-0.5, rel=0.08)


class Square(nn.Module):
    """Its output is the square of its weight: data cannot tell the sign."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.square().expand(len(x), 1)


@pytest.mark.parametrize(
    ("options", "both"),
    [
        ({"posterior": "gaussian"}, False),
        ({"posterior": "implicit", "estimator": "avb"}, True),
        ({"posterior": "implicit", "estimator": "ssge"}, True),
        ({"posterior": "implicit", "estimator": "stein"}, True),
    ],
    ids=lambda value: names(value) if isinstance(value, dict) else "",
)
def test_implicit_posteriors_hold_both_modes_and_gaussian_ones_one(
    options: Any, both: bool
) -> None:
    """w² = 1 was observed: the posterior is at -1 and at 1."""
    x, y = torch.ones(10, 1), torch.ones(10, 1)
    spec = TaskSpec(name="square", kind="regression", in_shape=(1,), out_shape=(1,))
    split = Split.of(x, y)
    torch.manual_seed(0)
    made = regression([Task(spec, split, split, split)], Square(), lr=0.003, clip_norm=1.0)
    method = PosteriorReplay(
        made, hnet=HMLP, noise_std=0.5, draws=100, discriminator_steps=3, **options
    )
    torch.manual_seed(0)
    method.begin(0)
    batch = next(iter(split.batches(10)))
    for _ in range(400):
        method.step(batch)
    draws = method.draws(0, 1000).flat.detach()
    positive = float((draws > 0).float().mean())
    assert float((draws.abs() - 1.0).abs().mean()) < 0.2
    if both:
        assert 0.2 < positive < 0.8
    else:
        assert positive in {0.0, 1.0}


def test_a_coreset_makes_posteriors_uncertain_about_other_tasks() -> None:
    """And about those alone; entropy of two classes is at most log 2."""
    tasks = clouds(2)
    entropy, kept = {}, {}
    for size in (0, 5):
        method = PosteriorReplay(
            problem(tasks, "single", lr=0.01), hnet=HMLP, beta=1.0, coreset=size, coreset_steps=150
        )
        for task in range(2):
            train_on(method, task, tasks, steps=100)
        assert min(accuracy(method, task, tasks) for task in range(2)) > 90
        foreign = next(iter(tasks[1].test.batches(100))).x
        answers = method.predict(foreign, 0).log_softmax(-1)
        entropy[size] = float(-(answers.exp() * answers).sum(-1).mean())
        kept[size] = method.sizes()["memory_bytes"]
    assert entropy[5] > 0.5 > entropy[0] + 0.1
    assert kept[5] > kept[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"posterior": "dirac", "between": "forward_kl"}, "points have no divergence"),
        ({"posterior": "implicit", "between": "w2"}, "use between=outputs"),
        ({"posterior": "implicit", "prior_focused": True}, "use gaussian or radial"),
        ({"prior_focused": True}, "use heads=multi"),
        ({"coreset": 99}, "coreset: 99 samples were asked for, but t0 has 60"),
    ],
)
def test_options_that_do_not_fit_are_named(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PosteriorReplay(problem(clouds(2), "single"), hnet=HMLP, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"posterior": "implicit", "estimator": "avb"},
        {"posterior": "radial", "between": "reverse_kl"},
        {"posterior": "gaussian", "prior_focused": True},
    ],
    ids=names,
)
def test_it_continues_within_a_task_with_discriminator_and_prior(options: Any) -> None:
    tasks = clouds(2)

    def new() -> PosteriorReplay:
        kind: HeadKind = "multi" if "prior_focused" in options else "single"
        return PosteriorReplay(problem(tasks, kind, lr=0.01), hnet=HMLP, coreset=3, **options)

    whole = new()
    train_on(whole, 0, tasks, steps=10)
    whole.begin(1)
    batches = list(tasks[1].train.batches(20))
    for batch in batches:
        whole.step(batch)
    random, state = torch.get_rng_state(), copy.deepcopy(whole.state_dict())
    resumed = new()
    resumed.load_state_dict(state)
    for method in (whole, resumed):
        torch.set_rng_state(random)
        for batch in batches:
            method.step(batch)
        method.end(1)
    x = batches[0].x
    for task in range(2):
        assert torch.equal(whole.predict(x, task), resumed.predict(x, task))
