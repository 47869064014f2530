"""Trials that a sampler of Optuna proposes one by one, from the results so far.

Needs the extra `optuna`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hypnet_hpsearch.propose.base import AdaptiveProposer
from hypnet_hpsearch.propose.optuna.components import make_pruner, make_sampler, optuna
from hypnet_hpsearch.propose.optuna.study import Study
from hypnet_hpsearch.propose.seeded import seeded
from hypnet_hpsearch.spec.grid import Cell
from hypnet_hpsearch.spec.ranges import RangeSpec
from hypnet_hpsearch.spec.space import Space
from hypnet_hpsearch.spec.spec import SEED, SearchSpec
from hypnet_hpsearch.spec.trials import PlannedTrial, TrialMaker
from hypnet_hpsearch.state.configurations import configuration_id
from hypnet_hpsearch.state.ledger import Changes, TrialState
from hypnet_hpsearch.state.store import Store

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

__all__ = ["OptunaProposer"]

_PATIENCE = 100  # proposals in a row that are known already


class OptunaProposer(AdaptiveProposer):
    """The trials of a search whose sampler learns from results.

    Trials are numbered as they become known. The sampler runs in the driver's process;
    after a restart, and beside other drivers, it is told everything that the ledger
    holds. `remarks` stays empty, because the effect of conditions is not known in
    advance.

    Args:
        spec: The search.

    Attributes:
        exhausted: Whether the sampler proposes only trials that have been run.

    Raises:
        ConfigError: The space, the sampler or the pruner is invalid.
        RunError: Optuna is not installed, or the sampler cannot propose a trial.
    """

    def __init__(self, spec: SearchSpec) -> None:
        self.remarks: list[str] = []
        self.exhausted = False
        self._spec = spec
        self._space = Space.of(spec)
        self._seeds = tuple(str(seed) for seed in spec.seeds)
        keys = (*self._space.keys, *([SEED] if self._seeds else []))
        self._maker = TrialMaker(spec, keys)
        self._trials: dict[str, PlannedTrial] = {}
        self._order: list[PlannedTrial] = []
        self._names: set[str] = set()  # of the configurations that are known
        self._seeds_left: dict[str, deque[PlannedTrial]] = {}  # by the first seed's trial
        self._changes = Changes()
        self._told = 0
        self._study: Study | None = None
        self._stuck: tuple[int, int] | None = None
        # Refuse an impossible pruner or sampler here rather than in the middle of a
        # run.
        make_pruner(spec.pruner)
        self.first()

    def __len__(self) -> int:
        limit = self._spec.max_trials or 0
        return min(limit, len(self._trials)) if self.exhausted else limit

    def order(self) -> Iterator[int]:
        """The numbers of the trials that are known."""
        return iter(range(min(len(self._trials), self._spec.max_trials or 0)))

    def ids(self) -> Iterator[tuple[int, str]]:
        """The number and the id of each trial that is known."""
        return ((number, self._order[number].id) for number in self.order())

    def trial(self, number: int) -> PlannedTrial:
        """The trial with a number."""
        return self._order[number]

    def missing(self) -> int:
        """The number of trials that are still to be proposed."""
        return 0 if self.exhausted else max(0, len(self) - len(self._trials))

    def follow(self, store: Store) -> list[tuple[int, str]]:
        """Tell the study the news; the numbers and ids of trials that are new."""
        if self._following(store).exhausted:
            self.exhausted = True
        told, self._told = self._told, len(self._order)
        return [(number, self._order[number].id) for number in range(told, self._told)]

    def propose(self, store: Store) -> PlannedTrial | None:
        """Ask the sampler for a trial that was not known before."""
        study = self._following(store)
        trial = self._next_seed(store)
        if trial is not None:
            return trial
        # Those just proposed run too, but are in no ledger yet.
        running = len(store.ledger.running) + len(self._trials) - len(store.ledger.trials)
        now = (len(self._trials), running)
        # A sampler that had no new proposal has none until another trial ends.
        if self.missing() <= self._waiting or now == self._stuck:
            return None
        for _ in range(_PATIENCE):
            number, cell = study.ask()
            trial = self._planned(cell)
            name = configuration_id(trial.options, self._spec) or trial.id
            if name not in self._names:
                self._names.add(name)
                study.begin(name, number)
                return self._begun(trial)
            study.repeat(name, number)
        self._stuck = now
        # While trials run, their results may still lead to new proposals.
        self.exhausted = not running and not self._waiting
        return None

    def _begun(self, trial: PlannedTrial) -> PlannedTrial:
        """Begin a configuration with its first seed, and note the others."""
        self._know(trial)
        self._seeds_left[trial.id] = deque(
            other for other in self.repetitions(trial.options) if other.id not in self._trials
        )
        return trial

    def repetitions(self, options: Mapping[str, Any]) -> list[PlannedTrial]:
        """The trials of one configuration."""
        return self._maker.repetitions(options, self._spec.seeds) if self._spec.repeats else []

    @property
    def _waiting(self) -> int:
        """The number of seeds that configurations still need."""
        return sum(map(len, self._seeds_left.values()))

    def _next_seed(self, store: Store) -> PlannedTrial | None:
        """The next seed of a configuration that has begun, if it may run now."""
        if not self.missing():
            return None
        # Worth waiting for only if the first seed may end the configuration.
        waits = self._spec.margin is not None or self._spec.pruner is not None
        for first, left in list(self._seeds_left.items()):
            record = store.ledger.trials.get(first)
            known = [trial for trial in left if trial.id in self._trials]
            for trial in known:  # another driver has begun it, or it was given up
                left.remove(trial)
            if not left:
                del self._seeds_left[first]
            elif not waits or (record is not None and record.state is not TrialState.RUNNING):
                return self._know(left.popleft())
        return None

    def _know(self, trial: PlannedTrial) -> PlannedTrial:
        if trial.id not in self._trials:
            self._trials[trial.id] = trial
            self._order.append(trial)
        return trial

    def verdict(self, store: Store, trial: str) -> tuple[int, float] | None:
        """Ask the pruner about a running trial."""
        if self._study is None or self._spec.pruner is None:
            return None
        found = self._study.configurations.of_trial(trial)
        return None if found is None else self._study.verdict(store, found.id)

    def first(self) -> PlannedTrial:
        """The proposal of the sampler for a search without results."""
        study = Study(
            self._spec, self._space, optuna().storages.InMemoryStorage(), sampler=self._sampler(0)
        )
        return self._planned(study.ask()[1])

    def _planned(self, cell: Cell) -> PlannedTrial:
        return self._maker.trial((*cell, *self._seeds[:1]))

    def _following(self, store: Store) -> Study:
        """The study, brought up to date."""
        if self._study is None:
            self._study = Study(
                self._spec,
                self._space,
                optuna().storages.InMemoryStorage(),
                sampler=self._sampler(len(store.ledger.trials)),
                pruner=make_pruner(self._spec.pruner),
            )
        self._study.follow(store)
        # Trials of other drivers count as known.
        for record in self._changes.news(store.ledger)[0]:
            if record.options and record.id not in self._trials:
                self._adopt(PlannedTrial(record.id, record.options))
        return self._study

    def _adopt(self, trial: PlannedTrial) -> None:
        name = configuration_id(trial.options, self._spec) or trial.id
        self._know(trial)
        if name not in self._names and self._spec.repeats:
            with suppress(KeyError):  # it was begun with other options
                self._begun(trial)
        self._names.add(name)

    def _sampler(self, begun: int) -> BaseSampler:
        """The sampler, with a seed that depends on how many trials were begun.

        After a restart it must not draw the same random numbers again.
        """
        options = {"name": self._spec.sampler_name, **self._spec.sampler_options}
        generator = seeded(f"{options.get('seed', 0)}:{begun}")
        lists = {
            key: domain
            for key, domain in self._space.domains.items()
            if not isinstance(domain, RangeSpec)
        }
        return make_sampler(options, seed=generator.getrandbits(31), lists=lists)
