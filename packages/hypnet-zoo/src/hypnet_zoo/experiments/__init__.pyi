from ._continual.config import ContinualConfig, HyperCLConfig, LoopConfig
from .continual import Continual
from .hypercl import HyperCL

__all__ = ["Continual", "ContinualConfig", "HyperCL", "HyperCLConfig", "LoopConfig"]
