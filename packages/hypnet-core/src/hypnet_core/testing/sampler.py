"""Checks for samplers.

They draw from a Gaussian of three parameters whose moments are known. Hints: `options`
(options to check it under), `warmup` and `draws` (steps of each chain, 200 each by
default), `chains` (64 by default), `bias` (how far variances may be off, relative; 0 by
default). Samplers that climb to modes (`hypnet_core.protocols.Climbs`) must reach the
mode instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hypnet_core.errors import HypnetError
from hypnet_core.networks import Weights
from hypnet_core.protocols import Adapts, Climbs, Sampler, SamplerState, StepInfo
from hypnet_core.runs.packing import pack, unpack
from hypnet_core.specs import TargetSpec
from hypnet_core.testing.kit import Check, NotApplicableError, Subject, expect

_SPEC = TargetSpec.from_shapes([[2], []], names=["x", "scale"])
_MEAN = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
_COVARIANCE = torch.tensor(
    [[1.0, 0.25, 0.0], [0.25, 0.25, 0.0], [0.0, 0.0, 2.25]], dtype=torch.float64
)
_PRECISION = torch.linalg.inv(_COVARIANCE)
_ERRORS = 5.0
"""Standard errors that a mean may be off: one false alarm in a million."""


def _gaussian(params: Mapping[str, Tensor]) -> Tensor:
    away = torch.cat([params["x"], params["scale"][:, None]], dim=1) - _MEAN
    found: Tensor = -0.5 * ((away @ _PRECISION) * away).sum(dim=1)
    return found


def _sampler(subject: Subject, log_density: Any = _gaussian) -> Sampler:
    options = {**subject.hint("options", {}), **subject.options}
    made: Sampler = subject.build(log_density, **options)
    return made


def _start(chains: int = 4) -> Weights:
    generator = torch.Generator().manual_seed(1)
    return Weights(torch.randn((chains, 3), generator=generator, dtype=torch.float64), _SPEC)


def _steps(
    sampler: Sampler,
    state: SamplerState,
    generator: torch.Generator,
    *,
    warmup: int = 0,
    draws: int = 3,
) -> tuple[list[SamplerState], list[StepInfo]]:
    """States and statistics after each draw."""
    for step in range(warmup):
        if isinstance(sampler, Adapts):
            state, _ = sampler.warm_up(state, generator, step=step, steps=warmup)
        else:
            state, _ = sampler.step(state, generator)
    states, infos = [], []
    for _ in range(draws):
        state, info = sampler.step(state, generator)
        states.append(state)
        infos.append(info)
    return states, infos


def _random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _climbs(sampler: Sampler) -> bool:
    return isinstance(sampler, Climbs) and sampler.climbs


def it_has_the_methods_of_a_sampler(subject: Subject) -> None:
    """It has the methods of the protocol `Sampler`."""
    expect(isinstance(_sampler(subject), Sampler), "it lacks init or step")


def its_chains_start_where_they_are_told(subject: Subject) -> None:
    """The state of `init` has the position and the spec of the start."""
    start = _start()
    state = _sampler(subject).init(start)
    expect(isinstance(state, SamplerState), f"init returns a {type(state).__name__}")
    expect(state.spec == start.spec, "the state has another spec than the start")
    expect(torch.equal(state.position, start.flat), "the position is not the start")


def its_states_have_one_row_per_chain(subject: Subject) -> None:
    """Tensors of chains have one row each, at the start and after a step."""
    sampler = _sampler(subject)
    state = sampler.init(_start())
    states, _ = _steps(sampler, state, _random())
    for found in (state, *states):
        for name, tensor in found.chains.items():
            expect(
                tensor.ndim > 0 and len(tensor) == 4,
                f"{name} of 4 chains has the shape {list(tensor.shape)}",
            )
        expect(
            tuple(found.position.shape) == (4, 3),
            f"the position is {list(found.position.shape)}, expected [4, 3]",
        )


def its_statistics_have_one_entry_per_chain(subject: Subject) -> None:
    """Statistics of a step are tensors `[chains]` of their types and ranges."""
    sampler = _sampler(subject)
    _, infos = _steps(sampler, sampler.init(_start()), _random(), warmup=5)
    types = {"accepted": torch.bool, "divergent": torch.bool}
    types |= {"depth": torch.int64, "gradients": torch.int64}
    for info in infos:
        for name, tensor in info._asdict().items():
            expect(tuple(tensor.shape) == (4,), f"{name} is {list(tensor.shape)}, expected [4]")
            wanted = types.get(name)
            expect(
                tensor.dtype == wanted if wanted else tensor.is_floating_point(),
                f"{name} is of type {tensor.dtype}",
            )
        expect(
            bool(((info.acceptance >= 0) & (info.acceptance <= 1)).all()),
            "an acceptance is not between 0 and 1",
        )
        expect(bool(torch.isfinite(info.energy).all()), "an energy is not finite")


def it_draws_from_a_known_gaussian(subject: Subject) -> None:
    """Means and variances of its draws are those of a Gaussian, within their errors."""
    sampler = _sampler(subject)
    if _climbs(sampler):
        raise NotApplicableError("its chains climb to modes")
    states, _ = _steps(
        sampler,
        sampler.init(_start(subject.hint("chains", 64))),
        _random(2),
        warmup=subject.hint("warmup", 200),
        draws=subject.hint("draws", 200),
    )
    away = torch.stack([state.position for state in states], dim=1) - _MEAN
    bias = float(subject.hint("bias", 0.0))
    variance = _COVARIANCE.diagonal()
    # Chains are independent, so they tell the error of their mean whatever the
    # correlation within them.
    for name, values, wanted, slack in (
        ("mean", away, torch.zeros(3), bias * variance.sqrt()),
        ("variance", away.square(), variance, bias * variance),
    ):
        chains = values.mean(dim=1)
        error = chains.std(dim=0) / len(chains) ** 0.5
        expect(
            bool((error < 0.2 * variance.sqrt().clamp(min=0.5)).all()),
            f"the error of the {name} is {_listed(error)}: the chains hardly move",
        )
        found = chains.mean(dim=0)
        off = (found - wanted).abs() - slack
        expect(
            bool((off <= _ERRORS * error).all()),
            f"the {name} is {_listed(found + (_MEAN if name == 'mean' else 0))}, expected"
            f" {_listed(_MEAN if name == 'mean' else wanted)}, give or take {_listed(error)}",
        )


def it_climbs_to_the_mode(subject: Subject) -> None:
    """Chains of a sampler that climbs end at the mode of a Gaussian."""
    sampler = _sampler(subject)
    if not _climbs(sampler):
        raise NotApplicableError("its chains explore the distribution")
    states, _ = _steps(
        sampler, sampler.init(_start()), _random(), warmup=subject.hint("warmup", 200), draws=1
    )
    off = float((states[-1].position - _MEAN).abs().max())
    expect(off < 0.05, f"the chains end {off:.3g} away from the mode")


def a_step_leaves_its_state_alone(subject: Subject) -> None:
    """A state is a value: steps make new ones, and the old one can be used again."""
    sampler = _sampler(subject)
    state = sampler.init(_start())
    before = _frozen(state)
    first, _ = _steps(sampler, state, _random())
    _expect_equal(before, _frozen(state), "a step changes the state that it was given")
    second, _ = _steps(sampler, state, _random())
    _expect_equal(
        _frozen(first[-1]), _frozen(second[-1]), "the same state and seed give other draws"
    )


def its_randomness_is_that_of_the_generator(subject: Subject) -> None:
    """Draws depend on the generator alone, and torch's global one is not touched."""
    sampler = _sampler(subject)
    ends = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            states, _ = _steps(sampler, sampler.init(_start()), _random(), warmup=3)
            expect(torch.equal(before, torch.get_rng_state()), "it uses torch's global generator")
            ends.append(states[-1].position)
    expect(torch.equal(*ends), "its draws depend on something else than the generator")


