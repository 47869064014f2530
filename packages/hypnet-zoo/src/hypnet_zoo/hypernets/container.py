"""Mixtures of generated, shared and conditional tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Unpack

import torch
from torch import Tensor, nn

from hypnet_core.errors import ConditionError, SpecError, listed
from hypnet_core.networks import Condition, HasLinearHeads, HyperNetwork, LinearHead, Weights
from hypnet_core.plugins import HypernetChoice
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_zoo.hypernets._shared.inner import (
    build_inner,
    check_hypernetwork,
    has_init,
    initializable,
)
from hypnet_zoo.hypernets._shared.parts import (
    Part,
    check_by_name,
    chosen_parts,
    common_conditions,
    joined,
    refuse_lost_init,
)
from hypnet_zoo.init.draw import drawn_weights
from hypnet_zoo.init.effects import (
    concerning,
    effective,
    effective_in_draws,
    of_draws,
    reduced,
    refuse_without_effect,
)
from hypnet_zoo.init.moments import restricted, wanted_moments
from hypnet_zoo.init.options import Init, InitOption, chosen_options, init_from

OWN = "own"

Combine = Callable[[Sequence[Weights], Weights | None, Weights | None], Mapping[str, Tensor]]
"""From members' weights, shared and own tensors to the tensors of the target."""


