"""Everything that hypnet-zoo offers. To add a component, write its module and one line here."""

from __future__ import annotations

from hypnet_core import Component, hookimpl

MAINNETS = [
    Component.mainnet("mlp", "hypnet_zoo.mainnets.mlp:MLP", "A multi-layer perceptron."),
]

HYPERNETS = [
    Component.hypernet("hmlp", "hypnet_zoo.hypernets.hmlp:HMLP", "An MLP that writes all weights at once."),
    Component.hypernet(
        "chunked_hmlp", "hypnet_zoo.hypernets.chunked:ChunkedHMLP", "An MLP that writes the weights chunk by chunk."
    ),
]

EXPERIMENTS = [
    Component.experiment(
        "hypercl",
        "hypnet_zoo.experiments.hypercl:HyperCL",
        "Continual learning of a task sequence with a task-conditioned hypernetwork.",
    ),
]


@hookimpl
def hypnet_components() -> list[Component]:
    """The components of hypnet-zoo."""
    return [*MAINNETS, *HYPERNETS, *EXPERIMENTS]
