from ._hypercl.config import HyperCLConfig
from .hypercl import HyperCL

__all__ = [
    "HyperCL",
    "HyperCLConfig",
]
