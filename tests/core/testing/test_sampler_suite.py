"""The conformance suite of samplers: it accepts right ones and finds faults."""

from __future__ import annotations

import sys
from inspect import cleandoc
from pathlib import Path
from textwrap import dedent

import pytest

from hypnet_core.plugins.component import Component
from hypnet_core.plugins.registry import Entry
from hypnet_core.protocols import Sampler
from hypnet_core.testing.kit import Outcome, run_checks
from hypnet_core.testing.sampler import CHECKS

IN_DOCSTRING = cleandoc(Sampler.__doc__ or "").partition("```python\n")[2].partition("```")[0]
"""The whole sampler that the protocol's docstring holds, without its checks."""

FAULTY = dedent('''
    def checked(sampler, start):
        state = sampler.init(start)
        found = state.chains["log_density"]
        if found.shape != (len(state.position),):
            raise SamplingError(f"the shape is {list(found.shape)}")
        if not torch.isfinite(found).all():
            raise SamplingError("not finite because of scale")
        return state


    class Good(RandomWalk):
        """The one of the docstring, which looks at its density."""

        def init(self, start):
            return checked(super(), start)


    class NoStep:
        def __init__(self, log_density): ...
        def init(self, start): ...


    class Elsewhere(Good):
        def init(self, start):
            state = super().init(start)
            return SamplerState(state.spec, {**state.chains, "position": state.position + 1})


    class Flat(Good):
        def init(self, start):
            state = super().init(start)
            return SamplerState(state.spec, {**state.chains, "time": torch.zeros(())})

        def step(self, state, generator):
            new, info = super().step(state, generator)
            return SamplerState(state.spec, {**new.chains, "time": torch.zeros(())}), info


    class Mean(Good):
        def step(self, state, generator):
            new, info = super().step(state, generator)
            return new, info._replace(acceptance=info.acceptance.mean())


    class AcceptsAll(Good):
        """Takes worse places as readily as better ones, and drifts away."""

        def step(self, state, generator):
            new, info = super().step(state, generator)
            noise = torch.randn(new.position.shape, generator=generator, dtype=torch.float64)
            moved = new.position + 0.5 * noise
            found = self.log_density(Weights(moved, state.spec)).detach()
            return SamplerState(state.spec, {"position": moved, "log_density": found}), info


    class Greedy(Good):
        """Never accepts what is worse."""

        def step(self, state, generator):
            new, info = super().step(state, generator)
            worse = new.chains["log_density"] < state.chains["log_density"]
            chains = {
                "position": torch.where(worse[:, None], state.position, new.position),
                "log_density": torch.maximum(
                    new.chains["log_density"], state.chains["log_density"]
                ),
            }
            return SamplerState(state.spec, chains), info


    class Still(Good):
        def step(self, state, generator):
            return state, super().step(state, generator)[1]


    class InPlace(Good):
        def step(self, state, generator):
            new, info = super().step(state, generator)
            state.position.copy_(new.position)
            return new, info


    class Global(Good):
        def step(self, state, generator):
            torch.rand(())
            return super().step(state, generator)


    class Remembers(Good):
        """Its step depends on something that is not in its state."""

        steps = 0

        def step(self, state, generator):
            self.steps += 1
            self.std = 1.0 + 0.1 * self.steps
            return super().step(state, generator)


    class Four(Good):
        def step(self, state, generator):
            new, info = super().step(state, generator)
            rows = {name: t.expand(4, *t.shape[1:]) if len(t) == 1 else torch.cat([t, t])[:4]
                    for name, t in new.chains.items()} if len(state.position) < 4 else new.chains
            return SamplerState(state.spec, rows), info


    class Underflows(Good):
        """Compares densities, not their logarithms."""

        def step(self, state, generator):
            new, info = super().step(state, generator)
            gone = new.chains["log_density"].exp() < 1e-60
            chains = {
                name: torch.where(gone[:, None] if t.ndim > 1 else gone, state.chains[name], t)
                for name, t in new.chains.items()
            }
            return SamplerState(state.spec, chains), info


    class Silent(RandomWalk):
        """Starts anywhere."""


    class Climbing(Good):
        climbs = True
''')


def failed(name: str) -> set[str]:
    component = Component.sampler("s", f"samplers_kit:{name}", "A sampler.")
    entry = Entry(component, "kit", "kit-dist", "1")
    return {
        result.check
        for result in run_checks(entry, checks=CHECKS)
        if result.outcome is Outcome.FAILED
    }


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "samplers_kit", raising=False)
    (tmp_path / "samplers_kit.py").write_text(
        f"import torch\nfrom hypnet_core.errors import SamplingError\n{IN_DOCSTRING}\n{FAULTY}"
    )
    monkeypatch.syspath_prepend(tmp_path)


def test_a_right_sampler_passes() -> None:
    """It is the one in the docstring of the protocol."""
    assert failed("Good") == set()


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("NoStep", "it_has_the_methods_of_a_sampler"),
        ("Elsewhere", "its_chains_start_where_they_are_told"),
        ("Flat", "its_states_have_one_row_per_chain"),
        ("Mean", "its_statistics_have_one_entry_per_chain"),
        ("AcceptsAll", "it_draws_from_a_known_gaussian"),
        ("Greedy", "it_draws_from_a_known_gaussian"),
        ("Still", "it_draws_from_a_known_gaussian"),
        ("Climbing", "it_climbs_to_the_mode"),
        ("InPlace", "a_step_leaves_its_state_alone"),
        ("Global", "its_randomness_is_that_of_the_generator"),
        ("Remembers", "it_continues_from_a_saved_state"),
        ("Four", "some_chains_go_on_without_the_others"),
        ("Underflows", "a_constant_does_not_matter"),
        ("Silent", "impossible_densities_are_named"),
    ],
)
def test_a_fault_is_found(name: str, check: str) -> None:
    assert check in failed(name)
