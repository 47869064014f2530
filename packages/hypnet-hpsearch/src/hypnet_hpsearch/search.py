"""Searches from Python; the command `hypnet search` is a thin layer above."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from hypnet_core.errors import ConfigError, RunError, SchedulerError
from hypnet_core.plugins import Kind, registry
from hypnet_core.protocols import BatchScheduler, Scheduler
from hypnet_core.runs import Script
from hypnet_hpsearch.execution.display import Silent
from hypnet_hpsearch.execution.driver import Driver
from hypnet_hpsearch.execution.jobs import job_of
from hypnet_hpsearch.execution.observers import Progress, Watcher
from hypnet_hpsearch.propose.grid import Plan, PlannedTrial
from hypnet_hpsearch.results.table import (
    ResultsFile,
    SearchStatus,
    TrialResult,
    best_of,
    results_of,
    status_of,
)
from hypnet_hpsearch.spec.command import check_command, command_line
from hypnet_hpsearch.spec.spec import SearchSpec, load_spec
from hypnet_hpsearch.state.attempts import Attempt
from hypnet_hpsearch.state.ledger import TrialRecord, TrialState
from hypnet_hpsearch.state.store import Store

if TYPE_CHECKING:
    from hypnet_hpsearch.propose.optuna.dashboard import StudyFile
    from hypnet_hpsearch.propose.optuna.proposer import AdaptivePlan

__all__ = ["Search", "scheduler_of"]


class Search:
    """A search: its trials, and what came of them.

    Args:
        spec: What is searched.
        directory: Where everything about it is kept; `searches/NAME` if `None`.

    Attributes:
        spec: The search.
        directory: Its directory.
        plan: Its trials.

    Raises:
        ConfigError: The grid, a range, a condition, the sampler or the command's
            template is impossible.
        RunError: The sampler is one of Optuna's, which is not installed.

    Example:
        ```python
        from hypnet_hpsearch.search import Search
        from hypnet_hpsearch.spec.spec import SearchSpec

        spec = SearchSpec(
            name="width", experiment="hypercl", grid={"hnet.hidden": [[50], [100, 100]], "train.lr": [1e-3, 1e-2]},
            metric="accuracy", direction="maximize",
        )
        search = Search(spec)
        search.run()
        print(search.best())
        ```
    """

    def __init__(self, spec: SearchSpec, directory: Path | str | None = None) -> None:
        self.spec = spec
        self.directory = Path("searches", spec.name) if directory is None else Path(directory)
        check_command(spec)
        self.plan = _plan_of(spec)

    @classmethod
    def load(cls, file: Path | str, directory: Path | str | None = None) -> Self:
        """The search that a TOML or YAML file describes.

        Raises:
            ConfigError: The file cannot be read, or something in it is impossible.
        """
        spec = load_spec(Path(file))
        try:
            return cls(spec, directory)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from None

    def run(
        self,
        scheduler: Scheduler | None = None,
        *,
        watcher: Watcher | None = None,
        max_jobs: int | None = None,
    ) -> SearchStatus:
        """Run every trial that has no result, and wait until all have ended.

        It may be called again, from another process too, whatever happened before.

        Args:
            scheduler: What runs the trials; the one that the search names if `None`.
            watcher: Who is told how it goes.
            max_jobs: How many jobs may be queued or running at once; what the scheduler
                has room for if `None`.

        Raises:
            ComponentError: There is no such scheduler or experiment.
            ConfigError: The experiment refuses the options of the first trial.
            RunError: The directory cannot be written, or holds something else.
            SchedulerError: The scheduler refuses the jobs.
        """
        own = self.scheduler() if scheduler is None else None
        lacking = getattr(own, "unavailable", lambda: None)()
        if lacking:
            raise SchedulerError(lacking)
        store = Store.create(self.directory.absolute(), self.spec, len(self.plan))
        if (
            self.spec.experiment is not None
            and not self._looked_at().ledger.counts()[TrialState.DONE]
        ):
            self.check_experiment()
        results = ResultsFile(store, self.spec)
        study = _study_file(store, self.spec)
        driver = Driver(
            store,
            self.plan,
            self.spec,
            scheduler=scheduler or own or self.scheduler(),
            watcher=_Recording(watcher or Silent(), results, study),
            max_jobs=max_jobs,
        )
        try:
            driver.run()
        except BaseException:
            with suppress(RunError):  # what went wrong first is what the user must read
                results.write()
            raise
        finally:
            close = getattr(own, "close", None)
            if close is not None:
                close()
            if study is not None:
                study.write()
                study.close()
        results.write()
        store.set_total(driver.total)  # the sampler may have had nothing more to propose
        return status_of(store, self.spec)

    def scheduler(self) -> Scheduler:
        """A new scheduler of the kind that the search names.

        Raises:
            ComponentError: There is none of that name.
            ConfigError: One of its options is unknown or impossible.
        """
        return scheduler_of(self.spec)

    def status(self) -> SearchStatus:
        """How the search stands, whoever works on it."""
        return status_of(self._looked_at(), self.spec)

    def results(self) -> list[TrialResult]:
        """All trials that were ever begun, best first."""
        return results_of(self._looked_at(), self.spec)

    def best(self) -> TrialResult:
        """The best trial.

        Raises:
            RunError: No trial has a result yet.
        """
        return best_of(self.results(), self.directory)

    def command_lines(self) -> Iterator[tuple[PlannedTrial, tuple[str, ...]]]:
        """Every trial with the command line that it is run by; with an adaptive sampler, only the first."""
        trials = (
            [self.plan.first()] if self.spec.adapts else map(self.plan.trial, self.plan.order())
        )
        for trial in trials:
            out = Attempt(self.directory.absolute() / "trials", trial.id, 1).run
            yield trial, command_line(self.spec, trial.options, out)

    def scripts(self) -> list[Script]:
        """What a batch system would be given for all these trials; nothing for another scheduler.

        Raises:
            ComponentError: There is no such scheduler.
            ConfigError: One of its options is unknown or impossible.
            SchedulerError: The trials ask for something impossible.
        """
        scheduler = self.scheduler()
        if not isinstance(scheduler, BatchScheduler):
            return []
        trials = self.directory.absolute() / "trials"
        return scheduler.scripts(
            [job_of(Attempt(trials, trial.id, 1), self.spec) for trial, _ in self.command_lines()]
        )

    def check_experiment(self) -> None:
        """Have the experiment check the first trial's options, so that a wrong key is one message and not a thousand failures.

        Raises:
            ComponentError: There is no such experiment.
            ConfigError: It refuses the options.
        """
        if self.spec.experiment is None:
            return
        registry().get(Kind.EXPERIMENT, self.spec.experiment)
        _, argv = next(self.command_lines())
        tried = subprocess.run(  # noqa: S603  # our own command, as an argument list
            [*argv, "--dry-run"],
            cwd=self.spec.cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if tried.returncode:
            lines = tried.stderr.decode(errors="replace").strip().splitlines() or [
                f"exit code {tried.returncode}"
            ]
            why = lines[-1].removeprefix("hypnet: ")
            raise ConfigError(
                f"the experiment {self.spec.experiment!r} refuses the first trial: {why}"
            )

    def _looked_at(self) -> Store:
        store = Store(self.directory.absolute())
        store.glimpse()
        return store


def scheduler_of(spec: SearchSpec) -> Scheduler:
    """A new scheduler of the kind that a search names.

    Raises:
        ComponentError: There is none of that name.
        ConfigError: One of its options is unknown or impossible.
    """
    options = dict(spec.scheduler)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError("'scheduler' has no 'name'")
    found: Scheduler = registry().get(Kind.SCHEDULER, name).build(**options)
    return found


def _plan_of(spec: SearchSpec) -> Plan | AdaptivePlan:
    if not spec.adapts:
        return Plan(spec)
    from hypnet_hpsearch.propose.optuna.proposer import AdaptivePlan

    return AdaptivePlan(spec)


def _study_file(store: Store, spec: SearchSpec) -> StudyFile | None:
    if not spec.adapts:
        return None
    from hypnet_hpsearch.propose.optuna.dashboard import StudyFile

    return StudyFile(store, spec)


class _Recording:
    """Passes on what a driver tells, and keeps `results.csv` and a study of Optuna's up to date."""

    def __init__(self, watcher: Watcher, results: ResultsFile, study: StudyFile | None) -> None:
        self._watcher, self._results, self._study = watcher, results, study
        self.started, self.warned = watcher.started, watcher.warned

    def ended(self, record: TrialRecord, progress: Callable[[], Progress]) -> None:
        """Note that there is something to write, and pass on."""
        self._results.outdated = True
        self._watcher.ended(record, progress)

    def working(self, progress: Callable[[], Progress]) -> None:
        """Write what there is to write, and pass on."""
        self._results.update()
        if self._study is not None:
            self._study.update()
            if self._study.problem:
                self.warned(self._study.problem)
                self._study = None
        self._watcher.working(progress)
