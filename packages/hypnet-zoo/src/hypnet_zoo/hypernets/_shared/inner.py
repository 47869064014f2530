"""Checks and construction of hypernetworks inside others."""

from __future__ import annotations

from typing import Annotated, TypedDict

from pydantic import Field

from hypnet_core.errors import SpecError
from hypnet_core.networks import HyperNetwork
from hypnet_core.plugins import HypernetChoice
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.init.options import Init
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
    inner: HypernetChoice | None,
    target: TargetSpec,
    conditions: ConditionSpec,
    init: Init | None = None,
) -> HyperNetwork:
    """Build the hypernetwork that an option `inner` chooses.

    Args:
        inner: The choice; an `hmlp` with its defaults for `None`.
        target: The parameters that it generates.
        conditions: Its conditions.
        init: How it starts, if not by its own option `init`.

    Raises:
        SpecError: It is given an `init` and cannot start by one.
    """
    chosen = HypernetChoice(name="hmlp") if inner is None else inner
    built: HyperNetwork = chosen.build(target, conditions)
    if init is not None:
        initializable(built, "inner").initialize(init)
    return built


def refuse_inner_init(inner: HypernetChoice | None) -> None:
    """Refuse an `init` of an inner hypernetwork that the outer one starts itself.

    Raises:
        SpecError: The option differs from its default.
    """
    # A default that is spelt out is harmless.
    if inner is not None and inner.options.get("init") not in (None, Init()):
        raise SpecError(
            "inner.init has no effect, because the outer hypernetwork starts the inner one: set"
            " init instead"
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
