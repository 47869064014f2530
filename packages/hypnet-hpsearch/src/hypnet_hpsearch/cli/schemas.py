"""Models of what `hypnet search … --json` prints.

Each document names its schema and version in `schema`. Fields may be added; removing
one or changing its meaning makes a new version. A metric that is NaN or infinite is the
text `"NaN"`, `"Infinity"` or `"-Infinity"`.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field

from hypnet_core.cli import Document
from hypnet_core.jobs import Script
from hypnet_hpsearch.results.clean import Removable
from hypnet_hpsearch.results.errors import TrialErrors
from hypnet_hpsearch.results.seeds_summary import SeedsSummary
from hypnet_hpsearch.results.table import SearchStatus, TrialResult, results_of, trials_of
from hypnet_hpsearch.searches import Search
from hypnet_hpsearch.spec.spec import SearchSpec
from hypnet_hpsearch.state.store import Store

__all__ = [
    "BestDocument",
    "CancelDocument",
    "CleanDocument",
    "DryRunDocument",
    "DryRunTrial",
    "ErrorsDocument",
    "ImportDocument",
    "ImportancesDocument",
    "PlotDocument",
    "ReportDocument",
    "RetryDocument",
    "SeedsDocument",
    "StatusDocument",
    "TableDocument",
]


class _Document(Document):
    """Base of the documents of searches: standard JSON has no NaN."""

    model_config = ConfigDict(ser_json_inf_nan="strings")


class StatusDocument(_Document):
    """`hypnet search status DIR --json`, and `hypnet search run FILE --json`.

    Attributes:
        schema_: `hypnet.search.status/1`.
        search: The status of the search.
    """

    schema_: Literal["hypnet.search.status/1"] = Field("hypnet.search.status/1", alias="schema")
    search: SearchStatus


class TableDocument(_Document):
    """`hypnet search table DIR --json`.

    Attributes:
        schema_: `hypnet.search.table/1`.
        metric: The metric that rates a trial.
        direction: `maximize` or `minimize`.
        trials: All trials that were ever begun, best first.
        configurations: With several seeds, the configurations, best first.
    """

    schema_: Literal["hypnet.search.table/1"] = Field("hypnet.search.table/1", alias="schema")
    metric: str
    direction: str
    trials: list[TrialResult]
    configurations: list[TrialResult] | None = None

    @classmethod
    def of(cls, store: Store, spec: SearchSpec) -> Self:
        """The document of a search."""
        return cls(
            metric=spec.metric,
            direction=spec.direction,
            trials=trials_of(store, spec),
            configurations=results_of(store, spec) if spec.repeats else None,
        )


class BestDocument(_Document):
    """`hypnet search best DIR --json`.

    Attributes:
        schema_: `hypnet.search.best/1`.
        metric: The metric that rates a trial.
        trial: The best trial.
        front: With several objectives, the trials that no other one dominates.
    """

    schema_: Literal["hypnet.search.best/1"] = Field("hypnet.search.best/1", alias="schema")
    metric: str
    trial: TrialResult
    front: list[TrialResult] | None = None


class DryRunTrial(_Document):
    """A trial that would be run.

    Attributes:
        trial: The trial's id.
        options: Its options.
        argv: Its command line.
    """

    trial: str
    options: dict[str, Any]
    argv: tuple[str, ...]


class DryRunDocument(_Document):
    """`hypnet search run FILE --dry-run --json`.

    Attributes:
        schema_: `hypnet.search.dry_run/1`.
        directory: The search's directory.
        remarks: Remarks about the search's conditions.
        trials: The trials that would be run, in their order.
        reused: Number of finished trials in the directory that belong to the search.
        outside: Number of trials in the directory that do not.
        scripts: The scripts that a batch system would receive for all trials: `argv`
            would read `text`, which stands for `jobs` jobs. Empty for other schedulers.
    """

    schema_: Literal["hypnet.search.dry_run/1"] = Field("hypnet.search.dry_run/1", alias="schema")
    directory: str
    remarks: list[str]
    trials: list[DryRunTrial]
    reused: int = 0
    outside: int = 0
    scripts: list[Script] = Field(default_factory=list)

    @classmethod
    def of(cls, search: Search) -> Self:
        """The document of a search."""
        preview = search.preview()
        return cls(
            directory=str(search.directory),
            reused=preview.reused,
            outside=preview.outside,
            remarks=search.proposer.remarks,
            trials=[
                DryRunTrial(trial=trial.id, options=trial.options, argv=argv)
                for trial, argv in search.command_lines()
            ],
            scripts=search.scripts(),
        )


class CancelDocument(_Document):
    """`hypnet search cancel DIR --json`.

    Attributes:
        schema_: `hypnet.search.cancel/1`.
        trials: Ids of the trials that were cancelled.
        drivers: Number of drivers that were stopped.
    """

    schema_: Literal["hypnet.search.cancel/1"] = Field("hypnet.search.cancel/1", alias="schema")
    trials: list[str]
    drivers: int


class RetryDocument(_Document):
    """`hypnet search retry DIR --json`.

    Attributes:
        schema_: `hypnet.search.retry/1`.
        trials: Ids of the trials that will be run again.
        drivers: Number of active drivers, one of which runs them at once; without one,
            the next driver does.
    """

    schema_: Literal["hypnet.search.retry/1"] = Field("hypnet.search.retry/1", alias="schema")
    trials: list[str]
    drivers: int


class CleanDocument(_Document):
    """`hypnet search clean DIR --json`.

    Attributes:
        schema_: `hypnet.search.clean/1`.
        deleted: Whether the directories were deleted; `false` after `--dry-run`.
        attempts: The attempts whose output was deleted.
    """

    schema_: Literal["hypnet.search.clean/1"] = Field("hypnet.search.clean/1", alias="schema")
    deleted: bool
    attempts: list[Removable]


class ErrorsDocument(_Document):
    """`hypnet search errors DIR --json`.

    Attributes:
        schema_: `hypnet.search.errors/1`.
        trials: The error output of each trial.
    """

    schema_: Literal["hypnet.search.errors/1"] = Field("hypnet.search.errors/1", alias="schema")
    trials: list[TrialErrors]


class ImportDocument(_Document):
    """`hypnet search import SEARCH OTHER --json`.

    Attributes:
        schema_: `hypnet.search.import/1`.
        directory: The search's directory.
        trials: Ids of the trials that were taken in.
        known: Number of results of trials that were known before.
        outside: Number of results that do not belong to the search.
    """

    schema_: Literal["hypnet.search.import/1"] = Field("hypnet.search.import/1", alias="schema")
    directory: str
    trials: list[str]
    known: int
    outside: int


class ImportancesDocument(_Document):
    """`hypnet search importances DIR --json`.

    Attributes:
        schema_: `hypnet.search.importances/1`.
        metric: The metric.
        method: `ped_anova` or `fanova`.
        importances: The importance of each option; they sum up to one.
    """

    schema_: Literal["hypnet.search.importances/1"] = Field(
        "hypnet.search.importances/1", alias="schema"
    )
    metric: str
    method: str
    importances: dict[str, float]


class ReportDocument(_Document):
    """`hypnet search report DIR --json`.

    Attributes:
        schema_: `hypnet.search.report/1`.
        file: The file that was written.
    """

    schema_: Literal["hypnet.search.report/1"] = Field("hypnet.search.report/1", alias="schema")
    file: str


class PlotDocument(_Document):
    """`hypnet search plot DIR --json`.

    Attributes:
        schema_: `hypnet.search.plot/1`.
        files: The files that were written.
    """

    schema_: Literal["hypnet.search.plot/1"] = Field("hypnet.search.plot/1", alias="schema")
    files: list[str]


class SeedsDocument(_Document):
    """`hypnet search seeds SOURCE --json`.

    Attributes:
        schema_: `hypnet.search.seeds/1`.
        summary: The statistics over the seeds.
    """

    schema_: Literal["hypnet.search.seeds/1"] = Field("hypnet.search.seeds/1", alias="schema")
    summary: SeedsSummary
