from .base import AdaptiveProposer, Proposer
from .choose import proposer_of
from .grid import GridProposer
from .optuna.proposer import OptunaProposer

__all__ = [
    "AdaptiveProposer",
    "GridProposer",
    "OptunaProposer",
    "Proposer",
    "proposer_of",
]
