"""The hooks that a plugin may implement.

See `hypnet_core.plugins.discovery` for how plugins are found.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from hypnet_core.plugins.component import Component

if TYPE_CHECKING:
    import typer

PROJECT = "hypnet"
"""Name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def hypnet_components() -> Iterable[Component]:
    """The components that the plugin offers.

    The whole of a plugin module:

    ```python
    from hypnet_core import Component, hookimpl

    @hookimpl
    def hypnet_components():
        tinynet = "mylab_nets.tiny:TinyNet"
        return [Component.mainnet("tinynet", tinynet, "A two-layer network.")]
    ```

    and in its `pyproject.toml`:

    ```toml
    [project.entry-points.hypnet]
    mylab = "mylab_nets.plugin"
    ```
    """
    return ()  # a specification; pluggy never calls it


@hookspec
def hypnet_commands(app: typer.Typer) -> None:
    """Add sub-commands to `hypnet`, with `app.command()` or `app.add_typer()`."""
