"""A mixture: some tensors from hypernetworks, some shared by all conditions, some owned by each condition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor, nn

from hypnet_core.errors import ConditionError, SpecError, did_you_mean, listed
from hypnet_core.networks import HyperNetwork, Weights
from hypnet_core.specs import ConditionSpec, ParamSpec, Spec, TargetSpec
from hypnet_zoo.hypernets._inner import HypernetChoice, build_inner
from hypnet_zoo.hypernets.wrapper import check_hypernetwork
from hypnet_zoo.init.draw import drawn_weights

__all__ = ["Container", "Part", "container"]

OWN = "own"

Assembly = Callable[[Sequence[Weights], Weights | None, Weights | None], Mapping[str, Tensor]]
"""From what the members generate, the shared tensors and those of the condition, to the tensors of the target, by name."""


class Container(HyperNetwork):
    r"""Puts a target together from hypernetworks, shared tensors and tensors of each condition.

    Every member generates some of the tensors; `shared` ones are ordinary parameters,
    the same for all conditions (as if they belonged to the main network), and `own`
    ones are parameters of which each condition has its own. Where the names of the
    target say where everything belongs, that is all; otherwise `assembly` makes the
    target from the parts.

    Args:
        target: What to generate.
        members: Hypernetworks, each with the part of the target that it generates as
            its own target. All serve the same conditions.
        shared: The tensors that all conditions share.
        own: The tensors of which each condition has its own.
        assembly: Called with the members' weights, the shared ones and those of the
            conditions (`None` where there are none), all with the batch dimension of
            the call or with none; returns the tensors of the target.

    Raises:
        SpecError: Nothing or more than one part writes some tensor, shapes differ, the
            members have different conditions, or the assembly does not give the target.

    Example:
        The first layer comes from a hypernetwork, the norm is shared, each condition
        has its own output layer:

        >>> from hypnet_zoo.hypernets.hmlp import HMLP
        >>> names = ["fc.weight", "fc.bias", "norm.weight", "norm.bias", "out.weight"]
        >>> target = TargetSpec.from_shapes([[10, 5], [10], [10], [10], [5, 10]], names=names)
        >>> hnet = Container(
        ...     target,
        ...     [HMLP(target.select(names="fc.*"), ConditionSpec(count=5, size=8))],
        ...     shared=target.select(names="norm.*"),
        ...     own=target.select(names="out.*"),
        ... )
        >>> hnet([0, 4])["out.weight"].shape, [tuple(p.shape) for p in hnet.conditional_parameters(0)]
        (torch.Size([2, 5, 10]), [(50,), (8,)])
    """

    def __init__(
        self,
        target: TargetSpec,
        members: Sequence[HyperNetwork],
        *,
        shared: TargetSpec | None = None,
        own: TargetSpec | None = None,
        conditions: ConditionSpec | None = None,
        assembly: Assembly | None = None,
    ) -> None:
        if isinstance(members, nn.Module):
            raise SpecError(
                f"members must be a sequence of hypernetworks, got one {type(members).__name__}"
            )
        for i, member in enumerate(members):
            check_hypernetwork(member, f"members[{i}]")
        specs = {f"members[{i}]": member.target for i, member in enumerate(members)}
        specs |= {
            name: spec for name, spec in (("shared", shared), ("own", own)) if spec is not None
        }
        if assembly is None:
            _check_by_name(target, specs)
        super().__init__(
            target,
            _common_conditions(members, conditions),
            conditional={OWN: (own.numel,)} if own else None,
            embeddings=False,
        )
        self.inner = nn.ModuleList(members)
        self.shared_spec, self.own_spec, self.assembly = shared, own, assembly
        self.shared = None if shared is None else nn.Parameter(drawn_weights(shared).flat)
        for i in range(self.conditions.count if own else 0):
            self._draw_own(i)
        if assembly is not None:
            self._try_assembly()

    def members(self) -> list[HyperNetwork]:
        """The hypernetworks that generate parts of the target."""
        return [member for member in self.inner if isinstance(member, HyperNetwork)]

    def forward(
        self,
        condition: int | Sequence[int] | Tensor | None = None,
        *,
        cond_input: Tensor | Mapping[str, Tensor] | None = None,
        uncond_input: Tensor | None = None,
    ) -> Weights:
        """Generate weights.

        Args:
            condition: One id, or a batch of ids.
            cond_input: Passed to the members in place of ids. Tensors that belong to
                conditions still need an id.
            uncond_input: Passed to the members that take one.

        Raises:
            ConditionError: An id or an input is missing, or does not fit.
        """
        _, batched = self._ids(condition)
        if uncond_input is not None and not self.conditions.input_size:
            raise ConditionError("this hypernetwork takes no uncond_input")
        given = None if cond_input is not None else condition
        parts = [
            member(
                given,
                cond_input=cond_input,
                uncond_input=uncond_input if member.conditions.input_size else None,
            )
            for member in self.members()
        ]
        own = None if self.own_spec is None else self._own(condition, self.own_spec)
        shared = (
            None
            if self.shared is None or self.shared_spec is None
            else Weights(self.shared, self.shared_spec)
        )
        shapes = {
            part.batch_shape for part in (*parts, own) if part is not None and part.batch_shape
        }
        if len(shapes) > 1:
            raise ConditionError(
                "the inputs have different batch sizes:"
                f" {', '.join(str(shape[0]) for shape in sorted(shapes))}"
            )
        count = len(condition) if batched and isinstance(condition, (Sequence, Tensor)) else None
        return self._assembled(
            parts,
            shared,
            own,
            next(iter(shapes), torch.Size() if count is None else torch.Size([count])),
        )

    def add_condition(self) -> int:
        """Make room for one more condition, with a new draw of the tensors that it owns."""
        new = super().add_condition()
        if self.own_spec is not None:
            self._draw_own(new)
        return new

    def start_at_zero(self) -> None:
        """Let every part start at zero."""
        for member in self.members():
            member.start_at_zero()
        with torch.no_grad():
            for parameter in (
                *([] if self.shared is None else [self.shared]),
                *self.conditional.parameters(),
            ):
                parameter.zero_()

    def _own(self, condition: int | Sequence[int] | Tensor | None, spec: TargetSpec) -> Weights:
        if condition is None:
            raise ConditionError(f"{listed(spec.names)} belong to conditions: pass condition=")
        ids, batched = self._ids(condition)
        flat = self._lookup(OWN, ids)
        return Weights(flat if batched else flat[0], spec)

    def _assembled(
        self,
        parts: Sequence[Weights],
        shared: Weights | None,
        own: Weights | None,
        batch: torch.Size,
    ) -> Weights:
        """The target from its parts, all expanded to one batch shape."""
        wide = [
            None if part is None else Weights(part.flat.expand(*batch, -1), part.spec)
            for part in (*parts, shared, own)
        ]
        *members, shared, own = wide
        if self.assembly is not None:
            return Weights.of(
                self.target,
                self.assembly([part for part in members if part is not None], shared, own),
            )
        return Weights.of(
            self.target,
            {name: tensor for part in wide if part is not None for name, tensor in part.items()},
        )

    def _draw_own(self, condition: int) -> None:
        with torch.no_grad():
            parameter = self.parameters_of(OWN)[condition]
            parameter.copy_(drawn_weights(self.own_spec or self.target).flat)

    @torch.no_grad()
    def _try_assembly(self) -> None:
        """Call the assembly once with zeros, so that it fails here or never."""
        like = next(self.parameters())
        parts = [
            Weights(like.new_zeros(member.target.numel), member.target) for member in self.members()
        ]
        own = (
            None
            if self.own_spec is None
            else Weights(like.new_zeros(self.own_spec.numel), self.own_spec)
        )
        shared = (
            None
            if self.shared_spec is None
            else Weights(like.new_zeros(self.shared_spec.numel), self.shared_spec)
        )
        try:
            self._assembled(parts, shared, own, torch.Size())
        except (SpecError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise SpecError(f"the assembly does not give the target: {error}") from error


def _check_by_name(target: TargetSpec, specs: Mapping[str, TargetSpec]) -> None:
    """Refuse parts that do not, together, hold every tensor of the target exactly once."""
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


def _common_conditions(
    members: Sequence[HyperNetwork], conditions: ConditionSpec | None
) -> ConditionSpec:
    """The conditions that all members serve; an unconditional input is as long as that of the members that take one."""
    if conditions is None and not members:
        raise SpecError("a container without hypernetworks must be told its conditions")
    specs = [member.conditions for member in members]
    first = specs[0] if conditions is None else conditions
    for i, spec in enumerate(specs):
        if spec.count != first.count:
            other = "the container" if conditions is not None else "members[0]"
            raise SpecError(
                f"members[{i}] has {spec.count} conditions, {other} has {first.count}: they must"
                " agree"
            )
    inputs = sorted({spec.input_size for spec in specs if spec.input_size})
    if len(inputs) > 1:
        raise SpecError(
            f"the members take unconditional inputs of different sizes: {listed(map(str, inputs))}"
        )
    return first.model_copy(update={"input_size": inputs[0] if inputs else 0})


class Part(Spec):
    """Where some of a target's tensors come from.

    Attributes:
        names: Globs over names of tensors, or kinds such as `"norm_scale"`. A tensor
            belongs to the first part that matches.
        source: `"shared"` for one tensor for all conditions, `"own"` for one per
            condition, or a hypernetwork with its options.
    """

    names: tuple[str, ...]
    source: Literal["shared", "own"] | HypernetChoice


def container(
    target: TargetSpec,
    conditions: ConditionSpec,
    *,
    parts: tuple[Part, ...] = (),
) -> Container:
    """A mixture of hypernetworks, shared tensors and tensors of each condition.

    Args:
        target: What to generate.
        conditions: Ids with embeddings, embedding size, size of the unconditional
            input; each hypernetwork has embeddings of its own.
        parts: Where the tensors come from, such as `[{"names": ["*norm*"], "source":
            "shared"}, {"names": ["*"], "source": {"name": "hmlp", "hidden": [50]}}]`.
            What no part names is generated by an `hmlp`.

    Raises:
        SpecError: A part matches no tensor that earlier ones have left.
    """
    left = target
    chosen: list[tuple[TargetSpec, Literal["shared", "own"] | HypernetChoice | None]] = []
    for part in parts:
        found = TargetSpec(
            params=tuple(param for param in left.params if _matches(param, part.names))
        )
        if not found.params:
            raise SpecError(
                f"parts: {listed(part.names)} matches no tensor that is left: {listed(left.names)}"
            )
        chosen.append((found, part.source))
        left = TargetSpec(params=tuple(param for param in left.params if param.name not in found))
    if left.params:
        chosen.append((left, None))
    by_source = {
        source: _joined([spec for spec, other in chosen if other == source])
        for source in ("shared", "own")
    }
    members = [
        build_inner(source if isinstance(source, HypernetChoice) else None, spec, conditions)
        for spec, source in chosen
        if source not in {"shared", "own"}
    ]
    return Container(
        target, members, shared=by_source["shared"], own=by_source["own"], conditions=conditions
    )


def _matches(param: ParamSpec, names: Sequence[str]) -> bool:
    return any(name == param.kind.value or fnmatchcase(param.name, name) for name in names)


def _joined(specs: Sequence[TargetSpec]) -> TargetSpec | None:
    params = tuple(param for spec in specs for param in spec.params)
    return TargetSpec(params=params) if params else None
