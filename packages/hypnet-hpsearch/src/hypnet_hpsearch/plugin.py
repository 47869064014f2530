"""What hypnet-hpsearch offers: schedulers, and the command `hypnet search`."""

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
            "hypnet_hpsearch.schedulers.local.scheduler:Local",
            "Processes of this machine, with processor slots and GPUs.",
        ),
        Component.scheduler(
            "slurm",
            "hypnet_hpsearch.schedulers.batch.slurm:Slurm",
            "Jobs and job arrays of a Slurm cluster.",
            patience=180,
        ),
        Component.scheduler(
            "lsf",
            "hypnet_hpsearch.schedulers.batch.lsf:Lsf",
            "Jobs and job arrays of an LSF cluster (checked against a stand-in only).",
            patience=180,
        ),
        Component.scheduler(
            "ray",
            "hypnet_hpsearch.schedulers.ray.scheduler:Ray",
            "Tasks of a Ray cluster, or of a Ray on this machine.",
            restartable=False,
            patience=120,
        ),
    ]


@hookimpl
def hypnet_commands(app: typer.Typer) -> None:
    """The command `hypnet search`."""
    from hypnet_hpsearch.cli.app import search

    app.add_typer(search, name="search")
