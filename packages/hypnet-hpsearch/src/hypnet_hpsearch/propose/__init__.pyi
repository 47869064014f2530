from .base import AdaptiveProposer, Proposer
from .choose import proposer_of
from .grid import GridProposer
from .optuna.dashboard import StudyFile
from .optuna.proposer import OptunaProposer

__all__ = [
    "AdaptiveProposer",
    "GridProposer",
    "OptunaProposer",
    "Proposer",
    "StudyFile",
    "proposer_of",
]