def it_continues_from_a_saved_state(subject: Subject) -> None:
    """Saved and loaded, in the warm-up or after it, chains go on to the same draws."""
    for warmup in (10, 0):
        sampler, generator = _sampler(subject), _random(3)
        state = sampler.init(_start())
        for step in range(5):
            if warmup and isinstance(sampler, Adapts):
                state, _ = sampler.warm_up(state, generator, step=step, steps=warmup)
            else:
                state, _ = sampler.step(state, generator)
        random = generator.get_state()
        tensors, rest = _frozen(state)
        loaded = unpack(tensors, rest)
        again = SamplerState(state.spec, loaded["chains"], loaded["shared"])
        ends = []
        for one, begin in ((sampler, state), (_sampler(subject), again)):
            generator.set_state(random)
            here = begin
            for step in range(5, 10):
                if warmup and isinstance(one, Adapts):
                    here, _ = one.warm_up(here, generator, step=step, steps=warmup)
                else:
                    here, _ = one.step(here, generator)
            ends.append(_frozen(here))
        _expect_equal(ends[0], ends[1], "a loaded state goes on to other draws")


def some_chains_go_on_without_the_others(subject: Subject) -> None:
    """The state of some of the chains can be continued."""
    sampler = _sampler(subject)
    states, _ = _steps(sampler, sampler.init(_start()), _random(), warmup=5)
    states, _ = _steps(sampler, states[-1].select([0, 3]), _random())
    expect(
        tuple(states[-1].position.shape) == (2, 3),
        f"2 of 4 chains go on as {list(states[-1].position.shape)}, expected [2, 3]",
    )


