"""Checks for hypernetworks.

Hints: `shapes` (the target's shapes, `[[6, 4], [6], [3, 6], [3]]` by default),
`conditions` (a `ConditionSpec` to build with, three conditions of size 4 by default)
and `options` (options that make a large network smaller for the checks).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hypnet_core.errors import ConditionError
from hypnet_core.networks.main_network import MainNetwork
from hypnet_core.networks.weights import weights_of
from hypnet_core.protocols import GroupsParameters, HyperNetworkLike, Initialized
from hypnet_core.specs import ConditionSpec, TargetSpec
from hypnet_core.testing.kit import Check, NotApplicableError, Subject, expect

_SHAPES = [[6, 4], [6], [3, 6], [3]]


def _build(subject: Subject) -> HyperNetworkLike:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        target = TargetSpec.from_shapes(subject.hint("shapes", _SHAPES))
        options = {**subject.hint("options", {}), **subject.options}
        conditions = subject.hint("conditions", ConditionSpec(count=3, size=4))
        built: HyperNetworkLike = subject.build(target, conditions, **options)
        return built


def _module(subject: Subject) -> torch.nn.Module:
    hypernet = _build(subject)
    if not isinstance(hypernet, torch.nn.Module):
        raise NotApplicableError("it is not an nn.Module")
    return hypernet


def _uncond(hypernet: HyperNetworkLike) -> dict[str, Tensor]:
    size = hypernet.conditions.input_size
    return {"uncond_input": torch.linspace(-1, 1, size)} if size else {}


def it_fulfils_the_protocol(subject: Subject) -> None:
    """It has a target, conditions, and the methods of `HyperNetworkLike`."""
    hypernet = _build(subject)
    expect(
        isinstance(hypernet, HyperNetworkLike),
        f"{type(hypernet).__name__} does not fulfil hypnet_core.protocols.HyperNetworkLike",
    )


def it_generates_the_target(subject: Subject) -> None:
    """An id gives all tensors of the target, finite; a batch of ids gives a batch."""
    hypernet = _build(subject)
    one = hypernet(0, **_uncond(hypernet))
    for param in hypernet.target.params:
        expect(
            tuple(one[param.name].shape) == param.shape,
            f"{param.name} has shape {list(one[param.name].shape)}, expected {list(param.shape)}",
        )
    expect(bool(torch.isfinite(one.flat).all()), "generated weights are not finite")
    ids = list(range(hypernet.conditions.count))
    expect(
        tuple(hypernet(ids, **_uncond(hypernet)).batch_shape) == (len(ids),),
        "a batch of ids does not give a batch of weights",
    )
    expect(
        tuple(hypernet([0], **_uncond(hypernet)).batch_shape) == (1,),
        "a batch of one id does not give a batch of one",
    )


def its_weights_know_their_conditions(subject: Subject) -> None:
    """Generated weights carry the ids of their conditions."""
    hypernet = _build(subject)
    last = hypernet.conditions.count - 1
    for condition, ids in ((last, (last,)), ([last, 0], (last, 0))):
        known = hypernet(condition, **_uncond(hypernet)).conditions
        expect(known == ids, f"weights of condition {condition} say that they are of {known}")


def only_whole_numbers_are_ids(subject: Subject) -> None:
    """Booleans, text, fractions and negative numbers are refused as ids, by name."""
    hypernet = _build(subject)
    wrong: list[Any] = [True, "1", 0.0, -1, [True], ["1"], [0.0], [0, -1]]
    for condition in wrong:
        try:
            hypernet(condition, **_uncond(hypernet))
        except ConditionError as error:
            named = condition[-1] if isinstance(condition, list) else condition
            expect(repr(named) in str(error), f"the error does not name {named!r}: {error}")
        else:
            raise AssertionError(f"the id {condition!r} was accepted")


def a_batch_of_conditions_equals_one_by_one(subject: Subject) -> None:
    """In evaluation, a condition's weights do not depend on others in the batch."""
    hypernet = _build(subject)
    if isinstance(hypernet, torch.nn.Module):
        hypernet.eval()
    ids = [*range(hypernet.conditions.count), 0]
    expected = torch.stack([hypernet(i, **_uncond(hypernet)).flat for i in ids]).detach()
    error = float((hypernet(ids, **_uncond(hypernet)).flat.detach() - expected).abs().max())
    expect(error < 1e-4 * float(expected.abs().max()) + 1e-6, f"the batch differs by {error:.1e}")


def conditions_differ(subject: Subject) -> None:
    """Different conditions give different weights, at least after a training step."""
    hypernet = _build(subject)
    if hypernet.conditions.count < 2 or not hypernet.conditional_parameters():
        raise NotApplicableError("it has fewer than two conditions with parameters of their own")
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        flat = hypernet([0, 1], **_uncond(hypernet)).flat
        if not torch.equal(flat[0], flat[1]):
            return
        # A start at zero, or with all conditions alike, has to be left first.
        with torch.no_grad():
            for p in hypernet.unconditional_parameters():
                p.add_(0.1 * torch.randn(p.shape, generator=generator))
    raise AssertionError("conditions 0 and 1 give the same weights")


