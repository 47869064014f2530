from .optimization import Optimization
from .options import Group, Schedule, Train

__all__ = ["Group", "Optimization", "Schedule", "Train"]
