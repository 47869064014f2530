from .checks import check_arguments, check_tensors
from .conditions import Condition, ConditionIds, condition_ids
from .factored import FACTOR_A, FACTOR_B, FactoredWeights
from .hollow import Hollow
from .hypernetwork import EMBEDDING, UNCONDITIONAL, HyperNetwork
from .linear_heads import HasLinearHeads, LinearHead
from .main_network import MainNetwork
from .materialize import materialize
from .selection import Generate, choose_target
from .statistics import StatisticsBank, evaluating, named_statistics, statistics_spec
from .weights import Weights, weights_of

__all__ = [
    "EMBEDDING",
    "FACTOR_A",
    "FACTOR_B",
    "UNCONDITIONAL",
    "Condition",
    "ConditionIds",
    "FactoredWeights",
    "Generate",
    "HasLinearHeads",
    "Hollow",
    "HyperNetwork",
    "LinearHead",
    "MainNetwork",
    "StatisticsBank",
    "Weights",
    "check_arguments",
    "check_tensors",
    "choose_target",
    "condition_ids",
    "evaluating",
    "materialize",
    "named_statistics",
    "statistics_spec",
    "weights_of",
]
