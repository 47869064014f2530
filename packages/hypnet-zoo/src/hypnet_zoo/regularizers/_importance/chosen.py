"""The chosen parameters of a module, as they are now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from hypnet_core.errors import SpecError, clipped, did_you_mean, listed
from hypnet_core.networks import Generate, choose_target
from hypnet_core.specs import TargetSpec

Mask: TypeAlias = Generate | Mapping[str, Generate]
"""Which parameters: all that need gradients by default; a glob over names, a kind
(`"weight"`), the name of a group that the module defines (`"unconditional"` of a
hypernetwork), several of these, a predicate, or a mask for each of several named
groups."""
PerGroup: TypeAlias = float | Mapping[str, float]
"""A number for all parameters, or one per named group."""


class Chosen:
    """Parameters of a module, chosen by a mask and looked up by name.

    Modules change between tasks: heads are added or replaced by larger ones. So the
    parameters are looked up again whenever the module's tree has changed, which is
    cheap to see.

    Args:
        module: The module.
        parameters: The mask. Parameters that need no gradient are left out.

    Raises:
        SpecError: This is no module, nothing is chosen, or groups overlap.
    """

    def __init__(self, module: nn.Module, parameters: Mask) -> None:
        given: object = module
        if not isinstance(given, nn.Module):
            raise SpecError(f"a module is expected, got {clipped(repr(given))}")
        self.module = module
        self._masks = dict(parameters) if isinstance(parameters, Mapping) else {"": parameters}
        # An iterator would be used up at the first look.
        for group, mask in self._masks.items():
            if isinstance(mask, Iterator):
                self._masks[group] = list(mask)
        self._tree: list[int] = []
        self._now: dict[str, nn.Parameter] = {}
        self.spec = TargetSpec(params=())
        """Names and shapes; another object after each look."""
        self.groups: dict[str, str] = {}
        """The group of each parameter, by name."""
        self.look()

    @property
    def now(self) -> dict[str, nn.Parameter]:
        """The parameters by name, in the module's order."""
        if self._tree != [id(part) for parts in self._parts for part in parts.values()]:
            self.look()
        return self._now

    def look(self) -> None:
        """Look the parameters up again."""
        modules = list(self.module.modules())
        # Dictionaries of children and parameters: any change of the tree shows in one.
        self._parts = [vars(m)[kind] for m in modules for kind in ("_modules", "_parameters")]
        self._tree = [id(part) for parts in self._parts for part in parts.values()]
        found = dict(self.module.named_parameters())
        spec = TargetSpec.of(self.module)
        groups: dict[str, str] = {}
        for group, mask in self._masks.items():
            option = f"parameters[{group!r}]" if group else "parameters"
            for name in choose_target(self.module, spec, mask, option=option).names:
                if name in groups:
                    raise SpecError(f"{name!r} is in two groups: {groups[name]!r} and {group!r}")
                groups[name] = group
        # Those that were chosen stay, even if they are frozen now.
        keep = {name for name in groups if found[name].requires_grad or name in self._now}
        if not keep:
            raise SpecError(f"none of the chosen parameters needs gradients: {listed(groups)}")
        self.spec = spec.select(where=lambda param: param.name in keep)
        self.groups = {name: groups[name] for name in self.spec.names}
        self._now = {name: found[name] for name in self.spec.names}
        devices = {str(parameter.device) for parameter in self._now.values()}
        if len(devices) > 1:
            raise SpecError(
                f"the chosen parameters are on several devices ({listed(sorted(devices))}): make"
                " one penalty for each"
            )

    @property
    def dtype(self) -> torch.dtype:
        """The type of importances: double where a parameter is, or else single."""
        # Squares of small gradients vanish in half precision.
        double = any(parameter.dtype == torch.float64 for parameter in self.now.values())
        return torch.float64 if double else torch.float32

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(iter(self.now.values())).device

    def flat(self) -> Tensor:
        """All of them in one vector, with history."""
        return torch.cat([parameter.reshape(-1) for parameter in self.now.values()])

    def per_group(self, option: str, given: PerGroup) -> dict[str, float]:
        """A number for each group; `""` is the group of a mask without groups.

        Args:
            option: The name of the option.
            given: Numbers, not negative.

        Raises:
            SpecError: A number is negative, or the groups are others.
        """
        numbers = dict(given) if isinstance(given, Mapping) else dict.fromkeys(self._masks, given)
        for group in numbers:
            if group not in self._masks:
                raise SpecError(
                    f"{option}: there is no group {group!r}{did_you_mean(group, self._masks)}"
                )
        for group in self._masks:
            if group not in numbers:
                raise SpecError(f"{option} has no number for the group {group!r}")
            if not numbers[group] >= 0:
                raise SpecError(f"{option} must not be negative, got {numbers[group]}")
        return numbers

    def per_scalar(self, numbers: Mapping[str, float]) -> float | Tensor:
        """The number of each scalar's group, `[numel]`, or the one for all."""
        if len(set(numbers.values())) == 1:
            return float(next(iter(numbers.values())))
        each = torch.tensor([numbers[self.groups[name]] for name in self.spec.names])
        sizes = torch.tensor(self.spec.sizes)
        return each.to(self.dtype).repeat_interleave(sizes).to(self.device)
