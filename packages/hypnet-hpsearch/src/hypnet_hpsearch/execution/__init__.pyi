from .display import Lines, display
from .driver import Driver
from .observers import Inventory, SearchObserver, SearchProgress, Silent

__all__ = [
    "Driver",
    "Inventory",
    "Lines",
    "SearchObserver",
    "SearchProgress",
    "Silent",
    "display",
]
