"""Arguments and options that several sub-commands of `hypnet search` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = ["Directory", "DryRun", "MaxJobs", "SchedulerName", "Slots", "Trials"]

Directory: TypeAlias = Annotated[
    Path, typer.Argument(help="The search's directory, such as searches/NAME.", metavar="DIR")
]

Trials: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        help="Ids of trials, or unique prefixes of them; all by default.", metavar="[TRIAL]..."
    ),
]

SchedulerName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--scheduler", help="Scheduler to use instead of the search's, with its defaults."
    ),
]

Slots: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, help="Number of cores that all jobs may use together (scheduler local)."),
]

MaxJobs: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Maximum number of queued and running jobs.")
]

DryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be done, and stop.")
]
