"""Searches from Python; the command `hypnet search` is a thin layer above."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from hypnet_core.errors import ConfigError, RunError, SchedulerError
from hypnet_core.jobs import Script
from hypnet_core.plugins import Kind, registry
from hypnet_core.protocols import BatchScheduler, ChecksAvailability, Closable, Scheduler
from hypnet_hpsearch._text import error_in_one_line
from hypnet_hpsearch.execution.driver import Driver
from hypnet_hpsearch.execution.jobs import job_of
from hypnet_hpsearch.execution.notices import Notices
from hypnet_hpsearch.execution.observers import SearchObserver, Watcher
from hypnet_hpsearch.execution.preview import Preview
from hypnet_hpsearch.execution.recording import Recording
from hypnet_hpsearch.execution.remarks import Remarks
from hypnet_hpsearch.propose.choose import proposer_of
from hypnet_hpsearch.results.table import (
    ResultsFile,
    SearchStatus,
    TrialResult,
    best_of,
    results_of,
    status_of,
)
from hypnet_hpsearch.spec.command import check_command, command_line
from hypnet_hpsearch.spec.load import load_spec
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.spec.trials import PlannedTrial
from hypnet_hpsearch.state.attempts import Attempt
from hypnet_hpsearch.state.ledger import TrialState
from hypnet_hpsearch.state.store import Store

if TYPE_CHECKING:
    from hypnet_hpsearch.propose.optuna.dashboard import StudyFile

__all__ = ["Search", "scheduler_of"]

_logger = logging.getLogger("hypnet.search")


class Search:
    """A search: its trials, and their results.

    Args:
        spec: The description of the search.
        directory: The directory that holds its state and results; `searches/NAME` if
            `None`.

    Attributes:
        spec: The description of the search.
        directory: Its directory.
        proposer: Its trials.

    Raises:
        ConfigError: The grid, a range, a condition, the sampler or the command's
            template is invalid.
        RunError: The sampler needs Optuna, which is not installed.

    Example:
        ```python
        from hypnet_hpsearch import Search, SearchSpec

        spec = SearchSpec(
            name="width",
            experiment="hypercl",
            grid={"hnet.hidden": [[50], [100, 100]], "train.lr": [1e-3, 1e-2]},
            metric="accuracy",
            direction="maximize",
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
        self.proposer = proposer_of(spec)

    @classmethod
    def load(cls, file: Path | str, directory: Path | str | None = None) -> Self:
        """The search that a TOML or YAML file describes.

        Raises:
            ConfigError: The file cannot be read, or a field is invalid.
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
        observer: SearchObserver | None = None,
        max_jobs: int | None = None,
    ) -> SearchStatus:
        """Run every trial that has no result, and wait until all have ended.

        It may be called again at any time, from another process too.

        Args:
            scheduler: Runs the trials; the one that the search names if `None`.
            observer: Receives the events of the run.
            max_jobs: Limit of queued and running jobs; by default it depends on the
                scheduler's slots.

        Raises:
            ComponentError: There is no such scheduler or experiment.
            ConfigError: The experiment refuses the options of the first trial.
            RunError: The directory cannot be written, or holds something else.
            SchedulerError: The scheduler refuses the jobs.
        """
        own = self._available_scheduler() if scheduler is None else None
        store = Store.create(self.directory.absolute(), self.spec, len(self.proposer))
        # A trial that is done has shown that the experiment accepts the options.
        if (
            self.spec.experiment is not None
            and not self._glimpsed().ledger.counts()[TrialState.DONE]
        ):
            self.check_experiment()
        results = ResultsFile(store, self.spec)
        study = _study_file(store, self.spec)
        observer = observer or Watcher()
        notices = Notices(self.spec, str(store.directory), observer.warned)
        recording = Recording(observer, results, study, Remarks(store, self.spec), notices)
        driver = Driver(
            store,
            self.proposer,
            self.spec,
            scheduler=scheduler or own or self.scheduler(),
            observer=recording,
            max_jobs=max_jobs,
        )
        try:
            driver.run()
        except BaseException as error:
            with suppress(RunError):  # the first error is the one that the user must read
                results.write()
            notices.send("end", f"the search has stopped: {error_in_one_line(error)}")
            notices.close()
            raise
        finally:
            if isinstance(own, Closable):
                own.close()
            if study is not None:
                study.write()
                study.close()
        results.write()
        store.set_total(driver.total)  # a sampler may have had fewer trials than the limit
        status = status_of(store, self.spec)
        notices.send("end", _in_words(status))
        notices.close()
        return status

    def scheduler(self) -> Scheduler:
        """A new scheduler of the kind that the search names.

        Raises:
            ComponentError: There is no scheduler of that name.
            ConfigError: One of its options is unknown or invalid.
        """
        return scheduler_of(self.spec)

    def status(self) -> SearchStatus:
        """The status of the search, whichever process works on it."""
        return status_of(self._glimpsed(), self.spec)

    def results(self) -> list[TrialResult]:
        """All trials that were ever begun, best first.

        With several seeds, all configurations; see `TrialResult.seeds`.
        """
        return results_of(self._glimpsed(), self.spec)

    def best(self) -> TrialResult:
        """The best trial; with several seeds, the best configuration.

        Raises:
            RunError: No trial has a finite metric yet.
        """
        return best_of(self.results(), self.directory)

    def preview(self) -> Preview:
        """A preview of `run()`; nothing is written or run.

        Raises:
            RunError: The directory holds another search.
        """
        store = Store.previewed(self.directory, self.spec, len(self.proposer))
        return Preview(self.proposer, self.spec, store)

    def front(self) -> list[TrialResult]:
        """The trials that no other one dominates, if there are several objectives.

        Raises:
            RunError: No trial has finite numbers, or none fulfils the constraints.
        """
        results = self.results()
        best_of(results, self.directory)
        return [result for result in results if result.front]

    def command_lines(self) -> Iterator[tuple[PlannedTrial, tuple[str, ...]]]:
        """The trials to run with their command lines.

        Of a sampler that learns, it is the first trial alone.
        """
        for trial in self.preview().trials():
            out = Attempt(self._trials, trial.id, 1).run
            yield trial, command_line(self.spec, trial.options, out)

    def scripts(self) -> list[Script]:
        """The scripts that a batch system would receive for all these trials.

        There are none for other schedulers.

        Raises:
            ComponentError: There is no such scheduler.
            ConfigError: One of its options is unknown or invalid.
            SchedulerError: The trials ask for impossible resources.
        """
        scheduler = self.scheduler()
        if not isinstance(scheduler, BatchScheduler):
            return []
        return scheduler.scripts(
            [
                job_of(Attempt(self._trials, trial.id, 1), self.spec)
                for trial, _ in self.command_lines()
            ]
        )

    def check_experiment(self) -> None:
        """Check the first trial's options with the experiment, if there is one.

        A wrong key is then one message rather than a thousand failed trials.

        Raises:
            ComponentError: There is no such experiment.
            ConfigError: It refuses the options.
        """
        if self.spec.experiment is None:
            return
        registry().get(Kind.EXPERIMENT, self.spec.experiment)
        # It takes seconds: the experiment is imported, and may prepare its data.
        _logger.info("checking the options of the first trial with %s", self.spec.experiment)
        trial = self.proposer.first()
        # Attempts are numbered from 1, so this directory never exists. That of a failed
        # attempt does, and the experiment would refuse it.
        unused = Attempt(self._trials, trial.id, 0).run
        argv = command_line(self.spec, trial.options, unused)
        tried = subprocess.run(
            [*argv, "--dry-run"],
            cwd=self.spec.cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if tried.returncode:
            lines = tried.stderr.decode(errors="replace").strip().splitlines()
            last = lines[-1] if lines else f"exit code {tried.returncode}"
            raise ConfigError(
                f"the experiment {self.spec.experiment!r} refuses the first trial:"
                f" {last.removeprefix('hypnet: ')}"
            )

    def _available_scheduler(self) -> Scheduler:
        """The search's scheduler, if its backend is installed."""
        found = self.scheduler()
        lacking: str | None = None
        if isinstance(found, ChecksAvailability):
            lacking = found.unavailable()
        if lacking:
            raise SchedulerError(lacking)
        return found

    @property
    def _trials(self) -> Path:
        """The directory of all trials."""
        return self.directory.absolute() / "trials"

    def _glimpsed(self) -> Store:
        return Store.glimpsed(self.directory)


def scheduler_of(spec: SearchSpec) -> Scheduler:
    """A new scheduler of the kind that a search names.

    Raises:
        ComponentError: There is no scheduler of that name.
        ConfigError: One of its options is unknown or invalid.
    """
    options = dict(spec.scheduler)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError("'scheduler' has no 'name'")
    found: Scheduler = registry().get(Kind.SCHEDULER, name).build(**options)
    return found


def _in_words(status: SearchStatus) -> str:
    """The outcome of a search in one line."""
    unsuccessful = status.failed + status.lost + status.cancelled
    best = status.best
    text = f"{status.done} of {status.total} trials done, {unsuccessful} failed"
    return text if best is None else f"{text}; best {status.metric}: {best.metric:.6g}"


def _study_file(store: Store, spec: SearchSpec) -> StudyFile | None:
    if not spec.adapts:
        return None
    from hypnet_hpsearch.propose.optuna.dashboard import STUDY, StudyFile

    if store.differing:
        # The study in it has the distributions from before, so it is made anew.
        store.directory.joinpath(STUDY).unlink(missing_ok=True)
    return StudyFile(store, spec)
