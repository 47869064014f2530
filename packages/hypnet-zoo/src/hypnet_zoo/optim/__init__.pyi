from .choose import make_optimizer
from .lookahead import lookahead

__all__ = [
    "lookahead",
    "make_optimizer",
]
