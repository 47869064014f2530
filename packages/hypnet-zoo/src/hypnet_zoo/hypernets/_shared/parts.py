"""The parts of a container: their sources, and checks of their tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

from hypnet_core.errors import SpecError, did_you_mean, listed
from hypnet_core.networks import HyperNetwork
from hypnet_core.plugins import HypernetChoice
from hypnet_core.specs import ConditionSpec, ParamSpec, Spec, TargetSpec
from hypnet_zoo.init.effects import effective, refuse_without_effect
from hypnet_zoo.init.moments import restricted
from hypnet_zoo.init.options import Init

Source: TypeAlias = Literal["shared", "own"] | HypernetChoice


class Part(Spec):
    """The source of some of a target's tensors.

    Attributes:
        names: Globs over names of tensors, or kinds such as `"norm_scale"`. A tensor
            belongs to the first part that matches.
        source: `"shared"` for one tensor for all conditions, `"own"` for one per
            condition, or a hypernetwork with its options.
    """

    names: tuple[str, ...]
    source: Source


def check_by_name(target: TargetSpec, specs: Mapping[str, TargetSpec]) -> None:
    """Refuse parts that do not hold every tensor of the target exactly once."""
    writers: dict[str, str] = {}
    for part, spec in specs.items():
        for param in spec.params:
            if param.name not in target:
                raise SpecError(
                    f"{part} generates {param.name!r}, which the target"
                    f" lacks{did_you_mean(param.name, target.names)}"
                )
            if param.name in writers:
                raise SpecError(f"{param.name} comes from both {writers[param.name]} and {part}")
            if param.shape != target[param.name].shape:
                raise SpecError(
                    f"{part} generates {param.name} with shape {list(param.shape)}, the target's is"
                    f" {list(target[param.name].shape)}"
                )
            writers[param.name] = part
    missing = [name for name in target.names if name not in writers]
    if missing:
        raise SpecError(
            f"nothing generates {len(missing)} of the target's {len(target)} tensors:"
            f" {listed(missing)}"
        )


def common_conditions(
    members: Sequence[HyperNetwork], conditions: ConditionSpec | None
) -> ConditionSpec:
    """The conditions of all members, and the size of their unconditional input."""
    if conditions is None and not members:
        raise SpecError("a container without hypernetworks needs conditions=")
    specs = [member.conditions for member in members]
    first = specs[0] if conditions is None else conditions
    for i, spec in enumerate(specs):
        if spec.count != first.count:
            other = "the container" if conditions is not None else "members[0]"
            raise SpecError(
                f"members[{i}] has {spec.count} conditions, {other} has {first.count}: they must"
                " agree"
            )
    # One input serves all members that take any, so its size must be common.
    inputs = sorted({spec.input_size for spec in specs if spec.input_size})
    if len(inputs) > 1:
        raise SpecError(
            f"the members take unconditional inputs of different sizes: {listed(map(str, inputs))}"
        )
    return first.model_copy(update={"input_size": inputs[0] if inputs else 0})


def chosen_parts(
    target: TargetSpec, parts: Sequence[Part]
) -> tuple[list[tuple[TargetSpec, Source]], TargetSpec | None]:
    """The tensors of each part, and those that no part names."""
    left = target
    chosen: list[tuple[TargetSpec, Source]] = []
    for part in parts:
        found = tuple(param for param in left.params if _matches(param, part.names))
        if not found:
            raise SpecError(
                f"parts: {listed(part.names)} matches no tensor that is left: {listed(left.names)}"
            )
        spec = TargetSpec(params=found)
        chosen.append((spec, part.source))
        # A tensor belongs to the first part that matches, so it is taken out here.
        left = TargetSpec(params=tuple(param for param in left.params if param.name not in spec))
    return chosen, left if left.params else None


def _matches(param: ParamSpec, names: Sequence[str]) -> bool:
    return any(name == param.kind.value or fnmatchcase(param.name, name) for name in names)


def joined(specs: Sequence[TargetSpec]) -> TargetSpec | None:
    params = tuple(param for spec in specs for param in spec.params)
    return TargetSpec(params=params) if params else None


def refuse_lost_init(
    target: TargetSpec,
    init: Init,
    of_draws: frozenset[str],
    led: Sequence[HyperNetwork],
    drawn: TargetSpec | None,
) -> None:
    """Refuse options of a container that concern only parts with their own `init`.

    Args:
        target: The parameters to generate.
        init: The option of the container.
        of_draws: Options that have an effect on shared and own tensors.
        led: The hypernetworks that start by the container's option.
        drawn: The shared and own tensors.
    """
    names = of_draws.union(*(effective(member, init) for member in led))
    refuse_without_effect(init, names, "container")
    started = joined([member.target for member in led] + ([] if drawn is None else [drawn]))
    reached = {} if started is None else restricted(init, started).overrides
    lost = [one for one in restricted(init, target).overrides if one not in reached]
    if lost:
        raise SpecError(
            f"init.overrides: {listed(lost)} has no effect in container: the part sets its own init"
        )
