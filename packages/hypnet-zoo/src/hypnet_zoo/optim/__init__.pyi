from .choose import make_optimizer
from .lookahead import Like, lookahead

__all__ = [
    "Like",
    "lookahead",
    "make_optimizer",
]
