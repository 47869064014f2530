from .data import as_tasks
from .inference import Infer, infer
from .learn import Result, learn
from .learning import Learning, Optimizations
from .measures import anytime, backward_transfer, forgetting, forward_transfer
from .optimization import Optimization
from .options import Group, Schedule, Train

__all__ = [
    "Group",
    "Infer",
    "Learning",
    "Optimization",
    "Optimizations",
    "Result",
    "Schedule",
    "Train",
    "anytime",
    "as_tasks",
    "backward_transfer",
    "forgetting",
    "forward_transfer",
    "infer",
    "learn",
]
