"""Trials that a sampler of Optuna's proposes, one after the other, from the results so far.

Needs the extra `optuna`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from hypnet_hpsearch.propose.grid import PlannedTrial, TrialHash, space_of
from hypnet_hpsearch.propose.optuna.components import made_pruner, made_sampler, optuna
from hypnet_hpsearch.propose.optuna.study import Study
from hypnet_hpsearch.spec.grid import Cell
from hypnet_hpsearch.spec.ranges import RangeSpec
from hypnet_hpsearch.spec.spec import SEED, SearchSpec
from hypnet_hpsearch.spec.values import value_of
from hypnet_hpsearch.state.store import Store

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

__all__ = ["AdaptivePlan"]

_PATIENCE = 100


class AdaptivePlan:
    """The trials of a search whose sampler learns: those that there are, and proposals for more.

    It has the same methods as `hypnet_hpsearch.propose.grid.Plan`. Trials are numbered as they
    become known. The sampler runs in the driver's process; after a restart, and beside
    other drivers, it is told all that the ledger knows.

    Args:
        spec: The search.

    Attributes:
        remarks: Nothing: what conditions do is not known beforehand.
        exhausted: Whether the sampler proposes nothing that has not been run.

    Raises:
        ConfigError: The space, the sampler or the pruner is impossible.
        RunError: Optuna is not installed, or the sampler cannot propose a trial.
    """

    def __init__(self, spec: SearchSpec) -> None:
        self.remarks: list[str] = []
        self.exhausted = False
        self._spec = spec
        self._space = space_of(spec)
        self._seeds = tuple(str(seed) for seed in spec.seeds)
        self._keys = (*self._space.keys, *([SEED] if self._seeds else []))
        self._hash = TrialHash(spec, self._keys)
        self._trials: dict[str, PlannedTrial] = {}
        self._told = 0
        self._study: Study | None = None
        self._stuck: tuple[int, int] | None = None
        made_pruner(spec.pruner)
        self.first()  # what cannot work is refused here

    def __len__(self) -> int:
        limit = self._spec.max_trials or 0
        return min(limit, len(self._trials)) if self.exhausted else limit

    def order(self) -> Iterator[int]:
        """The numbers of the trials that are known."""
        return iter(range(min(len(self._trials), self._spec.max_trials or 0)))

    def ids(self) -> Iterator[tuple[int, str]]:
        """The number and the id of each trial that is known."""
        return zip(self.order(), self._trials, strict=False)

    def trial(self, number: int) -> PlannedTrial:
        """The trial with a number."""
        return next(islice(self._trials.values(), number, None))

    def missing(self) -> int:
        """How many trials are still to be proposed."""
        return 0 if self.exhausted else max(0, len(self) - len(self._trials))

    def follow(self, store: Store) -> list[tuple[int, str]]:
        """Take in what has happened; the numbers and ids of trials that were not known before."""
        if self._following(store).exhausted:
            self.exhausted = True
        told, self._told = self._told, len(self._trials)
        return list(islice(enumerate(self._trials), told, None))

    def propose(self, store: Store) -> PlannedTrial | None:
        """A trial that there was not before; `None` if there is none, at least not before another one ends."""
        study = self._following(store)
        trials = store.ledger.trials
        running = (
            len(store.ledger.running) + len(self._trials) - len(trials)
        )  # those just proposed are in no ledger yet
        now = (len(self._trials), running)
        if not self.missing() or now == self._stuck:
            return None
        for _ in range(_PATIENCE):
            number, cell = study.ask()
            trial = self._planned(cell)
            if trial.id not in self._trials:
                self._trials[trial.id] = trial
                study.begin(store, trial.id, number)
                return trial
            study.repeat(trial.id, trials.get(trial.id), number)
        self._stuck = now
        self.exhausted = not running
        return None

    def verdict(self, trial: str) -> tuple[int, float] | None:
        """If the pruner says that a running trial is to end: the latest step that it has reported, and the value."""
        return (
            None if self._study is None or self._spec.pruner is None else self._study.verdict(trial)
        )

    def first(self) -> PlannedTrial:
        """What would be proposed if there were no results."""
        study = Study(
            self._spec, self._space, optuna().storages.InMemoryStorage(), sampler=self._sampler(0)
        )
        return self._planned(study.ask()[1])

    def _planned(self, cell: Cell) -> PlannedTrial:
        whole = (*cell, *self._seeds)
        searched = zip(self._keys, map(value_of, whole), strict=True)
        return PlannedTrial(self._hash(whole), {**self._spec.base, **dict(searched)})

    def _following(self, store: Store) -> Study:
        if self._study is None:
            self._study = Study(
                self._spec,
                self._space,
                optuna().storages.InMemoryStorage(),
                sampler=self._sampler(len(store.ledger.trials)),
                pruner=made_pruner(self._spec.pruner),
            )
        self._study.follow(store)
        for record in store.ledger.trials.values():
            if record.options and record.id not in self._trials:
                self._trials[record.id] = PlannedTrial(record.id, record.options)
        return self._study

    def _sampler(self, begun: int) -> BaseSampler:
        """The sampler; once started again it must not draw the same random numbers again."""
        options = {"name": self._spec.sampler_name, **self._spec.sampler_options}
        seed = random.Random(f"{options.get('seed', 0)}:{begun}").getrandbits(31)  # noqa: S311  nothing secret
        lists = {
            key: domain
            for key, domain in self._space.domains.items()
            if not isinstance(domain, RangeSpec)
        }
        return made_sampler(options, seed=seed, lists=lists)
