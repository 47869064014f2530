from .choose import make_optimizer
from .lookahead import Like, lookahead
from .schedules import cifar_factor, make_scheduler

__all__ = [
    "Like",
    "cifar_factor",
    "lookahead",
    "make_optimizer",
    "make_scheduler",
]
