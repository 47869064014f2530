"""The root command: our own sub-commands, then those of the plugins."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hypnet_core import __version__
from hypnet_core.cli.check import check
from hypnet_core.cli.checkpoints import checkpoints
from hypnet_core.cli.inspect import inspect
from hypnet_core.cli.list import list_components
from hypnet_core.cli.plugins import plugins
from hypnet_core.cli.run import run
from hypnet_core.cli.settings import Settings, add_flags
from hypnet_core.cli.shells import use_own_scripts
from hypnet_core.cli.show import show
from hypnet_core.errors import (
    HypnetError,
    PluginError,
    UsageError,
    did_you_mean,
    error_line,
    listed,
)
from hypnet_core.plugins.discovery import Plugin, Status
from hypnet_core.plugins.registry import Registry


class InterruptedByUserError(HypnetError):
    """The user pressed Ctrl-C."""

    exit_code = 130  # 128 + SIGINT, as shells expect


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM, so that the command stops as it does after Ctrl-C."""


class TerminatedError(HypnetError):
    """The command was ended by SIGTERM."""

    exit_code = 143  # 128 + SIGTERM


class ClosedPipeError(HypnetError):
    """The reader of stdout has closed the pipe."""

    exit_code = 141  # 128 + SIGPIPE


class HypnetGroup(TyperGroup):
    """The command itself. Raises our own errors, of one line each."""

    broken: tuple[str, ...] = ()

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The sub-command that the first argument names.

        Raises:
            UsageError: There is none.
        """
        name = args[0]
        # Completion asks for unfinished names, which are not mistakes.
        if name not in self.commands and not name.startswith("-") and not ctx.resilient_parsing:
            hint = (
                f" (it might come from a broken plugin: {listed(self.broken)}; see `hypnet"
                " plugins`)"
                if self.broken
                else ""
            )
            raise UsageError(
                f"there is no command {name!r}{did_you_mean(name, self.commands)}{hint}"
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the sub-command; its return value is not an exit code."""
        try:
            super().invoke(ctx)
        # Before `KeyboardInterrupt`, from which it inherits.
        except Terminated as signal:
            raise TerminatedError("terminated") from signal
        except KeyboardInterrupt as error:
            raise InterruptedByUserError("interrupted") from error
        except BrokenPipeError as error:
            raise ClosedPipeError("stdout was closed") from error


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"hypnet {__version__}")
        raise typer.Exit


def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Train main networks whose weights a hypernetwork generates."""


def make_command(registry: Registry, settings: Settings) -> TyperGroup:
    """The root command with all sub-commands.

    A plugin whose commands cannot be added, or have a name that is in use, is left out
    and reported in `settings.faults`.

    Args:
        registry: The plugins.
        settings: Filled by the flags `-q`, `-v` and `--debug`, and with the faults of
            the plugins.
    """
    use_own_scripts()
    app = typer.Typer(name="hypnet", cls=HypnetGroup, no_args_is_help=True)
    app.callback()(_root)
    # `list` is a built-in, so the function has another name than the command.
    app.command("list")(list_components)
    app.command()(show)
    app.command()(plugins)
    app.command()(inspect)
    app.command()(check)
    app.command()(run)
    app.command()(checkpoints)
    # Plugins add to the finished command, whose names are known by then.
    command: Any = typer.main.get_command(app)
    settings.faults.extend(registry.faults())
    for plugin in registry.plugins:
        settings.faults.extend(_add_commands(command, plugin))
    add_flags(command, settings)
    command.broken = tuple(
        plugin.name for plugin in registry.plugins if plugin.status is Status.BROKEN
    )
    found: TyperGroup = command
    return found


def _add_commands(command: TyperGroup, plugin: Plugin) -> list[str]:
    """Add the sub-commands of one plugin and yield what went wrong."""
    if plugin.hooks is None:
        return []
    # A plugin gets an app of its own, so that it cannot change ours.
    own = typer.Typer(name=plugin.name, add_completion=False)
    own.callback()(_nothing)
    try:
        plugin.hooks.hook.hypnet_commands(app=own)
        group: Any = typer.main.get_command(own)
    # The user's Ctrl-C is not a fault of the plugin.
    except KeyboardInterrupt:
        raise
    # Contain any exception of a plugin, even SystemExit.
    except BaseException as error:  # noqa: BLE001
        return [f"{plugin.label}: its commands are left out: {error_line(error, PluginError)}"]
    faults = []
    for name, inner in group.commands.items():
        if name in command.commands:
            faults.append(
                f"{plugin.label}: its command {name!r} is left out: there is one of that name"
            )
        else:
            command.add_command(inner, name)
    return faults


def _nothing() -> None:
    """Makes typer treat an app with a single command as a group."""
