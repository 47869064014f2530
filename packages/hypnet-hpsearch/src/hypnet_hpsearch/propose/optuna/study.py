"""A search as a study of Optuna, rebuilt from the ledger and kept in step with it.

Needs the extra `optuna`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from hypnet_core.errors import RunError
from hypnet_hpsearch._text import error_in_one_line
from hypnet_hpsearch.propose.optuna.components import optuna
from hypnet_hpsearch.spec.grid import Cell
from hypnet_hpsearch.spec.ranges import RangeSpec
from hypnet_hpsearch.spec.space import Domain, Space, key_of
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.spec.values import argument_text, text_of, value_of
from hypnet_hpsearch.state.attempts import reports_of
from hypnet_hpsearch.state.configurations import Configuration, Configurations
from hypnet_hpsearch.state.ledger import Changes, TrialRecord, TrialState
from hypnet_hpsearch.state.pareto import number_in, violations_of
from hypnet_hpsearch.state.store import Store
from hypnet_hpsearch.trial.reports import Reports

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial

__all__ = ["Study"]


@dataclass
class _Known:
    """The study's knowledge of a configuration: its latest attempt.

    The reports are those of its trials, `values` the value of each at each step.
    """

    attempt: int
    number: int
    reports: dict[str, Reports] = field(default_factory=dict)
    values: dict[int, dict[str, float]] = field(default_factory=dict)
    settled: bool = False
    twins: list[int] = field(default_factory=list)


class Study:
    """The configurations of a search as a study of Optuna.

    The ledger is the source of truth, and the study is derived from it: bringing it up
    to date costs as much as what has changed. A failed attempt is a failed trial of the
    study; the next attempt is another one with the same parameters. The intermediate
    value of a configuration with several seeds is the mean of those seeds that have
    reported at the step.

    Args:
        spec: The search.
        space: The space of its sampler.
        storage: Storage of the study.
        sampler: Proposes trials; may be `None` if nobody asks for proposals.
        pruner: Ends trials early; may be `None` if nobody asks for verdicts.

    Attributes:
        exhausted: Whether the sampler has nothing more to propose.
        configurations: The configurations of the search.
    """

    def __init__(
        self,
        spec: SearchSpec,
        space: Space,
        storage: BaseStorage,
        *,
        sampler: BaseSampler | None = None,
        pruner: BasePruner | None = None,
    ) -> None:
        self._spec, self._space, self._storage = spec, space, storage
        self._study = optuna().create_study(
            storage=storage,
            study_name=spec.name,
            directions=[direction for _, direction in spec.objectives],
            sampler=sampler,
            pruner=pruner,
            load_if_exists=True,
        )
        self._id = storage.get_study_id_from_name(spec.name)
        self._known: dict[str, _Known] = {}
        self._open: dict[str, Configuration] = {}  # those that have not ended
        self._changes = Changes()
        self.exhausted = False
        self.configurations = Configurations(spec)

    def ask(self) -> tuple[int, Cell]:
        """Ask the sampler for a proposal.

        Returns:
            Its number in the study, and the configuration.

        Raises:
            RunError: The sampler fails, because it does not support such a space or a
                package is missing.
        """
        try:
            with _quiet():
                trial = self._study.ask()
                return trial.number, self._space.sample(partial(_suggested, trial))
        except Exception as error:  # a sampler may raise anything
            raise RunError(
                f"the sampler {self._spec.sampler_name!r} cannot propose a trial:"
                f" {error_in_one_line(error)}"
            ) from error

    def begin(self, name: str, number: int) -> None:
        """A proposal has become a configuration; its id is `name`."""
        self._known[name] = _Known(1, number)

    def adopt(self) -> None:
        """Recognise the trials that an earlier process has written to the storage.

        Raises:
            KeyError: Another program has written them.
        """
        for frozen in self._study.get_trials(deepcopy=False):
            name, attempt = str(frozen.user_attrs["trial"]), int(frozen.user_attrs["attempt"])
            self._known[name] = _Known(attempt, frozen.number, settled=frozen.state.is_finished())

    def repeat(self, name: str, number: int) -> None:
        """Handle a proposal that equals a known configuration and shares its result."""
        known, found = self._known.get(name), self.configurations.get(name)
        if known is not None and not known.settled:
            known.twins.append(number)
        elif found is not None:
            self._settle(found.record(self._spec), number)

    def follow(self, store: Store, most: int | None = None) -> bool:
        """Bring the study in step with the ledger.

        Args:
            store: The search.
            most: The number of changes to take in at most.

        Returns:
            Whether there are more changes.
        """
        changed = {}
        records, more = self._changes.news(store.ledger, most)
        for record in records:
            found = self.configurations.add(record)
            changed[found.id] = found
        for found in [*changed.values(), *self._open.values()]:
            self._follow(store, found)
        return more

    def _follow(self, store: Store, found: Configuration) -> None:
        known = self._known.get(found.id)
        attempt = max(record.attempt for record in found.trials.values())
        if known is not None and known.settled and known.attempt == attempt:
            return
        if known is None or known.attempt < attempt:
            if known is not None and not known.settled:
                # A newer attempt exists, so this one has failed or was lost.
                self._tell(known.number, state=optuna().trial.TrialState.FAIL)
            known = self._joined(found, attempt, known)
        if known is None:
            return
        self._open[found.id] = found
        self._take_reports(store, found, known)
        record = found.record(self._spec)
        begun = not self._spec.repeats or all(seed in found.trials for seed in self._spec.seeds)
        if record.state is not TrialState.RUNNING and (begun or record.state is TrialState.PRUNED):
            self._end(record, known)
            del self._open[found.id]

    def _joined(self, found: Configuration, attempt: int, before: _Known | None) -> _Known | None:
        """Add a configuration that another process has begun, or another attempt."""
        parameters = self._parameters(found.options)
        if parameters is None:
            return None
        for number in range(1 if before is None else before.attempt + 1, attempt + 1):
            self._add(found.id, number, parameters, "RUNNING" if number == attempt else "FAIL")
        number = self._storage.get_n_trials(self._id) - 1
        twins = [] if before is None else before.twins
        self._known[found.id] = _Known(attempt, number, twins=twins)
        return self._known[found.id]

    def _add(
        self, name: str, attempt: int, parameters: Mapping[str, tuple[Any, Any]], state: str
    ) -> None:
        template = optuna().trial.create_trial(
            state=optuna().trial.TrialState[state],
            params={name: value for name, (value, _) in parameters.items()},
            distributions={name: distribution for name, (_, distribution) in parameters.items()},
            user_attrs={"trial": name, "attempt": attempt},
        )
        self._study.add_trial(template)

    def _parameters(self, options: Mapping[str, Any]) -> dict[str, tuple[Any, Any]] | None:
        """The parameters of a trial with these options; `None` if there are none.

        The search may have had another space when the trial was begun.
        """
        distributions = optuna().distributions
        found: dict[str, tuple[Any, Any]] = {}

        def choose(name: str, domain: Domain) -> str:
            value = options[key_of(name)]
            text = text_of(value, name)
            if not isinstance(domain, RangeSpec):
                labels = _labels(domain)
                found[name] = (
                    labels[domain.index(text)],
                    distributions.CategoricalDistribution(labels),
                )
                return text
            kind = (
                distributions.IntDistribution if domain.integer else distributions.FloatDistribution
            )
            keywords = {"step": domain.step} if domain.step is not None else {}
            found[name] = value, kind(domain.low, domain.high, log=domain.log, **keywords)
            return text

        try:
            with _quiet():
                cell = self._space.sample(choose)
        except (KeyError, ValueError):
            return None
        same = all(
            text_of(options.get(key), key) == text
            for key, text in zip(self._space.keys, cell, strict=True)
        )
        return found if same and _fits(found) else None

    def _take_reports(self, store: Store, found: Configuration, known: _Known) -> None:
        news: dict[int, float] = {}
        for record in found.trials.values():
            if record.id not in known.reports:
                attempt = store.latest(record)
                known.reports[record.id] = reports_of(attempt, self._spec)
            for step, value in known.reports[record.id].news():
                values = known.values.setdefault(step, {})
                values[record.id] = value
                news[step] = math.fsum(values.values()) / len(values)
        if news:
            identity = self._storage.get_trial_id_from_study_id_trial_number(self._id, known.number)
            for step, value in news.items():
                self._storage.set_trial_intermediate_value(identity, step, value)

    def _end(self, record: TrialRecord, known: _Known) -> None:
        known.settled = True
        for number in (known.number, *known.twins):
            self._settle(record, number)
        known.twins = []

    def _settle(self, record: TrialRecord, number: int) -> None:
        states = optuna().trial.TrialState
        if record.state is TrialState.PRUNED:
            self._tell(number, state=states.PRUNED)
            return
        values = [number_in(record, self._spec, name) for name, _ in self._spec.objectives]
        violations = violations_of(record, self._spec)
        if (
            record.state is not TrialState.DONE
            or violations is None
            or any(value is None or math.isnan(value) for value in values)
        ):
            self._tell(number, state=states.FAIL)
            return
        identity = self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
        trial = optuna().trial.Trial(self._study, identity)
        for text, violation in violations.items():
            trial.set_constraint(text, violation)
        self._tell(number, values=values)

    def _tell(self, number: int, **outcome: Any) -> None:
        try:
            with _quiet():
                self._study.tell(number, **outcome, skip_if_finished=True)
        except RuntimeError:
            # A sampler that has covered its whole space tries to stop the study, which
            # Optuna allows only within `optimize`.
            self.exhausted = True

    def verdict(self, store: Store, name: str) -> tuple[int, float] | None:
        """Ask the pruner about a running configuration.

        Returns:
            The step and the value of the last report if it should end; `None` if it
            should go on.
        """
        known, found = self._known.get(name), self._open.get(name)
        if known is None or known.settled or found is None:
            return None
        self._take_reports(store, found, known)
        frozen = self._frozen(known.number)
        step = frozen.last_step
        if step is None:
            return None
        with _quiet():
            # The pruner is asked directly, because the trial runs in another process.
            ends = self._study.pruner.prune(self._study, frozen)
        return (step, frozen.intermediate_values[step]) if ends else None

    def importances(self, method: str) -> dict[str, float]:
        """The importance of each option for the first objective, the largest first.

        Args:
            method: `ped_anova` or `fanova`.

        Returns:
            The importances; none if there are too few results.

        Raises:
            RunError: A package is missing.
        """
        module = optuna().importance
        sign = -1 if self._spec.direction == "maximize" else 1
        try:
            with _quiet():
                evaluator = (
                    module.FanovaImportanceEvaluator(seed=0)
                    if method == "fanova"
                    else module.PedAnovaImportanceEvaluator()
                )
                found: dict[str, float] = module.get_param_importances(
                    self._study,
                    evaluator=evaluator,
                    # Small is good to PED-ANOVA.
                    target=lambda trial: sign * trial.values[0],
                )
        except ImportError as error:
            raise RunError(
                f"{method} needs a package that is not installed: {error_in_one_line(error)}"
            ) from None
        except (ValueError, RuntimeError):  # there are too few trials
            return {}
        return {name: float(value) for name, value in found.items()}

    def _frozen(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(
            self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
        )


def _fits(parameters: Mapping[str, tuple[Any, Any]]) -> bool:
    """Whether each value lies in its distribution."""
    try:
        optuna().trial.create_trial(
            value=0.0,
            params={name: value for name, (value, _) in parameters.items()},
            distributions={name: distribution for name, (_, distribution) in parameters.items()},
        )
    except ValueError:
        return False
    return True


def _suggested(trial: Trial, name: str, domain: Domain) -> str:
    if not isinstance(domain, RangeSpec):
        labels = _labels(domain)
        return domain[labels.index(trial.suggest_categorical(name, labels))]
    suggest: Any = trial.suggest_int if domain.integer else trial.suggest_float
    step = {} if domain.step is None else {"step": domain.step}
    value = suggest(name, domain.low, domain.high, log=domain.log, **step)
    return text_of(domain.nearest(value), name)


def _labels(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Optuna's names of values: their text, or their JSON if that is ambiguous."""
    plain = tuple(argument_text(value_of(text)) for text in texts)
    return plain if len(set(plain)) == len(plain) else texts


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Optuna's warnings, which are about its own defaults."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
