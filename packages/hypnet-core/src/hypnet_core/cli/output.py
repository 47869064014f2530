"""Results on stdout: tables for people, names for pipes, JSON for programs."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel

from hypnet_core.cli.tables import Layout

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
"""The flag `--json` of every listing."""

_UNLIMITED = 100_000  # columns, wide enough never to fold


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def can_print(text: str) -> bool:
    """Whether the encoding of stdout has all characters of a text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def print_json(document: BaseModel) -> None:
    """Print a document as JSON; docs/command.md describes its fields."""
    text = document.model_dump_json(indent=2, by_alias=True)
    # JSON has escapes for what an encoding such as latin-1 lacks.
    typer.echo(text if can_print(text) else json.dumps(json.loads(text), indent=2))


def print_lines(lines: Iterable[str]) -> None:
    """Print lines as they are."""
    for line in lines:
        typer.echo(line)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Sequence[str] = (),
    total: Sequence[str] = (),
    details: Sequence[str] = (),
) -> None:
    """Print a table that fits the terminal; elsewhere it is as wide as its content.

    On a narrow terminal a row becomes two lines; a key is never folded.

    Args:
        columns: Headings.
        rows: Cells; markup in them is printed as text.
        right: Headings of the columns of numbers.
        total: Cells of a last row below a line.
        details: Headings of the columns that may be wrapped or move to the second
            line; by default all but the first move.
    """
    layout = Layout(columns, list(rows), right=right, total=total, details=details)
    if not is_terminal() or layout.fits(_console().width):
        print_rich(layout.table())
        return
    console = _console()
    for line, heading in layout.lines(console.width):
        console.print(line, style="bold" if heading else None, soft_wrap=True)


def print_rich(content: Any) -> None:
    """Print text or a rich renderable."""
    if is_terminal():
        _console().print(content)
        return
    # Into a pipe lines are never folded: other programs read them.
    text = io.StringIO()
    _console(file=text, width=_UNLIMITED).print(content)
    print_lines(line.rstrip() for line in text.getvalue().splitlines())


def _console(**options: Any) -> Console:
    from rich.console import Console

    # Names may hold brackets, which rich would take for markup.
    return Console(markup=False, highlight=False, emoji=False, **options)
