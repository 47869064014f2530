"""Components of hypnet-hpsearch: schedulers, and the command `hypnet search`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypnet_core import Component, hookimpl

if TYPE_CHECKING:
    import typer


@hookimpl
def hypnet_components() -> list[Component]:
    """The schedulers."""
    return [
        Component.scheduler(
            "local",
            "hypnet_hpsearch.schedulers:Local",
            "Processes of this machine, with slots for cores and GPUs.",
        ),
        Component.scheduler(
            "slurm",
            "hypnet_hpsearch.schedulers:Slurm",
            "Jobs and job arrays of a Slurm cluster.",
            patience=180,
        ),
        Component.scheduler(
            "lsf",
            "hypnet_hpsearch.schedulers:Lsf",
            "Jobs and job arrays of an LSF cluster (tested with a stand-in only).",
            patience=180,
        ),
        Component.scheduler(
            "ray",
            "hypnet_hpsearch.schedulers:Ray",
            "Tasks of a Ray cluster, or of a Ray on this machine.",
            restartable=False,
            patience=120,
        ),
    ]


@hookimpl
def hypnet_commands(app: typer.Typer) -> None:
    """The command `hypnet search`."""
    from hypnet_hpsearch.cli import search

    app.add_typer(search, name="search")
