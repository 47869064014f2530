from .hypernetwork import EMBEDDING, UNCONDITIONAL, HyperNetwork
from .main_network import MainNetwork
from .materialize import materialize
from .statistics import StatisticsBank, named_statistics, statistics_spec
from .weights import Weights, check_tensors, weights_of

__all__ = [
    "EMBEDDING",
    "UNCONDITIONAL",
    "HyperNetwork",
    "MainNetwork",
    "StatisticsBank",
    "Weights",
    "check_tensors",
    "materialize",
    "named_statistics",
    "statistics_spec",
    "weights_of",
]
