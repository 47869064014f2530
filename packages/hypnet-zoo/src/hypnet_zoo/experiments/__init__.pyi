from ._continual.config import CompareConfig, ContinualConfig, HyperCLConfig, LoopConfig
from .compare import Compare
from .continual import Continual
from .hypercl import HyperCL

__all__ = [
    "Compare",
    "CompareConfig",
    "Continual",
    "ContinualConfig",
    "HyperCL",
    "HyperCLConfig",
    "LoopConfig",
]
