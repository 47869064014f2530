"""The command `hypnet search`."""

from __future__ import annotations

import typer

search = typer.Typer(
    name="search", help="Search over the options of an experiment or of any other command.", no_args_is_help=True
)


@search.callback()
def _search() -> None:
    """Search over the options of an experiment or of any other command."""
