"""What `hypnet search … --json` prints.

Each document names its schema and version in `schema`. Fields may be added; one that
changes its meaning or goes makes a new version. A metric that is NaN or infinite is the
text `"NaN"`, `"Infinity"` or `"-Infinity"`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from hypnet_core.cli import Document
from hypnet_core.runs import Script
from hypnet_hpsearch.results.clean import Waste
from hypnet_hpsearch.results.seeds_summary import SeedsSummary
from hypnet_hpsearch.results.table import SearchStatus, TrialResult

__all__ = [
    "BestDocument",
    "CancelDocument",
    "CleanDocument",
    "DryRunDocument",
    "DryRunTrial",
    "PlotDocument",
    "RetryDocument",
    "SeedsDocument",
    "StatusDocument",
    "TableDocument",
]


class _Document(Document):
    model_config = ConfigDict(ser_json_inf_nan="strings")


class StatusDocument(_Document):
    """`hypnet search status DIR --json`, and `hypnet search run FILE --json` at its end.

    Attributes:
        schema_: `hypnet.search.status/1`.
        search: How the search stands.
    """

    schema_: Literal["hypnet.search.status/1"] = Field("hypnet.search.status/1", alias="schema")
    search: SearchStatus


class TableDocument(_Document):
    """`hypnet search table DIR --json`.

    Attributes:
        schema_: `hypnet.search.table/1`.
        metric: What says how good a trial is.
        direction: `maximize` or `minimize`.
        trials: All trials that were ever begun, best first.
    """

    schema_: Literal["hypnet.search.table/1"] = Field("hypnet.search.table/1", alias="schema")
    metric: str
    direction: str
    trials: list[TrialResult]


class BestDocument(_Document):
    """`hypnet search best DIR --json`.

    Attributes:
        schema_: `hypnet.search.best/1`.
        metric: What says how good a trial is.
        trial: The best trial.
    """

    schema_: Literal["hypnet.search.best/1"] = Field("hypnet.search.best/1", alias="schema")
    metric: str
    trial: TrialResult


class DryRunTrial(_Document):
    """A trial that would be run.

    Attributes:
        trial: Its id.
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
        remarks: What is odd about the search's conditions.
        trials: All trials, in their order.
        scripts: What would be submitted to a batch system for all trials (`argv` would
            read `text`, which stands for so many `jobs`); empty for other schedulers.
    """

    schema_: Literal["hypnet.search.dry_run/1"] = Field("hypnet.search.dry_run/1", alias="schema")
    directory: str
    remarks: list[str]
    trials: list[DryRunTrial]
    scripts: list[Script] = Field(default_factory=list)


class CancelDocument(_Document):
    """`hypnet search cancel DIR --json`.

    Attributes:
        schema_: `hypnet.search.cancel/1`.
        trials: The ids of the trials that were cancelled.
        drivers: How many drivers were stopped.
    """

    schema_: Literal["hypnet.search.cancel/1"] = Field("hypnet.search.cancel/1", alias="schema")
    trials: list[str]
    drivers: int


class RetryDocument(_Document):
    """`hypnet search retry DIR --json`.

    Attributes:
        schema_: `hypnet.search.retry/1`.
        trials: The ids of the trials that will be run again.
        drivers: How many drivers are at work, one of which runs them at once; with
            none, the next one does.
    """

    schema_: Literal["hypnet.search.retry/1"] = Field("hypnet.search.retry/1", alias="schema")
    trials: list[str]
    drivers: int


class CleanDocument(_Document):
    """`hypnet search clean DIR --json`.

    Attributes:
        schema_: `hypnet.search.clean/1`.
        deleted: Whether the directories are gone; `false` after `--dry-run`.
        attempts: Whose directories.
    """

    schema_: Literal["hypnet.search.clean/1"] = Field("hypnet.search.clean/1", alias="schema")
    deleted: bool
    attempts: list[Waste]


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
        summary: What the seeds say.
    """

    schema_: Literal["hypnet.search.seeds/1"] = Field("hypnet.search.seeds/1", alias="schema")
    summary: SeedsSummary