class Container(HyperNetwork):
    r"""Combines hypernetworks, shared tensors and tensors of each condition.

    Every member generates some of the tensors. Shared tensors are ordinary parameters,
    the same for all conditions (as if they belonged to the main network), and each
    condition has its `own` tensors. Parts belong where their names say, unless
    `combine` makes the target from them.

    Args:
        target: The parameters to generate.
        members: Hypernetworks, each with the part of the target that it generates as
            its own target. All serve the same conditions.
        shared: The tensors that all conditions share.
        own: The tensors of which each condition has its own.
        conditions: Number of conditions and sizes of the inputs; by default those of
            the members.
        combine: Called with the members' weights, the shared ones and those of the
            conditions (`None` where there are none), all with the batch dimension of
            the call or with none; returns the tensors of the target.
        init: How the shared and own tensors start. Members start by their own.

    Raises:
        SpecError: No part or more than one writes some tensor, shapes differ, the
            members have different conditions, or `combine` does not give the target.

    Example:
        The first layer comes from a hypernetwork, the norm is shared, each condition
        has its own output layer:

        >>> from hypnet_zoo.hypernets import HMLP
        >>> names = ["fc.weight", "fc.bias", "norm.weight", "norm.bias", "out.weight"]
        >>> shapes = [[10, 5], [10], [10], [10], [5, 10]]
        >>> target = TargetSpec.from_shapes(shapes, names=names)
        >>> hnet = Container(
        ...     target,
        ...     [HMLP(target.select(names="fc.*"), ConditionSpec(count=5, size=8))],
        ...     shared=target.select(names="norm.*"),
        ...     own=target.select(names="out.*"),
        ... )
        >>> hnet([0, 4])["out.weight"].shape
        torch.Size([2, 5, 10])
        >>> [tuple(p.shape) for p in hnet.conditional_parameters(0)]
        [(50,), (8,)]
    """

    def __init__(
        self,
        target: TargetSpec,
        members: Sequence[HyperNetwork],
        *,
        shared: TargetSpec | None = None,
        own: TargetSpec | None = None,
        conditions: ConditionSpec | None = None,
        combine: Combine | None = None,
        init: Init | None = None,
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
        # With a function, only its result shows whether the target is complete.
        if combine is None:
            check_by_name(target, specs)
        super().__init__(
            target,
            common_conditions(members, conditions),
            conditional={OWN: (own.numel,)} if own else None,
            embeddings=False,  # members have their own
        )
        self.writers = nn.ModuleList(members)
        self.init = init_from(init)
        self._has_draws = shared is not None or own is not None
        refuse_without_effect(self.init, self._draw_options(self.init), type(self).__name__)
        self.shared_spec, self.own_spec, self.combine = shared, own, combine
        self.shared = None if shared is None else nn.Parameter(self._drawn(shared))
        for i in range(self.conditions.count if own else 0):
            self._draw_own(i)
        if combine is not None:
            self._try_combine()

    def members(self) -> list[HyperNetwork]:
        """The hypernetworks that generate parts of the target."""
        return [member for member in self.writers if isinstance(member, HyperNetwork)]

    def forward(
        self,
        condition: Condition | None = None,
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
        ids = None if condition is None else self.ids_of(condition)
        if uncond_input is not None and not self.conditions.input_size:
            raise ConditionError("this hypernetwork takes no uncond_input")
        # Members take ids or inputs; own tensors are found by id in both cases.
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
        # Parts without a batch fit any: they are expanded below.
        shapes = {
            part.batch_shape for part in (*parts, own) if part is not None and part.batch_shape
        }
        if len(shapes) > 1:
            raise ConditionError(
                "the inputs have different batch sizes:"
                f" {', '.join(str(shape[0]) for shape in sorted(shapes))}"
            )
        # Shared tensors alone have no batch, so the ids determine it.
        batch = torch.Size() if ids is None else torch.Size(ids.shape)
        weights = self._combined(parts, shared, own, next(iter(shapes), batch))
        return weights.belonging_to(condition)

    def heads_at(self, condition: Condition) -> list[LinearHead] | None:
        """The heads of all members; what is not written by heads counts as it is."""
        if self.combine is not None:
            return None
        found: list[LinearHead] = []
        for member in self.members():
            found += _heads_of(member, condition) or [
                LinearHead(member(condition).flat.unsqueeze(1), None)
            ]
        count = len(self.ids_of(condition).ids)
        if self.shared is not None:
            # Equal for all conditions: a bias alone.
            nothing = self.shared.new_empty((count, 1, 0))
            weight = self.shared.new_empty((len(self.shared), 0))
            found.append(LinearHead(nothing, weight, self.shared))
        if self.own_spec is not None:
            own = self._own(condition, self.own_spec).flat
            found.append(LinearHead(own.unsqueeze(1), None))
        return found

    def importance_of_outputs(self, importance: Tensor) -> list[Tensor]:
        """How much each output counts, by member."""
        given = Weights(importance, self.target)
        found: list[Tensor] = []
        for member in self.members():
            part = torch.cat([given[name].flatten() for name in member.target.names])
            found += (
                member.importance_of_outputs(part)
                if isinstance(member, HasLinearHeads) and _heads_of(member, [0]) is not None
                else [part[None]]
            )
        found += [
            torch.cat([given[name].flatten() for name in spec.names])[None]
            for spec in (self.shared_spec, self.own_spec)
            if spec is not None
        ]
        return found

    def add_condition(self) -> int:
        """Add a condition with a new draw of its tensors."""
        new = super().add_condition()
        if self.own_spec is not None:
            self._draw_own(new)
        return new

    @torch.no_grad()
    def initialize(self, init: Init | None = None) -> None:
        """Start all parts anew.

        Args:
            init: How to start; by default every part as it was built.

        Raises:
            SpecError: An override matches no tensor, an option has no effect, or a
                member cannot start by an `Init`.
        """
        if init is not None:
            init = init_from(init)
            wanted_moments(self.target, init)  # refuses overrides that match nothing
            refuse_without_effect(init, self.init_options(init), type(self).__name__)
            self.init = reduced(init, self._draw_options(init))
        for number, member in enumerate(self.members()):
            own = None if init is None else concerning(member, init)
            initializable(member, f"members[{number}]").initialize(own)
        if self.shared is not None and self.shared_spec is not None:
            self.shared.copy_(self._drawn(self.shared_spec))
        for i in range(self.conditions.count if self.own_spec is not None else 0):
            self._draw_own(i)

    def init_options(self, init: Init) -> frozenset[str]:
        """The options of `Init` that have an effect in some part."""
        parts = (effective(member, init) for member in self.members())
        return self._draw_options(init).union(*parts)

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

    def _own(self, condition: Condition | None, spec: TargetSpec) -> Weights:
        if condition is None:
            raise ConditionError(f"{listed(spec.names)} belong to conditions: pass condition=")
        ids = self.ids_of(condition)
        flat = self._lookup(OWN, ids)
        return Weights(flat if ids.batched else flat[0], spec)

    def _combined(
        self,
        parts: Sequence[Weights],
        shared: Weights | None,
        own: Weights | None,
        batch: torch.Size,
    ) -> Weights:
        """The target from its parts, all expanded to one batch shape."""
        wide = [
            # Views: expanding copies nothing.
            None if part is None else Weights(part.flat.expand(*batch, -1), part.spec)
            for part in (*parts, shared, own)
        ]
        *members, shared, own = wide
        if self.combine is not None:
            return Weights.of(
                self.target,
                self.combine([part for part in members if part is not None], shared, own),
            )
        return Weights.of(
            self.target,
            {name: tensor for part in wide if part is not None for name, tensor in part.items()},
        )

    def _draw_own(self, condition: int) -> None:
        with torch.no_grad():
            parameter = self.parameters_of(OWN)[condition]
            parameter.copy_(self._drawn(self.own_spec or self.target))

    def _draw_options(self, init: Init) -> frozenset[str]:
        """The options that have an effect on shared and own tensors."""
        return effective_in_draws(init) if self._has_draws else frozenset()

    def _drawn(self, spec: TargetSpec) -> Tensor:
        return drawn_weights(spec, restricted(of_draws(self.init), spec)).flat

    @torch.no_grad()
    def _try_combine(self) -> None:
        """Call `combine` once with zeros, to refuse wrong names and shapes early."""
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
        # A user-supplied function may raise any of these on wrong names or shapes.
        try:
            self._combined(parts, shared, own, torch.Size())
        except (SpecError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise SpecError(f"combine does not give the target: {error}") from error


def _heads_of(member: HyperNetwork, condition: Condition) -> list[LinearHead] | None:
    return member.heads_at(condition) if isinstance(member, HasLinearHeads) else None


def container(
    target: TargetSpec,
    conditions: ConditionSpec,
    *,
    parts: tuple[Part, ...] = (),
    **options: Unpack[InitOption],
) -> Container:
    """Make a `Container` by the names of tensors.

    Args:
        target: The parameters to generate.
        conditions: Number of conditions and sizes of embedding and unconditional input;
            each hypernetwork keeps its own embeddings.
        parts: Where the tensors come from, such as `[{"names": ["*norm*"], "source":
            "shared"}, {"names": ["*"], "source": {"name": "hmlp", "hidden": [50]}}]`.
            An `hmlp` generates tensors that no part names.
        **options: See `InitOption`. It starts all parts but hypernetworks that set
            their own `init`.

    Raises:
        SpecError: A part matches no tensor that earlier ones have left, or an option of
            `init` has no effect.
    """
    init = chosen_options(InitOption, options)["init"]
    wanted_moments(target, init)  # refuses overrides that match nothing
    chosen, left = chosen_parts(target, parts)
    sources: list[tuple[TargetSpec, HypernetChoice | None]] = [
        (spec, source) for spec, source in chosen if isinstance(source, HypernetChoice)
    ]
    if left is not None:
        sources.append((left, None))
    members = [build_inner(source, spec, conditions) for spec, source in sources]
    shared = joined([spec for spec, source in chosen if source == "shared"])
    own = joined([spec for spec, source in chosen if source == OWN])
    drawn = joined([spec for spec in (shared, own) if spec is not None])
    led = [
        member for member, (_, source) in zip(members, sources, strict=True) if not has_init(source)
    ]
    of_draws = frozenset() if drawn is None else effective_in_draws(init)
    refuse_lost_init(target, init, of_draws, led, drawn)
    for member in led:
        concerned = concerning(member, init)
        # With the defaults members keep the start that they were built with.
        if concerned != Init():
            initializable(member, "parts").initialize(concerned)
    return Container(
        target,
        members,
        shared=shared,
        own=own,
        conditions=conditions,
        init=restricted(reduced(init, of_draws), drawn or target),
    )