def a_gradient_reaches_every_parameter_of_the_condition_and_no_other_condition(
    subject: Subject,
) -> None:
    """A gradient reaches the condition's own and all unconditional parameters alone."""
    hypernet = _build(subject)
    count = hypernet.conditions.count
    # In training mode batch norms need more than one row, so the condition comes twice.
    weights = hypernet([0, 0], **_uncond(hypernet))
    weights.flat.square().sum().backward()
    missing = [
        p
        for p in (*hypernet.unconditional_parameters(), *hypernet.conditional_parameters(0))
        if p.requires_grad and p.grad is None
    ]
    expect(
        not missing,
        f"no gradient reaches {len(missing)} parameters, of shapes"
        f" {[list(p.shape) for p in missing]}",
    )
    others = [p for i in range(1, count) for p in hypernet.conditional_parameters(i)]
    expect(
        all(p.grad is None for p in others),
        "a loss of condition 0 has gradients for another condition's parameters",
    )


def its_parameters_are_conditional_or_unconditional(subject: Subject) -> None:
    """Every parameter is either conditional or unconditional."""
    hypernet = _module(subject)
    if not isinstance(hypernet, HyperNetworkLike):
        raise NotApplicableError("it does not fulfil the protocol")
    conditional = {id(p) for p in hypernet.conditional_parameters()}
    unconditional = {id(p) for p in hypernet.unconditional_parameters()}
    expect(not conditional & unconditional, "some parameters are listed as both")
    expect(
        conditional | unconditional == {id(p) for p in hypernet.parameters()},
        "some parameters are listed as neither",
    )
    own = {
        id(p) for i in range(hypernet.conditions.count) for p in hypernet.conditional_parameters(i)
    }
    expect(
        own == conditional,
        "the parameters of the conditions are not, together, the conditional parameters",
    )


def a_condition_can_be_added(subject: Subject) -> None:
    """`add_condition` gives the next id and leaves the other conditions unchanged."""
    hypernet = _build(subject)
    if isinstance(hypernet, torch.nn.Module):
        hypernet.eval()
    before = hypernet(0, **_uncond(hypernet)).flat.detach()
    count = hypernet.conditions.count
    new = hypernet.add_condition()
    expect(new == count, f"the new condition's id is {new}, expected {count}")
    expect(
        hypernet.conditions.count == count + 1,
        f"conditions.count is {hypernet.conditions.count}, expected {count + 1}",
    )
    hypernet(new, **_uncond(hypernet))
    expect(
        torch.equal(hypernet(0, **_uncond(hypernet)).flat, before),
        "the weights of condition 0 changed",
    )


def conditions_out_of_range_are_refused(subject: Subject) -> None:
    """A condition that does not exist raises `ConditionError`."""
    hypernet = _build(subject)
    for condition in (hypernet.conditions.count, -1):
        try:
            hypernet(condition, **_uncond(hypernet))
        except ConditionError:
            continue
        raise AssertionError(
            f"condition {condition} was accepted; there are {hypernet.conditions.count}"
        )


def its_groups_of_parameters_are_true(subject: Subject) -> None:
    """`parameter_groups` names the conditional and the unconditional parameters."""
    hypernet = _module(subject)
    if not isinstance(hypernet, GroupsParameters) or not isinstance(hypernet, HyperNetworkLike):
        raise NotApplicableError("it does not group its parameters")
    groups, parameters = hypernet.parameter_groups(), dict(hypernet.named_parameters())
    for name, owned in (
        ("conditional", hypernet.conditional_parameters()),
        ("unconditional", hypernet.unconditional_parameters()),
    ):
        named = {id(parameters[key]) for key in groups[name]}
        expect(named == set(map(id, owned)), f"the group {name!r} names other parameters")


def it_says_how_its_tensors_start(subject: Subject) -> None:
    """Where it declares moments at the start, there is one entry per tensor."""
    hypernet = _build(subject)
    if not isinstance(hypernet, Initialized) or not hypernet.starts:
        raise NotApplicableError("it does not say how its tensors start")
    expect(
        len(hypernet.starts) == len(hypernet.target),
        f"{len(hypernet.starts)} starts are declared for {len(hypernet.target)} tensors",
    )
    expect(min(start.mean_square for start in hypernet.starts) >= 0, "a mean square is negative")


def its_state_can_be_saved_and_loaded(subject: Subject) -> None:
    """A hypernetwork with the same `state_dict` generates the same weights."""
    first, second = _module(subject).eval(), _module(subject).eval()
    with torch.no_grad():
        for p in first.parameters():
            p.add_(0.1)
    second.load_state_dict(first.state_dict())
    inputs = _uncond(_build(subject))
    expect(
        torch.equal(first(0, **inputs).flat, second(0, **inputs).flat),
        "the weights differ after loading",
    )


def its_parameters_may_come_from_outside(subject: Subject) -> None:
    """With its unconditional parameters from outside it generates the same weights."""
    hypernet = _module(subject).eval()
    inputs = _uncond(_build(subject))
    expected = hypernet(0, **inputs).flat.detach()
    theta = weights_of(hypernet)
    wrapped = MainNetwork(hypernet, generate="unconditional").eval()
    actual = wrapped(0, weights=theta.select(wrapped.target), **inputs).flat
    expect(
        torch.allclose(actual, expected, atol=1e-6),
        "the weights differ when its own parameters come from outside",
    )


CHECKS: tuple[Check, ...] = (
    it_fulfils_the_protocol,
    it_generates_the_target,
    its_weights_know_their_conditions,
    only_whole_numbers_are_ids,
    a_batch_of_conditions_equals_one_by_one,
    conditions_differ,
    a_gradient_reaches_every_parameter_of_the_condition_and_no_other_condition,
    its_parameters_are_conditional_or_unconditional,
    its_groups_of_parameters_are_true,
    it_says_how_its_tensors_start,
    a_condition_can_be_added,
    conditions_out_of_range_are_refused,
    its_state_can_be_saved_and_loaded,
    its_parameters_may_come_from_outside,
)
