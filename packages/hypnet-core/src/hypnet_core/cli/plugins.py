"""`hypnet plugins`: the installed plugins and their faults."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from hypnet_core.cli.output import Json, is_terminal, print_json, print_lines, print_table
from hypnet_core.cli.schemas import PluginDocument, PluginsDocument
from hypnet_core.cli.settings import settings_of
from hypnet_core.plugins.discovery import Plugin
from hypnet_core.plugins.registry import registry


def plugins(ctx: typer.Context, *, as_json: Json = False) -> None:
    """List plugins and their faults.

    Into a pipe, it prints bare names, one per line. With -v it prints all details,
    tracebacks included.
    """
    found = registry()
    if as_json:
        documents = [PluginDocument.of(plugin) for plugin in found.plugins]
        print_json(PluginsDocument(plugins=documents, faults=list(found.faults())))
    elif settings_of(ctx).verbosity > 0:
        print_lines(line for plugin in found.plugins for line in _story(plugin))
    elif not is_terminal():
        print_lines(plugin.name for plugin in found.plugins)
    else:
        columns = ("name", "distribution", "version", "status", "components", "seconds", "remarks")
        print_table(
            columns,
            [_row(plugin) for plugin in found.plugins],
            right=("components", "seconds"),
            details=("remarks",),
        )


def _row(plugin: Plugin) -> tuple[str, ...]:
    remarks = " ".join((plugin.error, *plugin.notes)).strip()
    facts = (plugin.name, plugin.distribution, plugin.version, plugin.status.value)
    return (*facts, str(len(plugin.components)), f"{plugin.seconds:.3f}", remarks)


def _story(plugin: Plugin) -> Iterator[str]:
    yield f"{plugin.name}: {plugin.status}"
    yield f"    distribution  {plugin.distribution} {plugin.version}"
    yield f"    module        {plugin.module}"
    yield f"    loaded in     {plugin.seconds:.3f} s"
    for component in plugin.components:
        yield f"    {component.kind:<13} {plugin.name}:{component.name}"
    for note in plugin.notes:
        yield f"    note          {note}"
    if plugin.error:
        yield f"    error         {plugin.error}"
    for line in plugin.traceback.splitlines():
        yield f"        {line}"
