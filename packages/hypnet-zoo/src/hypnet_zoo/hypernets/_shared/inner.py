"""Checks and construction of hypernetworks inside others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, TypedDict

from pydantic import Field

from hypnet_core.errors import SpecError
from hypnet_core.networks import HyperNetwork
from hypnet_core.plugins import HypernetChoice
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets._shared.parts import Part
from hypnet_zoo.init.effects import (
    Names,
    changed,
    concerning,
    effective,
    reduced,
    refuse_without_effect,
)
from hypnet_zoo.init.options import Init, init_from
from hypnet_zoo.init.protocols import Initializable


class InnerOption(TypedDict, total=False):
    """The option `inner` of hypernetworks that wrap another one."""

    inner: Annotated[
        HypernetChoice | None,
        Field(
            default=None,
            description="The inner hypernetwork with its options; an `hmlp` by default.",
        ),
    ]


def build_inner(
    inner: HypernetChoice | None, target: TargetSpec, conditions: ConditionSpec
) -> HyperNetwork:
    """Build the hypernetwork that an option `inner` chooses.

    Args:
        inner: The choice; an `hmlp` with its defaults for `None`.
        target: The parameters that it generates.
        conditions: Its conditions.
    """
    chosen = HypernetChoice(name="hmlp") if inner is None else inner
    built: HyperNetwork = chosen.build(target, conditions)
    return built


def has_init(inner: HypernetChoice | None) -> bool:
    """Whether an option `inner` sets an `init` other than the default.

    It may do so for the hypernetwork itself or for one inside it.
    """
    if inner is None:
        return False
    if inner.options.get("init") not in (None, Init()):
        return True
    return any(has_init(choice) for value in inner.options.values() for choice in _choices(value))


def _choices(value: object) -> Iterator[HypernetChoice]:
    """The hypernetworks that the value of an option chooses."""
    if isinstance(value, HypernetChoice):
        yield value
    elif isinstance(value, Part):
        yield from _choices(value.source)
    elif isinstance(value, tuple):
        for one in value:
            yield from _choices(one)


def apply_outer_init(
    inner: HyperNetwork,
    init: Init,
    where: str,
    also: Names = frozenset(),
    *,
    without: Names = frozenset(),
) -> None:
    """Start an inner hypernetwork by the option `init` of the outer one.

    With the defaults it keeps its start, by which it was built.

    Args:
        inner: The inner hypernetwork.
        init: The outer option.
        where: Name of the outer hypernetwork in messages.
        also: Options that have an effect outside the inner hypernetwork.
        without: Options whose effect on the inner hypernetwork is lost afterwards.

    Raises:
        SpecError: An option has no effect.
    """
    if set(changed(init)) - also:
        initializable(inner, "inner")
    within = effective(inner, init) - without
    refuse_without_effect(init, within | also, where)
    if within.intersection(changed(init)):
        initializable(inner, "inner").initialize(concerning(inner, init))


def initialize_inner(inner: HyperNetwork, init: Init | None, where: str = "") -> None:
    """Start an inner hypernetwork anew, by those options that have an effect in it.

    Args:
        inner: The inner hypernetwork.
        init: How to start; as it was built for `None`.
        where: Name of the outer hypernetwork, to refuse options without effect.

    Raises:
        SpecError: It cannot start by an `Init`, or an option has no effect.
    """
    able = initializable(inner, "inner")
    if init is None:
        able.initialize()
        return
    init = init_from(init)
    names = effective(inner, init)
    if where:
        refuse_without_effect(init, names, where)
    able.initialize(reduced(init, names))


def refuse_two_inits(inner: HypernetChoice | None, init: Init) -> None:
    """Refuse an `init` of an inner hypernetwork beside one of the outer.

    Raises:
        SpecError: Both differ from their defaults.
    """
    if init != Init():
        refuse_inner_init(inner)


def refuse_inner_init(inner: HypernetChoice | None) -> None:
    """Refuse an `init` of an inner hypernetwork that the outer one starts itself.

    Raises:
        SpecError: The option differs from its default.
    """
    # A default that is spelt out is harmless.
    if has_init(inner):
        raise SpecError(
            "inner.init has no effect, because the outer hypernetwork starts the inner one: set"
            " init instead"
        )


def refuse_own_init(inner: HyperNetwork, outer: str) -> None:
    """Refuse an inner hypernetwork with rules of its own, which would be overwritten.

    Raises:
        SpecError: Its `init`, or that of one inside it, is not the default.
    """
    rules = getattr(inner, "init", None)
    if rules is None:
        # A wrapper without rules of its own passes on those of its parts. Otherwise
        # parts were started by it, and their rules are its own.
        for member in inner.members():
            refuse_own_init(member, outer)
    elif isinstance(rules, Init) and rules != Init():
        raise SpecError(
            f"the init of the inner {type(inner).__name__} has no effect, because {outer} starts"
            " it: pass init to the outer one instead"
        )


def initializable(hypernet: HyperNetwork, name: str) -> Initializable:
    """The hypernetwork itself, if it can start by an `Init`.

    Args:
        hypernet: The hypernetwork.
        name: Its name in messages.

    Raises:
        SpecError: It cannot.
    """
    if not isinstance(hypernet, Initializable):
        raise SpecError(
            f"{name}: a {type(hypernet).__name__} has no initialize(init), so it cannot start as"
            " asked for"
        )
    return hypernet


def check_hypernetwork(given: object, name: str) -> None:
    """Refuse an argument that is not a hypernetwork.

    Raises:
        SpecError: It is not one.
    """
    if not isinstance(given, HyperNetwork):
        raise SpecError(f"{name} must be a hypernetwork, got {type(given).__name__}")
