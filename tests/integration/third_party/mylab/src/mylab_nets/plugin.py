"""Everything that mylab-nets offers.

Nothing here imports torch: hypnet loads a component when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypnet_core import Component, hookimpl

if TYPE_CHECKING:
    import typer


@hookimpl
def hypnet_components() -> list[Component]:
    """The components."""
    return [
        Component.dataset(
            "stripes",
            "mylab_nets.stripes:stripes",
            "Points of the plane, in stripes of alternating classes.",
        ),
        Component.mainnet(
            "tinynet", "mylab_nets.tiny:TinyNet", "A two-layer network for quick trials."
        ),
        Component.hypernet(
            "linear", "mylab_nets.linear:Linear", "A linear map from embeddings to weights."
        ),
        Component.method(
            "nearest_mean",
            "mylab_nets.nearest_mean:NearestMean",
            "Classification by the nearest mean.",
        ),
        Component.scheduler(
            "plain",
            "mylab_nets.plain:Plain",
            "Processes of this machine, all at once.",
            restartable=False,
        ),
        Component.experiment(
            "memorize", "mylab_nets.memorize:Memorize", "Learns a dataset by heart."
        ),
        *Component.recipes("mylab_nets.recipes"),
    ]


@hookimpl
def hypnet_commands(app: typer.Typer) -> None:
    """The command `hypnet mylab`."""
    from mylab_nets.commands import mylab  # listing components needs no command

    app.add_typer(mylab, name="mylab")
