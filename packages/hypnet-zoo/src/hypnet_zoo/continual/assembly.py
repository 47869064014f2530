"""Putting tasks, network, method and loop together, with all checks."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import nn

from hypnet_core.errors import ConfigError, did_you_mean
from hypnet_core.protocols import InfersTasks, Method, TaskLike, WeightsPerTask
from hypnet_core.tasks import HeadKind, Problem, Scenario, check_task
from hypnet_zoo.continual.contract import check_parts
from hypnet_zoo.continual.data import with_validation
from hypnet_zoo.continual.fingerprint import network_digest, weights_digest
from hypnet_zoo.continual.inference import Infer
from hypnet_zoo.continual.learning import Learning, Optimizations
from hypnet_zoo.continual.options import Train
from hypnet_zoo.continual.preparation import (
    check_module,
    check_schedule,
    last_batches_to_leave_out,
    named,
    notes_on_batches,
    notes_on_stopping,
    notes_on_validation,
)
from hypnet_zoo.continual.scenarios import check_method, check_scenario, heads_of
from hypnet_zoo.continual.scoring import Scorer
from hypnet_zoo.continual.seeds import seeded


@dataclass(frozen=True)
class MethodMaker:
    """A method that can be made for a problem.

    Attributes:
        name: Its name, for messages.
        kind: Its class or function, which is looked at before it is called.
        make: Makes it, from a problem.
    """

    name: str
    kind: Callable[..., Any]
    make: Callable[[Problem], Method]

    @property
    def weights_per_task(self) -> bool:
        """Whether the method has weights of its own for each task."""
        return isinstance(self.kind, type) and issubclass(self.kind, WeightsPerTask)


@dataclass(frozen=True)
class Assembled:
    """A loop before its first step.

    Attributes:
        learning: The loop.
        notes: Remarks for the user.
        network: Digest of the main network's layers, before a method took it apart.
        weights: Digest of the weights with which it starts, if that was asked for.
    """

    learning: Learning
    notes: tuple[str, ...]
    network: str
    weights: str


def assemble(
    given: Sequence[TaskLike],
    method: MethodMaker,
    module: nn.Module | Callable[[Sequence[int], int], nn.Module],
    *,
    scenario: Scenario = "task",
    heads: HeadKind | None = None,
    infer: Infer | None = None,
    train: Train,
    seed: int,
    device: torch.device,
    digest_weights: bool = False,
) -> Assembled:
    """Build and check everything that learning needs.

    Args:
        given: The tasks.
        method: The method.
        module: The main network, or a function that makes it from the shape of inputs
            and the number of outputs.
        scenario: The scenario.
        heads: How tasks share outputs; see `scenarios.heads_of`.
        infer: How tasks are found that are not known.
        train: Options of training.
        seed: Seed of all randomness.
        device: Where to compute.
        digest_weights: Whether weights at the start will be compared with others.

    Raises:
        ConfigError: Options do not fit together, or the scenario to the method.
        DataError: Samples are not what their task says.
    """
    _check_names(scenario, heads, infer)
    for task in given:
        check_task(task)
    check_scenario(given, scenario)
    check_method(method.name, method.kind, scenario)
    tasks = with_validation(given, train.hold_out, seed)
    check_schedule(train, tasks)
    found = heads_of(tasks, scenario, heads, weights_per_task=method.weights_per_task)
    optimizations = Optimizations(train)
    # Networks depend on the seed alone, so a resumed run builds the same ones.
    with seeded(seed):
        make: Callable[[], nn.Module] | None = None
        if isinstance(module, nn.Module):
            network = module.to(device)
        else:
            make = _networks(module, tasks[0].spec.in_shape, found.out_features, device)
            network = make()
        problem = Problem(network, tasks, found, scenario, optimizations, device, seed, make)
        check_module(problem)
        leave_out = last_batches_to_leave_out(problem, train.batch_size)
        digest = network_digest(network)
        weights = weights_digest(network) if digest_weights else ""
        rehearsed = _is_rehearsed(method, scenario, infer, train)
        # Now, since methods may take parameters out of the network.
        spare = copy.deepcopy(problem.module) if rehearsed else None
        made = method.make(problem)
        check_parts(made, method.name)
        how = _inference(infer, scenario, made, method.name)
        if spare is not None:
            _rehearse(replace(problem, module=spare, optimizer=Optimizations(train)), method, how)
    learning = Learning(
        problem,
        made,
        train,
        scorer=Scorer(problem, made, infer=how, batch_size=train.eval_batch_size, name=method.name),
        optimizations=optimizations,
        seed=seed,
        leave_out=leave_out,
    )
    notes = [
        *notes_on_validation(given, tasks, patience=train.patience),
        *notes_on_stopping(learning.steps, train),
        *notes_on_batches(tasks, leave_out, train.batch_size),
    ]
    return Assembled(learning, tuple(notes), digest, weights)


def _networks(
    make: Callable[[Sequence[int], int], nn.Module],
    in_shape: Sequence[int],
    out_features: int,
    device: torch.device,
) -> Callable[[], nn.Module]:
    """Makes networks for a problem, on a device."""

    def made() -> nn.Module:
        with named("module"):
            network: object = make(in_shape, out_features)
        if not isinstance(network, nn.Module):
            raise ConfigError(
                f"module: a function that makes a network gave a {type(network).__name__}"
            )
        return network.to(device)

    return made


def _check_names(scenario: str, heads: str | None, infer: str | None) -> None:
    """Refuse names that are none; a configuration has done so before."""
    for key, name, known in (
        ("scenario", scenario, get_args(Scenario)),
        ("heads", heads, get_args(HeadKind)),
        ("infer", infer, get_args(Infer)),
    ):
        if name is not None and name not in known:
            raise ConfigError(f"{key}: there is no {name!r}{did_you_mean(str(name), known)}")


def _is_rehearsed(
    method: MethodMaker, scenario: Scenario, infer: Infer | None, train: Train
) -> bool:
    """Whether a mistake could show only when the method begins its first task."""
    infers = method.weights_per_task and (scenario != "task" or infer not in {None, "given"})
    return infers or bool(train.groups)


def _rehearse(problem: Problem, method: MethodMaker, infer: Infer) -> None:
    """Let another such method begin the first task, and infer it.

    Raises:
        ConfigError: A group of the options fits no parameter, or tasks cannot be
            inferred in this way.
    """
    with _without_remarks():  # the method itself has made them
        made = method.make(problem)
    made.begin(0)
    Scorer(problem, made, infer=infer, name=method.name).check(0)


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """Log errors alone in a block."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _inference(infer: Infer | None, scenario: Scenario, method: Method, name: str) -> Infer:
    """How tasks are found: as chosen, or as the scenario needs."""
    if not isinstance(method, WeightsPerTask):
        if infer not in {None, "given"}:
            raise ConfigError(
                f"infer={infer}: the method {name} has one network for all tasks, whose weights do"
                " not tell them apart"
            )
        return "given"
    if infer is None and scenario == "task":
        return "given"
    own = isinstance(method, InfersTasks)
    if infer is None:
        return "method" if own else "entropy"
    if infer == "method" and not own:
        raise ConfigError(
            f"infer=method: the method {name} has no way of its own to infer tasks: choose"
            " entropy, agreement or max_likelihood"
        )
    if infer == "given" and scenario != "task":
        raise ConfigError(
            f"infer=given: in the scenario {scenario} the task of a sample is not known: choose"
            " entropy, agreement or max_likelihood"
        )
    return infer
