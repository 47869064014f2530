from ._bnn.config import BNNConfig
from ._continual.config import CompareConfig, ContinualConfig, HyperCLConfig, LoopConfig
from .bnn import BNN
from .compare import Compare
from .continual import Continual
from .gan import Gan, GanConfig
from .hypercl import HyperCL

__all__ = [
    "BNN",
    "BNNConfig",
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
