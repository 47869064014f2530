"""`hypnet search errors`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hypnet_core.cli import Json, print_json, print_lines
from hypnet_hpsearch.cli.options import Directory
from hypnet_hpsearch.cli.output import opened

if TYPE_CHECKING:
    from hypnet_hpsearch.results.errors import TrialErrors

__all__ = ["errors"]


def errors(
    directory: Directory,
    trials: Annotated[
        list[str] | None,
        typer.Argument(
            help="Ids of trials, or unique prefixes of them; all that failed by default.",
            metavar="[TRIAL]...",
        ),
    ] = None,
    *,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="Last lines to show of each; 0 for all.")
    ] = 20,
    as_json: Json = False,
) -> None:
    """Show the error output of trials that failed, or of the trials that are named.

    Each begins with a line that says why it failed and where the whole output is.
    """
    store, _ = opened(directory)
    from hypnet_hpsearch.results.errors import errors_of

    found = errors_of(store, trials or (), last=lines)
    if as_json:
        from hypnet_hpsearch.cli.schemas import ErrorsDocument

        print_json(ErrorsDocument(trials=found))
        return
    for one in found:
        print_lines(_text(one))


def _text(one: TrialErrors) -> Iterator[str]:
    from hypnet_hpsearch.execution.display import short_path

    why = f": {one.reason}" if one.reason else ""
    where = short_path(Path(one.file))
    yield f"{one.trial} {one.state.value}{why}  ({where or 'no error output'})"
    yield from (["    …"] if one.more else [])
    yield from (f"    {line}" for line in one.lines)
