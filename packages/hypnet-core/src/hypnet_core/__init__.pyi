from .errors import HypnetError
from .networks.hypernetwork import HyperNetwork
from .networks.main_network import MainNetwork
from .networks.materialize import materialize
from .networks.weights import Weights, weights_of
from .plugins.component import Component, Kind
from .plugins.hooks import hookimpl
from .specs import ConditionSpec, ParamKind, ParamSpec, TargetSpec, TaskSpec
from .tasks.batch import Batch
from .tasks.split import Split
from .tasks.task import Task, TaskSequence

__version__: str

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
