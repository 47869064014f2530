"""hypnet-core: main networks with weights from outside, hypernetworks, plugins, runs and the `hypnet` command.

Names that need torch are imported when they are first used, so that `import
hypnet_core` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hypnet_core.errors import HypnetError
from hypnet_core.plugins.component import Component, Kind
from hypnet_core.plugins.hooks import hookimpl
from hypnet_core.specs import ConditionSpec, ParamKind, ParamSpec, TargetSpec, TaskSpec

if TYPE_CHECKING:
    from hypnet_core.networks.hypernetwork import HyperNetwork
    from hypnet_core.networks.main_network import MainNetwork
    from hypnet_core.networks.materialize import materialize
    from hypnet_core.networks.weights import Weights, weights_of
    from hypnet_core.tasks.split import Batch, Split
    from hypnet_core.tasks.task import Task, TaskSequence

__version__ = "0.1.0"

_LAZY = {
    "Batch": "hypnet_core.tasks.split",
    "HyperNetwork": "hypnet_core.networks.hypernetwork",
    "MainNetwork": "hypnet_core.networks.main_network",
    "Split": "hypnet_core.tasks.split",
    "Task": "hypnet_core.tasks.task",
    "TaskSequence": "hypnet_core.tasks.task",
    "Weights": "hypnet_core.networks.weights",
    "materialize": "hypnet_core.networks.materialize",
    "weights_of": "hypnet_core.networks.weights",
}

__all__ = [
    "Batch",
    "Component",
    "ConditionSpec",
    "HyperNetwork",
    "HypnetError",
    "Kind",
    "MainNetwork",
    "ParamKind",
    "ParamSpec",
    "Split",
    "TargetSpec",
    "Task",
    "TaskSequence",
    "TaskSpec",
    "Weights",
    "hookimpl",
    "materialize",
    "weights_of",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
