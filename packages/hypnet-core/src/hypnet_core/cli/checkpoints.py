"""`hypnet checkpoints`: the checkpoints of a run, the best first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hypnet_core.cli.output import Json, is_terminal, print_json, print_lines, print_table
from hypnet_core.cli.schemas import CheckpointDocument, CheckpointsDocument
from hypnet_core.cli.settings import complain
from hypnet_core.errors import CheckpointError, HypnetError

if TYPE_CHECKING:
    from hypnet_core.runs.checkpoints import Checkpoints


def checkpoints(
    directory: Annotated[
        Path, typer.Argument(help="A run's directory, or a folder of checkpoints.", metavar="DIR")
    ],
    *,
    as_json: Json = False,
) -> None:
    """List checkpoints with their scores and times, the best first.

    Into a pipe, it prints their paths, one per line.
    """
    folder = folder_of(directory)
    stamps, faults = folder.readable()
    complain(faults)
    try:
        latest = folder.latest()
    except HypnetError as error:  # the others are there all the same
        latest = None
        complain([str(error)])
    found = [
        CheckpointDocument.of(stamp, latest=latest is not None and stamp.path == latest.path)
        for stamp in stamps
    ]
    if as_json:
        print_json(CheckpointsDocument(directory=str(folder.folder), checkpoints=found))
    elif not is_terminal():
        print_lines(document.path for document in found)
    elif not found:
        complain([f"{folder.folder} holds no checkpoint"])
    else:
        rows = [document.row() for document in found]
        print_table(
            ("checkpoint", "step", "score", "time", "size", ""),
            rows,
            right=("step", "score", "size"),
        )


def folder_of(directory: Path) -> Checkpoints:
    """The checkpoints in a run's directory, or in a folder of them.

    Raises:
        CheckpointError: There is no such directory.
    """
    # Lazily, since reading checkpoints needs torch.
    from hypnet_core.runs.checkpoints import Checkpoints

    if not directory.is_dir():
        raise CheckpointError(f"there is no directory {directory}")
    is_run = (directory / "config.json").exists()
    return Checkpoints(directory / "checkpoints" if is_run else directory)


def origin_of(path: Path) -> tuple[Path, str, dict[str, Any]]:
    """The file of a checkpoint, and the experiment and configuration that wrote it.

    Args:
        path: The file, or a directory whose latest checkpoint is meant.

    Raises:
        CheckpointError: There is none, or it belongs to no run.
    """
    from hypnet_core.runs.checkpoint import read_state

    if path.is_dir():
        folder = folder_of(path)
        latest = folder.latest()
        if latest is None:
            raise CheckpointError(f"{folder.folder} holds no checkpoint")
        path = latest.path
    run = read_state(path).get("run")
    if not (
        isinstance(run, dict)
        and isinstance(run.get("experiment"), str)
        and isinstance(run.get("config"), dict)
    ):
        raise CheckpointError(f"{path} was not written by a run of an experiment")
    return path, run["experiment"], run["config"]
