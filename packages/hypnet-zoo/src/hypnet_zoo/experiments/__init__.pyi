from ._hypercl.config import ContinualConfig, HyperCLConfig, TrainConfig
from ._hypercl.training import TaskTrainer
from .hypercl import HyperCL

__all__ = [
    "ContinualConfig",
    "HyperCL",
    "HyperCLConfig",
    "TaskTrainer",
    "TrainConfig",
]
