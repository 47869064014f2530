from ._continual.config import CompareConfig, ContinualConfig, HyperCLConfig, LoopConfig
from .compare import Compare
from .continual import Continual
from .gan import Gan, GanConfig
from .hypercl import HyperCL

__all__ = [
    "Compare",
    "CompareConfig",
    "Continual",
    "ContinualConfig",
    "Gan",
    "GanConfig",
    "HyperCL",
    "HyperCLConfig",
    "LoopConfig",
]
