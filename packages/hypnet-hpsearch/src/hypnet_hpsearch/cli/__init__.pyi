from .app import search

__all__ = [
    "search",
]
