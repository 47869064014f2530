"""The option `inner` of hypernetworks that wrap another one."""

from __future__ import annotations

from hypnet_core.networks import HyperNetwork
from hypnet_core.plugins import HypernetChoice
from hypnet_core.specs import ConditionSpec, TargetSpec

__all__ = ["HypernetChoice", "build_inner"]


def build_inner(
    inner: HypernetChoice | None, target: TargetSpec, conditions: ConditionSpec
) -> HyperNetwork:
    """The hypernetwork that an option `inner` chooses; an `hmlp` with its defaults for `None`."""
    chosen = HypernetChoice(name="hmlp") if inner is None else inner
    built: HyperNetwork = chosen.build(target, conditions)
    return built
