from .display import Lines, display
from .driver import Driver
from .observers import Inventory, SearchObserver, SearchProgress, Watcher

__all__ = [
    "Driver",
    "Inventory",
    "Lines",
    "SearchObserver",
    "SearchProgress",
    "Watcher",
    "display",
]
