"""Selection of the parameters that come from outside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from torch import nn

from hypnet_core.errors import SpecError, clipped, listed
from hypnet_core.protocols import GroupsParameters
from hypnet_core.specs import ParamKind, ParamSpec, TargetSpec

Generate = str | Iterable[str] | Callable[[ParamSpec], bool] | None


def choose_target(
    module: nn.Module, spec: TargetSpec, generate: Generate, *, option: str = "generate"
) -> TargetSpec:
    """Select parameters of a module, such as those to generate; see `MainNetwork`.

    Args:
        module: The module; it may name groups of its parameters (`GroupsParameters`).
        spec: The parameters to choose from.
        generate: The selection.
        option: Its name in error messages.

    Raises:
        SpecError: It selects nothing, or names something that does not exist.
    """
    if not spec.params:
        raise SpecError(f"{type(module).__name__} has no parameters that could be chosen")
    if generate is None:
        return spec
    if callable(generate):
        chosen = spec.select(where=generate)
    else:
        wanted = [generate] if isinstance(generate, str) else _listed(generate, option)
        names: set[str] = set()
        for one in wanted:
            names.update(_names_of(module, spec, one))
        chosen = spec.select(where=lambda param: param.name in names)
    if not chosen.params:
        raise SpecError(
            f"{option}={generate!r} selects none of the module's parameters: {listed(spec.names)}"
        )
    return chosen


def _listed(generate: Iterable[str], option: str) -> list[str]:
    given: object = generate
    if not isinstance(given, Iterable) or not all(isinstance(one, str) for one in given):
        raise SpecError(
            f"{option} is a kind, a glob, a group, several of these or a predicate, got"
            f" {clipped(repr(given))}"
        )
    return list(generate)


def _names_of(module: nn.Module, spec: TargetSpec, selector: str) -> Collection[str]:
    groups = module.parameter_groups() if isinstance(module, GroupsParameters) else {}
    if selector in groups:
        return groups[selector]
    # A kind, unless a parameter has that very name.
    if selector in {kind.value for kind in ParamKind} and selector not in spec:
        return spec.select(kinds=selector).names
    return spec.select(names=selector).names
