"""Verbosity and logging of the command; messages go to stderr, data to stdout."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass
class Settings:
    """The settings of one invocation.

    Attributes:
        verbosity: 0 as usual, above 0 with `-v`, below 0 with `-q`.
        debug: Whether errors come with their traceback.
        faults: Lines about broken plugins that have not been shown yet.
    """

    verbosity: int = 0
    debug: bool = False
    faults: list[str] = field(default_factory=list)

    @property
    def level(self) -> int:
        """The level of logging that goes with the verbosity."""
        if self.verbosity < 0:
            return logging.ERROR
        return logging.DEBUG if self.verbosity > 0 else logging.INFO

    def announce(self) -> None:
        """Report the faults of the plugins once, unless the command is quiet."""
        # Emptied first, so that nobody reports them twice.
        lines, self.faults = self.faults, []
        if self.verbosity >= 0:
            complain(lines)


def complain(lines: Iterable[str]) -> None:
    """Write lines to stderr, each with the command's name before it."""
    for line in lines:
        # Without a place to complain to, the exit code says it.
        with contextlib.suppress(OSError, ValueError):
            typer.echo(f"hypnet: {line}", err=True)


class _ToStderr(logging.Handler):
    """Writes to the current `sys.stderr`, which a progress bar replaces for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "reported", False):  # the command reports it in its own line
            return
        prefix = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        # Without stderr there is nowhere to complain about it.
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{prefix}{_text_of(record)}\n")
            sys.stderr.flush()


def _text_of(record: logging.LogRecord) -> str:
    """The message of a record, or its pieces if they do not fit together."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  a library may log anything, and logging must not stop it
        return f"{record.msg} {record.args}"


def start_logging(settings: Settings) -> None:
    """Log to stderr: messages of `hypnet`, warnings and errors of other libraries."""
    _log(settings.level)


def log_errors_only() -> None:
    """Log errors only, for a command whose components log a lot."""
    _log(logging.ERROR)


def _log(level: int) -> None:
    for name, own_level in (("hypnet", level), (None, max(level, logging.WARNING))):
        logger = logging.getLogger(name)
        logger.setLevel(own_level)
        # Each record is printed once, by the handler of the nearest logger.
        logger.propagate = False
        logger.handlers = [_ToStderr(own_level)]


def add_flags(command: Any, settings: Settings) -> None:
    """Add `-q`, `-v` and `--debug` to a command and its sub-commands.

    Commands that have such a flag keep theirs. The faults of the plugins are reported
    before a command runs.
    """
    # A plugin's command may have a flag -v of its own.
    taken = {name for parameter in command.params for name in parameter.opts}
    command.params.extend(flag for flag in _flags() if not taken & set(flag.opts))
    if isinstance(command, TyperGroup):
        # Recursive, since plugins may add groups of commands.
        for inner in command.commands.values():
            add_flags(inner, settings)
    elif isinstance(command, TyperCommand) and command.callback is not None:
        command.callback = _announcing(command.callback, settings)


def _announcing(callback: Callable[..., Any], settings: Settings) -> Callable[..., Any]:
    def announced(*args: Any, **kwargs: Any) -> Any:
        settings.announce()
        return callback(*args, **kwargs)

    return announced


def _louder(ctx: typer.Context, value: bool) -> None:
    # Completion parses flags as well, but must not log.
    if value and not ctx.resilient_parsing:
        settings_of(ctx).verbosity += 1
        start_logging(settings_of(ctx))


def _quieter(ctx: typer.Context, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        settings_of(ctx).verbosity -= 1
        start_logging(settings_of(ctx))


def _debug(ctx: typer.Context, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        settings_of(ctx).debug = True


def settings_of(ctx: typer.Context) -> Settings:
    """The settings of the invocation that a sub-command runs in."""
    found: Settings = ctx.find_root().obj
    return found


def _flag(*names: str, **details: Any) -> Any:
    return typer.Option(*names, expose_value=False, show_default=False, **details)


def _flags_of(
    _quiet: Annotated[
        bool, _flag("--quiet", "-q", callback=_quieter, help="Show errors and results only.")
    ] = False,
    _verbose: Annotated[
        bool, _flag("--verbose", "-v", callback=_louder, help="Show more.")
    ] = False,
    _with_debug: Annotated[
        bool, _flag("--debug", callback=_debug, help="Show tracebacks of errors.")
    ] = False,
) -> None:
    """Do nothing; typer derives the flags from this signature."""


def _flags() -> list[Any]:
    # A command of its own, from which only the parameters are taken.
    app = typer.Typer(add_completion=False)
    app.command()(_flags_of)
    return list(typer.main.get_command(app).params)