def a_constant_does_not_matter(subject: Subject) -> None:
    """A constant in the log density leaves the draws as they are."""
    ends = []
    for constant in (0.0, -200.0):
        sampler = _sampler(subject, lambda params, c=constant: _gaussian(params) + c)
        states, _ = _steps(sampler, sampler.init(_start()), _random(), warmup=5, draws=10)
        ends.append(states[-1].position)
    expect(
        torch.allclose(ends[0], ends[1], atol=1e-6),
        f"draws of a log density and of the same less 200 differ by"
        f" {float((ends[0] - ends[1]).abs().max()):.3g}",
    )


def impossible_densities_are_named(subject: Subject) -> None:
    """Log densities of a wrong shape, or NaN at the start, are refused by name."""

    def whole(params: Mapping[str, Tensor]) -> Tensor:
        return _gaussian(params).sum()

    def root(params: Mapping[str, Tensor]) -> Tensor:
        return _gaussian(params) + (params["scale"] - 100.0).log()

    for log_density, word in ((whole, "shape"), (root, "scale")):
        try:
            _sampler(subject, log_density).init(_start())
        except HypnetError as error:
            expect(word in str(error), f"the error does not say {word!r}: {error}")
        else:
            raise AssertionError(f"a log density with a wrong {word} was accepted")


def _listed(values: Tensor) -> str:
    return "[" + ", ".join(f"{value:.3g}" for value in values.tolist()) + "]"


def _frozen(state: SamplerState) -> tuple[dict[str, Tensor], Any]:
    whole = {"chains": dict(state.chains), "shared": dict(state.shared)}
    tensors, rest = pack("state", whole)
    return {name: tensor.clone() for name, tensor in tensors.items()}, rest


def _expect_equal(before: Any, after: Any, story: str) -> None:
    expect(before[1] == after[1] and before[0].keys() == after[0].keys(), story)
    changed = [name for name, one in before[0].items() if not torch.equal(one, after[0][name])]
    expect(not changed, f"{story}: {', '.join(changed[:3])}")


CHECKS: tuple[Check, ...] = (
    it_has_the_methods_of_a_sampler,
    its_chains_start_where_they_are_told,
    its_states_have_one_row_per_chain,
    its_statistics_have_one_entry_per_chain,
    it_draws_from_a_known_gaussian,
    it_climbs_to_the_mode,
    a_step_leaves_its_state_alone,
    its_randomness_is_that_of_the_generator,
    it_continues_from_a_saved_state,
    some_chains_go_on_without_the_others,
    a_constant_does_not_matter,
    impossible_densities_are_named,
)
