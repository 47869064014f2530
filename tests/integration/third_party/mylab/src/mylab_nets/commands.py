"""The command `hypnet mylab`."""

from __future__ import annotations

from typing import Annotated

import typer

from hypnet_core.plugins import registry

mylab = typer.Typer(help="Tools of mylab.", no_args_is_help=True)


@mylab.callback()
def _mylab() -> None:
    """Tools of mylab."""


@mylab.command()
def count(
    name: Annotated[str, typer.Argument(help="A main network.")],
    inputs: Annotated[int, typer.Option(help="Number of inputs.")] = 2,
    outputs: Annotated[int, typer.Option(help="Number of outputs.")] = 2,
) -> None:
    """Print the number of parameters of a main network."""
    network = registry().get("mainnet", name).build((inputs,), outputs)
    typer.echo(sum(parameter.numel() for parameter in network.parameters()))
