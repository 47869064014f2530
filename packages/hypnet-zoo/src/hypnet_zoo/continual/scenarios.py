"""Scenarios: what tasks have in common, and which outputs are theirs."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

from hypnet_core.errors import ConfigError, DataError
from hypnet_core.plugins import Kind, registry
from hypnet_core.protocols import TaskLike
from hypnet_core.specs import TaskSpec
from hypnet_core.tasks import HeadKind, Heads, Scenario

_DEFAULTS: dict[Scenario, HeadKind] = {"task": "multi", "domain": "single", "class": "growing"}


def heads_of(
    tasks: Sequence[TaskLike], scenario: Scenario, kind: HeadKind | None, *, weights_per_task: bool
) -> Heads:
    """The output layer that a scenario needs.

    Args:
        tasks: The tasks.
        scenario: The scenario.
        kind: How tasks share outputs; by default `multi` for `task`, `single` for
            `domain` and `growing` for `class`, and always `single` for methods with
            weights per task, whose output layer belongs to one task anyway.
        weights_per_task: Whether the method has weights of its own for each task.

    Raises:
        ConfigError: The kind of heads cannot answer in the scenario.
    """
    if kind is None:
        kind = "single" if weights_per_task else _DEFAULTS[scenario]
    sizes = tuple(math.prod(task.spec.out_shape) for task in tasks)
    if kind == "growing" and tasks[0].spec.kind != "classification":
        raise ConfigError(
            "heads=growing: regressions have no classes that compete: use heads=multi or"
            " heads=single"
        )
    if scenario == "domain" and kind != "single":
        raise ConfigError(
            f"heads={kind}: in the scenario domain tasks share their outputs: use heads=single"
        )
    if scenario == "class" and kind == "single" and not weights_per_task:
        raise ConfigError(
            "heads=single: one head for all tasks cannot tell their classes apart: use"
            " heads=growing in the scenario class"
        )
    return Heads(kind=kind, sizes=sizes)


def check_scenario(tasks: Sequence[TaskLike], scenario: Scenario) -> None:
    """Refuse tasks that do not fit together, or not in a scenario.

    Raises:
        ConfigError: The tasks differ in kind or shape, or the scenario needs others.
        DataError: A class appears in two tasks of the scenario `class`.
    """
    specs = [task.spec for task in tasks]
    first = specs[0]
    for spec in specs:
        _check_alike(first, spec)
        if scenario == "domain" and spec.out_shape != first.out_shape:
            raise ConfigError(
                "scenario=domain: all tasks need the same outputs, but"
                f" {first.name} has {list(first.out_shape)}, {spec.name} {list(spec.out_shape)}"
            )
    if scenario != "class":
        return
    if first.kind != "classification":
        raise ConfigError(
            f"scenario=class: {first.name} is a {first.kind}, which has no classes: use task or"
            " domain"
        )
    owner: dict[int, str] = {}
    for spec in specs:
        for label in spec.labels or ():
            if label in owner:
                raise DataError(
                    f"scenario=class: class {label} appears in {owner[label]} and in {spec.name}:"
                    " each class belongs to one task; use task or domain, or number the labels of"
                    " each task from 0"
                )
            owner[label] = spec.name


def _check_alike(first: TaskSpec, other: TaskSpec) -> None:
    if (other.kind, other.in_shape, other.sequence) != (first.kind, first.in_shape, first.sequence):
        raise ConfigError(
            f"data: all tasks need inputs of one kind and shape: {first.name} has {first.kind}"
            f" {list(first.in_shape)}, {other.name} {other.kind} {list(other.in_shape)}"
        )
    if first.kind == "regression" and other.out_shape != first.out_shape:
        raise ConfigError(
            f"data: all tasks need targets of one shape: {list(first.out_shape)} and"
            f" {list(other.out_shape)}"
        )


def check_method(name: str, method: Callable[..., Any], scenario: Scenario) -> None:
    """Refuse a method that cannot do a scenario, and name those that can.

    Raises:
        ConfigError: It cannot.
    """
    offered = getattr(method, "scenarios", (scenario,))
    if isinstance(offered, str) or not isinstance(offered, Collection):
        raise ConfigError(
            f"method: the scenarios of {name} are {offered!r}: expected some of"
            f" {', '.join(_DEFAULTS)}"
        )
    if scenario in offered:
        return
    others = [
        entry.name
        for entry in registry().entries(Kind.METHOD)
        if scenario in getattr(entry.load(), "scenarios", ())
    ]
    raise ConfigError(
        f"scenario={scenario}: the method {name} cannot do that; these can: {', '.join(others)}"
    )
